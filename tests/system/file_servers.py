"""An NFS server of the kernel and a Samba on this machine, for tests that may mount."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

PASSWORD: Final = "Sesame-1"
TOOLS: Final = ("rpc.nfsd", "rpc.mountd", "exportfs", "mount.nfs", "smbd", "mount.cifs", "rpcbind")


def missing() -> str:
    """Say why such servers cannot run here, "" when they can."""
    if os.geteuid():
        return "mounting needs root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    tools = [t for t in TOOLS if shutil.which(t, path=path) is None]
    if tools:
        return f"{', '.join(tools)} missing (nfs-kernel-server nfs-common samba cifs-utils)"
    for module in ("nfsd", "nfs", "nfsv4", "cifs"):
        if subprocess.run(["modprobe", module], capture_output=True).returncode:
            return f"the kernel has no module {module}"
    return ""


def run(*command: object, text: str = "") -> str:
    """Run a command that must succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, input=text)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def answers(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(port: int, *, there: bool = True) -> None:
    """Wait until a port is open, or closed."""
    end = time.monotonic() + 60
    while answers(port) != there:
        assert time.monotonic() < end, f"port {port}"
        time.sleep(0.1)


class FileServers:
    """The servers; ``folder`` has the exports ``vms``, ``readonly``, ``iso`` of both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("vms", "readonly", "iso"):
            (folder / name).mkdir(parents=True)
            (folder / name).chmod(0o777)
        (folder / "iso" / "inner").mkdir()
        (folder / "iso" / "disc.iso").write_bytes(b"CD001" + bytes(2043))
        (folder / "iso" / "inner" / "other.ISO").write_bytes(bytes(2048))
        self._samba: subprocess.Popen[bytes] | None = None
        self._mountd: subprocess.Popen[bytes] | None = None
        self._start_nfs()
        self.start_smb()

    def _start_nfs(self) -> None:
        if not answers(111):
            run("rpcbind", "-w")
        if not Path("/proc/fs/nfsd/threads").exists():
            run("mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
        subprocess.run(["rpc.statd", "--no-notify"], capture_output=True)
        for number, name in enumerate(("vms", "readonly", "iso"), 1):
            mode = "rw" if name == "vms" else "ro"
            options = f"{mode},no_root_squash,insecure,no_subtree_check,fsid={number}"
            run("exportfs", "-i", "-o", options, f"127.0.0.1:{self.folder / name}")
        self._mountd = subprocess.Popen(["rpc.mountd", "-F"], stderr=subprocess.DEVNULL)
        self.start_nfs()

    def start_nfs(self) -> None:
        run("rpc.nfsd", "-G", "10", "-L", "10", "4")
        wait_for(2049)

    def stop_nfs(self) -> None:
        """The server is gone: its port is closed."""
        run("rpc.nfsd", "0")
        wait_for(2049, there=False)

    def start_smb(self) -> None:
        private = self.folder / "samba"
        private.mkdir(exist_ok=True)
        lines = ["[global]", "map to guest = never", "security = user", "log level = 0"]
        kinds = "private dir,lock directory,state directory,cache directory,pid directory"
        lines += [f"{kind} = {private}" for kind in kinds.split(",")]
        lines += [f"ncalrpc dir = {private}/rpc", f"log file = {private}/log", "smb ports = 445"]
        lines += [
            "bind interfaces only = yes",
            "interfaces = 127.0.0.1/8",
            "server role = standalone",
        ]
        lines += [f"smb passwd file = {private}/smbpasswd", "passdb backend = smbpasswd"]
        for name in ("vms", "readonly", "iso"):
            writable = "yes" if name == "vms" else "no"
            lines += [f"[{name}]", f"path = {self.folder / name}", f"writable = {writable}"]
            lines += ["force user = root"]
        configuration = private / "smb.conf"
        configuration.write_text("\n".join(lines) + "\n")
        user = ["smbpasswd", "-c", configuration, "-a", "-s", "root"]
        run(*user, text=f"{PASSWORD}\n{PASSWORD}\n")
        command = ["smbd", "-F", "--no-process-group", "-s", str(configuration)]
        self._samba = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(445)

    def stop_smb(self) -> None:
        """The server is gone: its port is closed."""
        if self._samba is not None:
            subprocess.run(["pkill", "-9", "-P", str(self._samba.pid)], check=False)
            self._samba.kill()
            self._samba.wait()
            self._samba = None
        wait_for(445, there=False)

    def stop(self) -> None:
        self.stop_smb()
        subprocess.run(["rpc.nfsd", "0"], check=False)
        subprocess.run(["exportfs", "-ua"], check=False)
        if self._mountd is not None:
            self._mountd.kill()
            self._mountd.wait()

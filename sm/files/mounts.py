"""Mounting what SRs are on: local disks, NFS exports, SMB shares.  Blocking.

Everything outside this process goes through ``System``, which tests replace.
Passwords go into files that only root can read, never into arguments.
"""

import contextlib
import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sm import errors
from xapi_py.base.rpc.errors import RpcError

MOUNT_TIMEOUT_S: Final = 60.0
CONNECT_TIMEOUT_S: Final = 5.0
NFS_PORT: Final = 2049
SMB_PORTS: Final = (445, 139)
NFS_VERSIONS: Final = ("3", "4", "4.0", "4.1")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    status: int
    output: str
    errors: str


class System:
    """The machine: commands, names, connections, and where devices and the kernel's files are."""

    dev = Path("/dev")
    sys = Path("/sys")
    iscsi = Path("/etc/iscsi")

    def is_block(self, path: str) -> bool:
        """Whether a path is a block device."""
        try:
            return stat.S_ISBLK(os.stat(path).st_mode)
        except OSError:
            return False

    def run(self, *command: str, timeout_s: float = MOUNT_TIMEOUT_S) -> Outcome:
        """Run a command; status 124 when it took too long, 127 when it is not installed."""
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL
            )
        except FileNotFoundError:
            return Outcome(127, "", f"{command[0]} is not installed")
        except subprocess.TimeoutExpired:
            return Outcome(124, "", f"{command[0]} took longer than {timeout_s} s")
        return Outcome(done.returncode, done.stdout, done.stderr)

    def resolve(self, name: str) -> str:
        """Give an address of a name; OSError."""
        return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])

    def connect(self, address: str, port: int) -> None:
        """Open and close a connection; OSError."""
        socket.create_connection((address, port), CONNECT_TIMEOUT_S).close()

    def mounted(self, folder: Path) -> bool:
        """Whether something is mounted there."""
        return os.path.ismount(folder)


def reach(system: System, name: str, ports: Sequence[int], number: int) -> None:
    """Check that a server is there.  Errors: 140 for its name, ``number`` for its ports."""
    try:
        address = system.resolve(name)
    except OSError as problem:
        raise errors.backend_failure(errors.DNS, f"{name}: {problem}") from problem
    for port in ports:
        try:
            return system.connect(address, port)
        except OSError as problem:
            last = problem
    raise errors.backend_failure(number, f"{name}: {last}") from last


def nfs_version(config: Mapping[str, str]) -> str:
    """Give the version asked for.  Errors: 72."""
    version = config.get("nfsversion") or "3"
    if version not in NFS_VERSIONS:
        raise errors.backend_failure(errors.NFS_VERSION, "Invalid nfsversion.")
    return version


def offered_nfs_versions(system: System, server: str) -> list[str]:
    """Versions a server says it offers; nothing when it does not say."""
    found = system.run("rpcinfo", "-s", server)
    for line in found.output.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "100003":
            return sorted(set(words[1].split(",")))
    return []


def nfs_exports(system: System, server: str) -> list[tuple[str, str]]:
    """Pairs of path and access list a server exports; nothing when it does not say."""
    found = system.run("showmount", "--no-headers", "-e", server)
    pairs = (line.rpartition(" ") for line in found.output.splitlines() if " " in line)
    return [(path.strip(), access) for path, _, access in pairs]


def mount_nfs(
    system: System, config: Mapping[str, str], remote: str, folder: Path, *, read_only: bool = False
) -> None:
    """Mount an export.  Errors: 72, 73."""
    server, version = remote.partition(":")[0], nfs_version(config)
    offered = offered_nfs_versions(system, server)
    if offered and version[0] not in offered:
        raise errors.backend_failure(errors.NFS_VERSION, "server does not offer the version")
    options = ["soft", "proto=udp" if config.get("useUDP") == "true" else "proto=tcp"]
    options += [f"vers={version}", "acdirmin=0", "acdirmax=0", "timeo=200", "retrans=4"]
    options += ["ro"] if read_only else []
    options += [o for o in config.get("options", "").removeprefix("-o").strip().split(",") if o]
    done = _mount(system, "nfs", remote, folder, options)
    if done.status:
        text = f"mount failed on server {server} with return code {done.status}"
        raise errors.backend_failure(errors.NFS_MOUNT, text)


def mount_smb(
    system: System,
    config: Mapping[str, str],
    share: str,
    folder: Path,
    *,
    password: str,
    failed: int,
) -> None:
    """Mount a share.  Errors: ``failed``."""
    with credentials(config.get("username", ""), password) as file:
        options = [f"credentials={file}" if file else "guest", "cache=none"]
        options += [f"vers={config['vers']}"] if config.get("vers") else []
        done = _mount(system, "cifs", share, folder, options)
    if done.status == 13 or "Permission denied" in done.errors:
        text = "Permission denied. Please check user privileges."
        raise errors.backend_failure(failed, text)
    if done.status:
        raise errors.backend_failure(failed, f"mount failed with return code {done.status}")


@contextlib.contextmanager
def credentials(username: str, password: str) -> Iterator[str]:
    """Keep a file with user and password while the block runs; "" without a user."""
    if not username:
        yield ""
        return
    domain, _, user = username.rpartition("\\")
    with tempfile.NamedTemporaryFile("w", prefix="smb-") as file:  # made with mode 0600
        file.write(f"username={user}\npassword={password}\n")
        file.write(f"domain={domain}\n" if domain else "")
        file.flush()
        yield file.name


def mount_disk(system: System, device: str, folder: Path) -> None:
    """Mount a local file system.  Errors: 47."""
    done = _mount(system, "ext4", device, folder, [])
    if done.status:
        raise errors.backend_failure(errors.SR_UNAVAILABLE, done.errors.strip())


def format_disk(system: System, device: str) -> None:
    """Make an ext4 file system.  Errors: 16 for a disk in use, 91, 105."""
    check_disk(system, device)
    done = system.run("mkfs.ext4", "-q", "-F", "-m", "0", device, timeout_s=600.0)
    if done.status:
        raise errors.backend_failure(errors.CONFIG_DEVICE_INVALID, done.errors.strip())


def check_disk(system: System, device: str) -> None:
    """Check that a block device is free.  Errors: 91, 105, SR_DEVICE_IN_USE."""
    try:
        mode = os.stat(device).st_mode
    except OSError:
        raise errors.backend_failure(errors.CONFIG_DEVICE_INVALID, device) from None
    if not stat.S_ISBLK(mode):
        raise errors.backend_failure(errors.CONFIG_DEVICE_INVALID, f"{device} is no block device")
    found = system.run("lsblk", "-nro", "MOUNTPOINTS", device)
    points = {p for line in found.output.splitlines() for p in line.split("\\x0a") if p}
    if "/" in points:
        raise errors.backend_failure(errors.ROOT_DEVICE, device)
    if points:
        raise errors.backend_failure(errors.SR_IN_USE)


def _mount(system: System, kind: str, what: str, folder: Path, options: Sequence[str]) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    if system.mounted(folder):
        return Outcome(0, "", "")
    choice = ("-o", ",".join(options)) if options else ()
    return system.run("mount", "-t", kind, what, str(folder), *choice)


def unmount(system: System, folder: Path) -> None:
    """Unmount what is mounted there; a server that is gone does not stop it."""
    if system.mounted(folder):
        done = system.run("umount", str(folder))
        if done.status:
            system.run("umount", "-l", str(folder))
    with contextlib.suppress(OSError):
        folder.rmdir()


def writable(folder: Path, other: RpcError) -> None:
    """Check that files can be made in a folder.  Errors: ``other``."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        raise other from problem

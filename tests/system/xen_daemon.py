"""The domain daemon in a lab, and calls to it over a forwarded port."""

import json
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.xenlab.lab import Host
from xenops.bindings import artifact

PORT = 7700
FOLDER = "/run/xenopsd-test"
STATE = "/var/lib/xenopsd-test"
BINDINGS = "/var/lib/xapi-py/bindings"
GUESTS = "/lab/extra/guest"
PROJECT = "/opt/xapi-py"
MIB = 1 << 20


class DaemonError(Exception):
    """The daemon refused; ``name`` and ``params`` are its words."""

    def __init__(self, name: str, params: list[Any]) -> None:
        super().__init__(name, *params)
        self.name = name
        self.params = params


def put_bindings(host: Host) -> None:
    """Compile here where the headers are those of the lab's Xen: there it takes a minute."""
    if not (artifact.HEADERS / "xenctrl.h").exists() or shutil.which("cc") is None:
        return
    if artifact.header_version() != (4, 17):
        return
    folder = Path(artifact.folders()[0])
    command = [sys.executable, "-m", "xenops.bindings.build", "--into", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    made = Path(done.stdout.strip())
    host.put(f"{BINDINGS}/{made.name}", made.read_bytes())


def relay(host: Host, path: str, port: int, pid_file: str) -> int:
    """Make a unix socket of the machine reachable from here; gives the local port."""
    program = f"socat TCP-LISTEN:{port},fork,reuseaddr UNIX-CONNECT:{path}"
    host.output(
        f"setsid {program} >/dev/null 2>&1 </dev/null & echo $! >{pid_file}; "
        f"for i in $(seq 600); do grep -q ':{port:04X} .* 0A ' /proc/net/tcp && exit 0; "
        "sleep 0.1; done; exit 1"
    )
    return host.forward(port)


class Calls:
    """Calls to a daemon over a local port, one at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._number = 0

    def call(self, method: str, **params: Any) -> Any:
        """Make a call and give its result.  Errors: DaemonError."""
        self._number += 1
        request = {
            "jsonrpc": "2.0",
            "id": self._number,
            "method": method,
            "params": params,
            "dbg": f"test-{self._number}",
        }
        body = json.dumps(request).encode()
        with socket.create_connection(("127.0.0.1", self._port), 300) as connection:
            connection.sendall(struct.pack(">I", len(body)) + body)
            (length,) = struct.unpack(">I", _read(connection, 4))
            answer = json.loads(_read(connection, length))
        if "error" in answer:
            raise DaemonError(answer["error"]["message"], answer["error"].get("data") or [])
        result = answer["result"]
        return result["result"] if isinstance(result, dict) and "cursor" in result else result


class XenDaemon(Calls):
    """xenopsd on real Xen.  Calls are made one at a time."""

    def __init__(self, host: Host) -> None:
        self.host = host
        put_bindings(host)
        self.start()
        super().__init__(relay(host, f"{FOLDER}/xenopsd.sock", PORT, f"{FOLDER}/relay.pid"))

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        program = (
            f"cd {PROJECT} && exec python3 -m xenops --backend xen --socket {FOLDER}/xenopsd.sock "
            f"--state {STATE} --log-file {FOLDER}/log --ready-fd 1"
        )
        script = (
            f"mkdir -p {FOLDER} {STATE}; mkfifo {FOLDER}/ready; "
            f"setsid bash -c {shlex.quote(program)} >{FOLDER}/ready 2>{FOLDER}/errors </dev/null & "
            f"echo $! >{FOLDER}/pid; timeout 500 head -n 1 {FOLDER}/ready; "
            f"rm {FOLDER}/ready; cat {FOLDER}/errors"
        )
        answer = self.host.output(script, timeout=520)
        assert '"socket"' in answer, answer

    def kill(self) -> None:
        """Lose the daemon without a word."""
        self.host.output(f"kill -9 $(cat {FOLDER}/pid); rm -f {FOLDER}/xenopsd.sock")

    def stop(self) -> None:
        """End the daemon and its relay, and remove what they kept."""
        self.host.run(f"kill $(cat {FOLDER}/pid {FOLDER}/relay.pid); sleep 0.5; rm -rf {STATE}")

    def log(self) -> str:
        """Give what the daemon has logged."""
        return self.host.run(f"cat {FOLDER}/log").stdout

    def until(self, what: str, holds: Callable[[], Any], limit_s: float = 120.0) -> Any:
        """Wait for something a guest does by itself; looking often costs time there."""
        deadline = time.monotonic() + limit_s
        while not (found := holds()):
            assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}\n{self.log()}"
            time.sleep(1.0)
        return found

    def state(self, vm: str) -> str:
        """Give a VM's power state."""
        state: str = self.call("VM.stat", id=vm)["power_state"]
        return state

    def domid(self, vm: str) -> int | None:
        """Give the newest domain of a VM."""
        domids = self.call("VM.stat", id=vm)["domids"]
        return domids[-1] if domids else None

    def wait_for_console(self, name: str, words: str, limit_s: float = 240.0) -> None:
        """Wait until a guest has written something to its console."""
        self.wait_for_text(f"/var/log/xen/console/guest-{name}.log", words, limit_s)

    def wait_for_text(self, path: str, words: str, limit_s: float = 240.0) -> None:
        """Wait until a line of a file has certain words; nothing polls meanwhile."""
        script = (
            f"exec 3< <(exec tail -n +1 -F {path} 2>/dev/null); "
            f"timeout {limit_s:.0f} grep -qFm1 -e {shlex.quote(words)} <&3; found=$?; kill $!; "
            f"[ $found = 0 ] || {{ tail -c 1000 {path}; exit 1; }}"
        )
        self.host.output(script, timeout=limit_s + 30)


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError("the daemon closed the connection")
        data += part
    return data


def metadata(vm: str, name: str, ty: str = "PV", memory_mib: int = 128, **more: Any) -> Any:
    """Give a VM of the lab's guest kernel."""
    cmdline = f"console=hvc0 quiet mitigations=off guest.name={name}"
    boot = {
        "direct": True,
        "kernel": f"{GUESTS}/vmlinux",
        "ramdisk": f"{GUESTS}/initramfs.gz",
        "cmdline": cmdline,
    }
    size = memory_mib * MIB
    config = {
        "id": vm,
        "name": name,
        "ty": ty,
        "memory_static_max": size,
        "memory_dynamic_max": size,
        "memory_dynamic_min": size,
        "vcpu_max": 1,
        "vcpus": 1,
        "on_crash": ["Shutdown"],
    }
    if ty != "HVM":
        config["pv"] = boot
    config |= more
    return {"vm": config, "vbds": [], "vifs": []}

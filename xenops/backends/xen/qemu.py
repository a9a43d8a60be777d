"""A running QEMU: its process and its QMP connection, also after our own restart."""

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from xapi_py.base.undo import Undo
from xenops.backends.xen import emulators
from xenops.backends.xen.devices.surroundings import Host
from xenops.backends.xen.emulators import Emulator
from xenops.backends.xen.qemu_command import QMP_FD
from xenops.qmp.client import GREETING_TIMEOUT_S, Qmp, QmpLost, connect

log = logging.getLogger(__name__)

PROGRAMS: Final = (
    "/usr/libexec/xen-qemu-system-i386",
    "/usr/lib/xen/bin/qemu-system-i386",
    "/usr/bin/qemu-system-i386",
)
"""Where distributions keep the QEMU that knows Xen, best first."""


class EmulatorFailed(Exception):
    """QEMU did not start; the text is what it wrote last."""


def program() -> str:
    """Give QEMU's path.  Errors: EmulatorFailed."""
    for path in PROGRAMS:
        if os.access(path, os.X_OK):
            return path
    raise EmulatorFailed("no QEMU for Xen is installed")


class Qemu:
    """One QEMU that answers QMP."""

    def __init__(self, process: Emulator, qmp: Qmp, socket_path: Path) -> None:
        self.process = process
        self.qmp = qmp
        self._socket = socket_path

    async def stop(self) -> None:
        """End it and remove its socket."""
        self.qmp.close()
        await self.process.stop()
        self._socket.unlink(missing_ok=True)

    def let_go(self) -> None:
        """Hang up; it runs on."""
        self.process.on_end = lambda outcome: None
        self.qmp.close()


def socket_path(host: Host, name: str) -> Path:
    """Give where a QEMU of a name is reached."""
    return host.run_folder / f"{name}.qmp"


def log_path(host: Host, name: str) -> Path:
    """Give where a QEMU of a name writes to."""
    return host.run_folder / f"{name}.log"


async def start(
    host: Host, name: str, arguments: Sequence[str], fds: Mapping[int, int] | None = None
) -> Qemu:
    """Start QEMU and wait until it answers; ``name`` is unique on this host.

    ``fds``: more descriptors for it, by its numbers.  Errors: EmulatorFailed,
    after which nothing is left of it.
    """
    path, output = socket_path(host, name), log_path(host, name)
    async with Undo() as undo:
        undo.push("socket", lambda: path.unlink(missing_ok=True))
        try:
            pid = await host.in_thread(_spawn, name, list(arguments), dict(fds or {}), path, output)
            process = Emulator(host.reactor, pid)
        except OSError as problem:
            raise EmulatorFailed(str(problem)) from problem
        undo.push("process", process.stop)
        try:
            qmp = await connect(host.reactor, str(path), GREETING_TIMEOUT_S)
        except QmpLost as problem:
            said = emulators.tail(output)
            raise EmulatorFailed(said or process.outcome or str(problem)) from problem
    return Qemu(process, qmp, path)


def _spawn(name: str, arguments: list[str], fds: dict[int, int], path: Path, output: Path) -> int:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(1)
        whole = {QMP_FD: listening.fileno(), **fds}
        return emulators.spawn(program(), name, arguments, whole, output)


async def adopt(host: Host, name: str, pid: int) -> Qemu | None:
    """Find a QEMU of an earlier life of this daemon; None when it is not there."""
    process = emulators.adopt(host.reactor, pid, name)
    if process is None:
        return None
    path = socket_path(host, name)
    try:
        qmp = await connect(host.reactor, str(path), GREETING_TIMEOUT_S)
    except QmpLost as problem:
        log.error("%s (%d) does not answer and is ended: %s", name, pid, problem)
        await process.stop()
        return None
    return Qemu(process, qmp, path)

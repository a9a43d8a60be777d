"""A disk as a file of the control domain, for a boot loader to read.

A block device or raw file is one already.  What another process serves (an
image with layers, behind an NBD socket) is shown as a read-only file by a
process of its own, for as long as the boot loader runs.
"""

import json
import re
import shutil
from pathlib import Path
from types import TracebackType
from typing import Final

from twisted.internet.utils import getProcessOutputAndValue

from xenops.backends.xen.emulators import Emulator
from xenops.backends.xen.host import XenHost

_NBD: Final = re.compile(r"nbd:unix:(?P<socket>[^:]+):exportname=(?P<name>.*)")
_SERVER: Final = "qemu-storage-daemon"
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class NoBootDisk(Exception):
    """The disk cannot be shown as a file; the text says why."""


class BootDisk:
    """``async with BootDisk(host, disk, folder) as path``."""

    def __init__(self, host: XenHost, disk: str, folder: Path) -> None:
        self._host = host
        self._disk = disk
        self._folder = folder
        self._server: Emulator | None = None

    async def __aenter__(self) -> str:
        served = _NBD.fullmatch(self._disk)
        if served is None:
            return self._disk
        return await self._show(served["socket"], served["name"])

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            await self._server.stop()

    async def _show(self, socket: str, name: str) -> str:
        program = shutil.which(_SERVER)
        if program is None:
            raise NoBootDisk(f"{_SERVER} is missing: install qemu-system-common")
        shown, pid_file = self._folder / "disk", self._folder / "disk.pid"
        shown.touch()
        source = {
            "driver": "nbd",
            "node-name": "disk",
            "server": {"type": "unix", "path": socket},
            "export": name,
            "read-only": True,
        }
        export = {"type": "fuse", "id": "disk", "node-name": "disk", "mountpoint": str(shown)}
        arguments = ["--blockdev", json.dumps(source), "--export", json.dumps(export)]
        arguments += ["--daemonize", "--pidfile", str(pid_file)]
        _, complaints, status = await getProcessOutputAndValue(
            program,
            arguments,
            {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            reactor=self._host.reactor,
        )
        if status != 0:
            raise NoBootDisk(complaints.decode("utf-8", "replace").strip() or f"{_SERVER} failed")
        self._server = Emulator(self._host.reactor, int(pid_file.read_text()))
        return str(shown)

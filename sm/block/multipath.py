"""One device for all paths to a LUN, by device-mapper's multipath.  Blocking."""

import time
from collections.abc import Callable
from typing import Final

from sm import errors
from sm.block.sysfs import ScsiDisk, Sysfs
from sm.files.mounts import System

APPEAR_S: Final = 15.0
NODE_S: Final = 60.0
"""What udev may take on a busy host until a device has its name."""
_POLL_S: Final = 0.1


class Luns:
    """Finds the device of a LUN, among several paths or as a multipath device."""

    def __init__(
        self,
        system: System,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._system = system
        self._clock = clock
        self._sleep = sleep
        self.sysfs = Sysfs(system.sys)

    def wait(self, scsi_id: str, paths: int, rescan: Callable[[], None]) -> list[ScsiDisk]:
        """Wait until a LUN has so many paths, or for as long as that may take; gives its paths."""
        end, rescanned = self._clock() + APPEAR_S, 0.0
        while True:
            found = self.sysfs.paths_of(scsi_id)
            now = self._clock()
            if len(found) >= paths or now >= end:
                return found
            if now >= rescanned:
                rescan()
                rescanned = now + 2.0
            self._sleep(_POLL_S)

    def device(self, scsi_id: str, paths: list[ScsiDisk], *, multipath: bool) -> str:
        """Give the device of a LUN with its paths.  Errors: 67."""
        if not paths:
            raise errors.backend_failure(errors.ISCSI_DEVICE, scsi_id)
        known = self.sysfs.multipath_device(scsi_id)
        if not known and multipath:
            known = self._assemble(scsi_id, paths)
        for path in paths:
            self.sysfs.rescan(path.name)
        if known:
            return self._node(known)
        return str(self._system.dev / paths[0].name)

    def _node(self, name: str) -> str:
        """Give the path of a multipath device, which udev makes a moment later.  Errors: 67."""
        path, end = str(self._system.dev / "mapper" / name), self._clock() + NODE_S
        while not self._system.is_block(path):
            if self._clock() >= end:
                raise errors.backend_failure(errors.ISCSI_DEVICE, path)
            self._sleep(_POLL_S)
        return path

    def _assemble(self, scsi_id: str, paths: list[ScsiDisk]) -> str:
        self._system.run("modprobe", "-q", "dm_multipath")
        for path in paths:
            self._system.run("multipath", "-a", str(self._system.dev / path.name))
        done = self._system.run("multipath", "-v2", str(self._system.dev / paths[0].name))
        end = self._clock() + NODE_S
        while self._clock() < end:
            known = self.sysfs.multipath_device(scsi_id)
            if known:
                return known
            self._sleep(_POLL_S)
        text = f"multipath: {(done.errors or done.output).strip()[-200:]}"
        raise errors.backend_failure(errors.ISCSI_DEVICE, text)

    def release(self, scsi_id: str) -> None:
        """Take a LUN's multipath device away, if nobody uses it."""
        known = self.sysfs.multipath_device(scsi_id)
        if known:
            self._system.run("multipath", "-f", known)

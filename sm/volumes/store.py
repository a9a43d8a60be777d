"""A volume SR's medium: volume group, metadata volume, locks, change logs in small volumes."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from struct import Struct
from typing import Final

from sm import errors
from sm.files.images import Images
from sm.files.store import BitFiles, Log, Space
from sm.volumes.device import Device
from sm.volumes.host_locks import HostLocks
from sm.volumes.images import VolumeImages
from sm.volumes.lvm import VolumeGroup
from sm.volumes.volume_log import VolumeLog

METADATA: Final = "MGT"
BITS: Final = "CBT-"
_BITS_HEAD: Final = Struct("<8sIQ")  # magic, crc, length
_BITS_MAGIC: Final = b"XAPIPYBT"


class VolumeBits:
    """Bits of change logs, each in a volume ``CBT-<name>``."""

    def __init__(self, group: VolumeGroup) -> None:
        self._group = group

    def _volume(self, name: str) -> str:
        return BITS + name.removesuffix(".bits")

    def write(self, name: str, data: bytes) -> None:
        volume = self._volume(name)
        self._group.make(volume, _BITS_HEAD.size + len(data))
        with Device(self._group.path(volume)) as device:
            device.pwrite(_BITS_HEAD.pack(_BITS_MAGIC, zlib.crc32(data), len(data)) + data, 0)
        self._group.deactivate([volume])

    def read(self, name: str) -> bytes:
        volume = self._volume(name)
        if volume not in self._group.volumes:
            raise errors.backend_failure(errors.CBT_INCONSISTENT, "a change log is missing")
        self._group.activate([volume])
        try:
            with Device(self._group.path(volume), writable=False) as device:
                magic, crc, length = _BITS_HEAD.unpack(device.pread(0, _BITS_HEAD.size))
                data = device.pread(_BITS_HEAD.size, length) if magic == _BITS_MAGIC else b""
        finally:
            self._group.deactivate([volume])
        if magic != _BITS_MAGIC or zlib.crc32(data) != crc:
            raise errors.backend_failure(errors.CBT_INCONSISTENT, "a change log is damaged")
        return data

    def names(self) -> list[str]:
        return [f"{v.removeprefix(BITS)}.bits" for v in self._group.volumes if v.startswith(BITS)]

    def delete(self, name: str) -> None:
        self._group.remove([self._volume(name)])


class VolumeStore:
    """The store of an SR whose metadata volume is active.  Errors: OSError, RpcError."""

    def __init__(self, group: VolumeGroup, host: str, log: VolumeLog, *, thin: bool) -> None:
        self.group = group
        self._host = host
        self._volume_log = log
        self._locks = HostLocks(log.device, host)
        self.mine = False
        self.log: Log = log
        self.images: Images = VolumeImages(group, log, lambda: self.mine, thin=thin)
        self.bits: BitFiles = VolumeBits(group)

    def space(self) -> Space:
        """Space of the volume group, as of the last look and what this host did since."""
        return Space(self.group.size, self.group.size - self.group.free, self.group.free)

    def refresh(self) -> None:
        if not self.mine and self.log.refresh():
            self.images.look()

    def take_charge(self) -> bool:
        self._volume_log.take_charge()
        self.mine = True
        return True

    def holders(self, vdi: str) -> list[tuple[str, bool]]:
        return self._locks.holders(vdi)

    def held_elsewhere(self) -> Mapping[str, str]:
        return self._locks.held_elsewhere()

    def lock(self, vdi: str, *, writing: bool, sharable: bool) -> None:
        self._locks.lock(vdi, writing=writing, sharable=sharable)

    def unlock(self, vdi: str) -> None:
        self._locks.unlock(vdi)

    def release_locks(self, host_uuid: str) -> None:
        self._locks.release(host_uuid)

    def erase(self) -> None:
        self.close()
        self.group.erase()

    def close(self) -> None:
        self.log.close()
        self.group.deactivate(list(self.group.volumes))


def metadata_path(group: VolumeGroup) -> Path:
    """Where the metadata volume is once it is active."""
    return group.path(METADATA)

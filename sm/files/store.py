"""What an SR is kept on: records, images, bits of change logs, locks between hosts, space."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from sm import errors
from sm.files.image_files import FileImages
from sm.files.images import Images
from sm.files.record_log import Record, RecordLog, sync_folder

FOLDERS: Final = ("nodes", "cbt", "locks")
METADATA: Final = "metadata"


class Log(Protocol):
    """Records by name, changed all or nothing; ``sm.files.record_log`` is the model."""

    records: dict[str, Record]
    generation: int
    lost_lines: int

    def refresh(self) -> bool: ...

    def commit(self, changes: Mapping[str, Record | None]) -> None: ...

    def close(self) -> None: ...


class BitFiles(Protocol):
    """Pieces of data by name, never changed once written."""

    def write(self, name: str, data: bytes) -> None:
        """Keep data durably under a new name."""

    def read(self, name: str) -> bytes: ...

    def names(self) -> list[str]: ...

    def delete(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of a medium: all, used by anybody, free for images."""

    size: int
    used: int
    free: int


class Store(Protocol):
    """An SR's medium.  ``mine`` False: another host changes the SR, this one only uses disks."""

    log: Log
    images: Images
    bits: BitFiles
    mine: bool

    def space(self) -> Space: ...

    def refresh(self) -> None:
        """See what the host in charge changed, if that is another one."""

    def take_charge(self) -> bool:
        """Become the host that changes the SR; whether another one was."""

    def holders(self, vdi: str) -> list[tuple[str, bool]]:
        """Hosts that have a disk active, and whether for writing."""

    def held_elsewhere(self) -> Mapping[str, str]:
        """Disks other hosts have active for writing, and a host of each."""

    def lock(self, vdi: str, *, writing: bool, sharable: bool) -> None:
        """Take the disk for this host.  Errors: Activated_on_another_host."""

    def unlock(self, vdi: str) -> None: ...

    def release_locks(self, host_uuid: str) -> None: ...

    def erase(self) -> None:
        """Remove the SR."""

    def close(self) -> None: ...


class FolderBits:
    """Bits as files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, data: bytes) -> None:
        with open(self._folder / name, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._folder)

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def names(self) -> list[str]:
        return os.listdir(self._folder)

    def delete(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)


class FolderStore:
    """An SR in a folder that all its hosts see.  Errors of making one: OSError."""

    def __init__(self, folder: Path, host: str, log: RecordLog, *, mine: bool = True) -> None:
        self.folder = folder
        self.mine = mine
        self._host = host
        os.scandir(folder / "nodes").close()
        self.log: Log = log
        self.images: Images = FileImages(folder / "nodes")
        self.bits: BitFiles = FolderBits(folder / "cbt")

    def space(self) -> Space:
        """Space is that of the file system: other users of it count."""
        found = os.statvfs(self.folder)
        unit = found.f_frsize
        return Space(
            found.f_blocks * unit, (found.f_blocks - found.f_bfree) * unit, found.f_bavail * unit
        )

    def refresh(self) -> None:
        if not self.mine and self.log.refresh():
            self.images.look()

    def take_charge(self) -> bool:
        if self.mine:
            return False
        self.mine = True
        self.log.refresh()
        return True

    def _locks(self) -> list[list[str]]:
        return [name.rsplit("+", 2) for name in os.listdir(self.folder / "locks")]

    def holders(self, vdi: str) -> list[tuple[str, bool]]:
        return [(host, mode == "rw") for held, host, mode in self._locks() if held == vdi]

    def held_elsewhere(self) -> Mapping[str, str]:
        return {d: host for d, host, mode in self._locks() if host != self._host and mode == "rw"}

    def lock(self, vdi: str, *, writing: bool, sharable: bool) -> None:
        mine = self.folder / "locks" / f"{vdi}+{self._host}+{'rw' if writing else 'ro'}"
        mine.touch()
        for host, rw in self.holders(vdi):
            if host != self._host and writing and rw and not sharable:
                mine.unlink()
                raise errors.activated_elsewhere(host)

    def unlock(self, vdi: str) -> None:
        for mode in ("rw", "ro"):
            (self.folder / "locks" / f"{vdi}+{self._host}+{mode}").unlink(missing_ok=True)

    def release_locks(self, host_uuid: str) -> None:
        for name in os.listdir(self.folder / "locks"):
            if name.rsplit("+", 2)[1] == host_uuid:
                (self.folder / "locks" / name).unlink(missing_ok=True)

    def erase(self) -> None:
        self.close()  # on NFS and SMB a file that is open keeps its folder
        shutil.rmtree(self.folder)

    def close(self) -> None:
        self.log.close()

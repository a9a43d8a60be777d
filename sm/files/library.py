"""SRs whose disks are already there: ISO libraries and drives.  Blocking."""

import contextlib
import os
import stat
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from sm import errors
from sm.contract import Backend, SrStat, Vdi, VdiSpec
from sm.files.disks import CALLER_OWNED
from sm.files.state import disk_errors

IMAGE_SUFFIXES: Final = (".iso", ".img")
SECTOR: Final = 512


class Library:
    """An SR that offers files, or devices, under their names.

    Nothing is kept on the medium: a disk's uuid follows from the SR's and its
    name, names that callers give it live as long as this process.
    """

    def __init__(
        self,
        sr: str,
        sr_type: str,
        folder: Path,
        notify: Callable[..., object] = lambda *_: None,
        *,
        writable: bool = False,
    ) -> None:
        self.uuid = sr
        self.type = sr_type
        self.folder = folder
        self.notify = notify
        self._writable = writable
        self._names = {"name_label": "", "name_description": ""}
        self._given: dict[str, Mapping[str, object]] = {}
        self._found: dict[str, Vdi] = {}
        self._generation = 0
        self.scan()

    def scan(self) -> list[Vdi]:
        """All images; names that are no text, folders and other files are left out."""
        found = {
            uuid: replace(vdi, **self._given.get(uuid, {}))  # type: ignore[arg-type]
            for uuid, vdi in self.found().items()
        }
        if found != self._found:
            self._generation += 1
        self._found = found
        return list(found.values())

    def found(self) -> dict[str, Vdi]:
        """What is there, under its own names."""
        found: dict[str, Vdi] = {}
        with disk_errors(errors.backend_failure(errors.SR_SCAN, "the folder cannot be read")):
            for entry in sorted(os.scandir(self.folder), key=lambda e: e.name):
                with contextlib.suppress(FileNotFoundError, UnicodeEncodeError):
                    entry.name.encode("utf-8")
                    vdi = self._device(entry) if self.type == "udev" else self._image(entry)
                    if vdi is not None:
                        found[vdi.uuid] = vdi
        return found

    def uuid_of(self, name: str) -> str:
        """The uuid of what has a name."""
        return str(uuid.uuid5(uuid.UUID(self.uuid), name))

    def _image(self, entry: os.DirEntry[str]) -> Vdi | None:
        if not entry.name.lower().endswith(IMAGE_SUFFIXES) or not entry.is_file():
            return None
        size = entry.stat().st_size
        return Vdi(
            self.uuid_of(entry.name),
            location=entry.name,
            name_label=entry.name,
            virtual_size=size,
            physical_utilisation=size,
            read_only=True,
            sm_config={"created": str(int(entry.stat().st_mtime))},
        )

    def _device(self, entry: os.DirEntry[str]) -> Vdi | None:
        path = os.path.realpath(entry.path)
        if not stat.S_ISBLK(os.stat(path).st_mode):
            return None
        size = _device_bytes(path)
        drive = "cd" if self.folder.name == "cd" else "block"
        return Vdi(
            self.uuid_of(entry.name),
            location=path,
            name_label=os.path.basename(path),
            name_description="optical drive" if drive == "cd" else "removable disk",
            virtual_size=size,
            physical_utilisation=size,
            read_only=drive == "cd",
            sm_config={"hotplugged_at": "" if drive == "cd" else str(int(entry.stat().st_ctime))},
        )

    def disk(self, vdi: str) -> Vdi:
        """A disk; Vdi_does_not_exist."""
        if vdi not in self._found:
            raise errors.vdi_does_not_exist(vdi)
        return self._found[vdi]

    def path_of(self, vdi: str) -> Path:
        """File or device of a disk."""
        return self.folder / self.disk(vdi).location

    def stat(self) -> SrStat:
        total = sum(v.virtual_size for v in self._found.values())
        return SrStat(
            uuid=self.uuid,
            type=self.type,
            name_label=self._names["name_label"],
            name_description=self._names["name_description"],
            physical_size=total,
            physical_utilisation=total,
            virtual_allocation=total,
            sm_config={},
            generation=self._generation,
        )

    def set_name(self, name_label: str | None, name_description: str | None) -> None:
        given = {"name_label": name_label, "name_description": name_description}
        self._names |= {k: v for k, v in given.items() if v is not None}
        self.notify("sr", self.uuid)

    def vdi_stat(self, vdi: str) -> Vdi:
        return self.disk(vdi)

    def vdi_create(self, spec: VdiSpec) -> Vdi:
        """Make an empty image to write to, named as its label says.  Errors: 221, 43, 44, 461."""
        if self.type != "iso":
            raise errors.unsupported(self.uuid)
        name = spec.name_label
        if not name.lower().endswith(IMAGE_SUFFIXES) or "/" in name or "\0" in name:
            raise errors.backend_failure(errors.ISO_NAME)
        if not self._writable:
            raise errors.backend_failure(errors.READ_ONLY_FILE_SYSTEM)
        with disk_errors():
            try:
                with open(self.folder / name, "xb") as file:
                    file.truncate(spec.virtual_size)
                    os.fsync(file.fileno())
            except FileExistsError:
                raise errors.backend_failure(errors.VDI_EXISTS, name) from None
        self._given[self.uuid_of(name)] = {"read_only": False}
        self.scan()
        self._tell(self.uuid_of(name))
        return self.disk(self.uuid_of(name))

    def _tell(self, vdi: str) -> None:
        self.notify("vdi", self.uuid, vdi)
        self.notify("sr", self.uuid)

    def vdi_introduce(self, vdi: str, location: str, sm_config: Mapping[str, str]) -> Vdi:
        self.scan()
        match = (d for d in self._found.values() if d.location == location or d.uuid == vdi)
        found = next(match, None)
        if found is None:
            text = f"no such VDI: {location or vdi}"
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, text)
        return found

    def vdi_destroy(self, vdi: str) -> None:
        if self.type != "iso":
            raise errors.unsupported(self.uuid)
        path = self.path_of(vdi)
        if not self._writable:
            raise errors.backend_failure(errors.READ_ONLY_FILE_SYSTEM)
        with disk_errors():
            path.unlink(missing_ok=True)
        self.scan()
        self._tell(vdi)

    def vdi_set(self, vdi: str, changes: Mapping[str, object]) -> Vdi:
        known = {k: v for k, v in changes.items() if k in CALLER_OWNED}
        changed = replace(self.disk(vdi), **known)  # type: ignore[arg-type]
        self._given[vdi] = {**self._given.get(vdi, {}), **known}
        self._found[vdi] = changed
        self._tell(vdi)
        return changed

    def attach(self, vdi: str, read_write: bool) -> Backend:
        disk = self.disk(vdi)
        if disk.virtual_size == 0:
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, "no medium in the drive")
        if read_write and disk.read_only:
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, "the VDI is read-only")
        path = str(self.path_of(vdi))
        kind = "vbd3" if self.type == "udev" else "qdisk"
        return Backend(kind, path, path, {"vdi-uuid": vdi, "storage-type": self.type})

    def note_written(self, vdi: str) -> Vdi:
        self.scan()
        self._tell(vdi)
        return self.disk(vdi)

    def destroy(self) -> None:
        """Nothing on the medium is the SR's."""

    def detach(self) -> None:
        """Nothing is held."""


def _device_bytes(path: str) -> int:
    try:
        text = Path(f"/sys/class/block/{os.path.basename(path)}/size").read_text()
    except OSError:
        return 0
    return int(text) * SECTOR

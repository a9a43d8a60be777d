"""The tree of disks of a simulated SR: what each operation does to its records.

Functions here run inside one transaction of the medium: they either finish or
leave nothing.  They know space accounting and the rules of VHD trees.
Source: briefs, storage sections 4.6 and 6.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from sm import errors
from sm.contract import Content, Extents, Vdi, VdiSpec
from sm.drivers.change_log import ChangeLog, changes_between, empty_bits, mark, resized, union
from sm.drivers.medium import Disk, Records
from xapi_py.base.names import new_uuid

Provisioning = Literal["thin", "thick"]

MIB: Final = 1024**2
VHD_STEP: Final = 2 * MIB
EXTENT: Final = 4 * MIB
MAX_VHD_BYTES: Final = 2040 * 1024 * MIB
MAX_CHAIN: Final = 30
THICK_METADATA: Final = 8 * MIB
"""Room a VHD in a logical volume keeps for the tables of the largest disk."""

_DEFAULTS: Final[dict[str, object]] = {
    name: getattr(Vdi(""), name) for name in Vdi.__dataclass_fields__ if name != "uuid"
}
_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_CALLER_OWNED: Final = frozenset(
    [
        "name_label",
        "name_description",
        "sharable",
        "read_only",
        "persistent",
        "metadata_of_pool",
        "snapshot_of",
        "is_a_snapshot",
        "snapshot_time",
        "content_id",
        "sm_config",
        "xenstore_data",
        "type",
    ]
)


def round_up(number: int, step: int) -> int:
    """Round up to a multiple of ``step``."""
    return -(-number // step) * step


def to_vdi(disk: Disk, used: int) -> Vdi:
    """Give the record that callers see."""
    members = dict(disk.fields)
    members["physical_utilisation"] = used
    members.setdefault("location", disk.uuid)
    sm_config = dict(disk.fields.get("sm_config") or {})  # type: ignore[call-overload]
    if disk.format == "vhd":
        sm_config["vdi_type"] = "vhd"
        if disk.parent:
            sm_config["vhd-parent"] = disk.parent
    elif disk.format == "raw":
        sm_config["type"] = "raw"
    members["sm_config"] = sm_config
    return Vdi(disk.uuid, parent=disk.parent, **members)  # type: ignore[arg-type]


def compact(fields: Mapping[str, object]) -> dict[str, object]:
    """Leave out members that have their default."""
    return {k: v for k, v in fields.items() if _DEFAULTS.get(k, ...) != v}


def utilisation(disk: Disk, provisioning: Provisioning) -> int:
    """Space a disk uses on its medium."""
    size = disk.virtual_size
    if disk.format == "lun":
        return size
    if disk.format == "raw":
        return round_up(size, EXTENT) if provisioning == "thick" else disk.data_bytes
    blocks = -(-size // VHD_STEP)
    if provisioning == "thin":
        return disk.data_bytes + round_up(2048 + 4 * blocks, 4096)
    writable = disk.managed and not disk.fields.get("is_a_snapshot")
    if writable and not disk.fields.get("read_only"):
        return round_up(size + 4096 * blocks + THICK_METADATA, EXTENT)
    return round_up(disk.data_bytes + 4096 * -(-disk.data_bytes // VHD_STEP) + 1, EXTENT)


@dataclass(frozen=True, slots=True)
class Tree:
    """The disks of one SR within one transaction."""

    records: Records
    sr: str
    provisioning: Provisioning
    capacity_bytes: int

    def create(self, spec: VdiSpec) -> Vdi:
        """Make an empty disk; errors 43, 44, 66/78, 79, 447."""
        _check_texts(spec.name_label, spec.name_description)
        uuid = spec.uuid or new_uuid()
        if self.records.find_disk(self.sr, uuid) is not None:
            raise errors.backend_failure(errors.VDI_EXISTS, uuid)
        form = self._format(spec)
        size = _valid_size(spec.virtual_size, form)
        disk = Disk(uuid, "", self._fields(spec, size), format=form)
        return self._store(disk)

    def _format(self, spec: VdiSpec) -> str:
        asked = spec.sm_config.get("type", "vhd")
        if asked not in ("vhd", "raw"):
            number = errors.VDI_CREATE if self.provisioning == "thick" else errors.VDI_TYPE
            raise errors.backend_failure(number, f"Invalid VDI type {asked}")
        return asked

    def destroy(self, uuid: str) -> None:
        """Remove a disk; its parents stay until garbage is collected."""
        disk = self.records.disk(self.sr, uuid)
        if not disk.managed:
            raise errors.backend_failure(80, "hidden VDIs are collected, not deleted")
        self._unlink_log(uuid)
        if self.records.children(self.sr, uuid):
            self._store(_with(disk, managed=False, read_only=True), check=False)
        else:
            self.records.delete_disk(self.sr, uuid)

    def snapshot(self, uuid: str, spec: VdiSpec, *, clone: bool) -> Vdi:
        """Make a snapshot or clone: a sibling of the disk below a common, hidden parent."""
        disk = self.records.disk(self.sr, uuid)
        number = errors.VDI_CLONE if clone else errors.VDI_SNAPSHOT
        if not disk.managed:
            raise errors.backend_failure(number, "hidden VDI")
        if disk.fields.get("type") == "cbt_metadata":
            raise errors.backend_failure(number, "the data of the VDI was destroyed")
        _check_texts(spec.name_label, spec.name_description)
        if self.depth(disk) >= MAX_CHAIN:
            raise errors.backend_failure(errors.CHAIN_TOO_LONG)
        parent = disk.parent
        if not parent or disk.data_bytes or disk.content:
            parent = self._push_down(disk)
            disk = self.records.disk(self.sr, uuid)
        fields = self._fields(spec, disk.virtual_size)
        if not clone:
            fields |= {"is_a_snapshot": True, "snapshot_of": uuid}
        for name in ("type", "content_id", "metadata_of_pool"):
            if name in disk.fields:
                fields.setdefault(name, disk.fields[name])
        copy = Disk(spec.uuid or new_uuid(), parent, compact(fields), format="vhd")
        if not clone and disk.fields.get("cbt_enabled"):
            copy = _with(copy, cbt_enabled=True)
            self._cut_log(disk, copy.uuid)
        return self._store(copy)

    def _push_down(self, disk: Disk) -> str:
        """Turn what the disk holds into a hidden parent and leave the disk empty."""
        fields = {
            "name_label": "base copy",
            "virtual_size": disk.virtual_size,
            "managed": False,
            "read_only": True,
            "type": disk.fields.get("type", "user"),
        }
        base = replace(disk, uuid=new_uuid(), fields=compact(fields))
        self._store(base, check=False)
        self._store(
            replace(disk, parent=base.uuid, data_bytes=0, content="", format="vhd"), check=False
        )
        return base.uuid

    def revert(self, uuid: str, snapshot: str) -> Vdi:
        """Make the disk's content that of a snapshot; the disk keeps its name and uuid."""
        disk = self.records.disk(self.sr, uuid)
        source = self.records.disk(self.sr, snapshot)
        parent = source.parent
        if not parent or source.data_bytes or source.content:
            parent = self._push_down(source)
        fields = disk.fields | {"virtual_size": source.virtual_size}
        return self._store(
            replace(disk, parent=parent, data_bytes=0, content="", fields=fields, format="vhd")
        )

    def resize(self, uuid: str, virtual_size: int) -> Vdi:
        """Grow a disk; equal size changes nothing, shrinking is error 79."""
        disk = self.records.disk(self.sr, uuid)
        if disk.format == "raw" and self.provisioning == "thin":
            raise errors.unsupported(self.sr)
        if virtual_size < disk.virtual_size:
            raise errors.backend_failure(errors.VDI_SIZE, "shrinking not allowed")
        size = _valid_size(virtual_size, disk.format)
        if size == disk.virtual_size:
            return to_vdi(disk, self.records.used(self.sr, uuid))
        log = self.records.log(self.sr, uuid)
        if log is not None:
            self.records.put_log(self.sr, uuid, resized(log, size))
        return self._store(_with(disk, virtual_size=size))

    def change(self, uuid: str, changes: Mapping[str, object]) -> Vdi:
        """Set members that the caller owns."""
        foreign = set(changes) - _CALLER_OWNED
        if foreign:
            raise ValueError(f"not the caller's to set: {sorted(foreign)}")
        _check_texts(*(str(changes.get(n, "")) for n in ("name_label", "name_description")))
        disk = self.records.disk(self.sr, uuid)
        return self._store(_with(disk, **changes), check=False)

    def reset(self, uuid: str) -> None:
        """Throw away what was written to a disk since it was made from its parent."""
        disk = self.records.disk(self.sr, uuid)
        self._store(replace(disk, data_bytes=0, content=""), check=False)

    def write(self, uuid: str, data_bytes: int, content: str, extents: Extents) -> Vdi:
        """Account for written data; error 44 when the medium is full."""
        disk = self.records.disk(self.sr, uuid)
        log = self.records.log(self.sr, uuid)
        if log is not None and disk.fields.get("cbt_enabled"):
            self.records.put_log(self.sr, uuid, replace(log, bits=mark(log.bits, extents)))
        data = min(data_bytes, disk.virtual_size)
        return self._store(replace(disk, data_bytes=data, content=content))

    def depth(self, disk: Disk) -> int:
        """Number of parents of a disk."""
        count, parent = 0, disk.parent
        while parent and count <= MAX_CHAIN:
            count += 1
            above = self.records.find_disk(self.sr, parent)
            parent = above.parent if above else ""
        return count

    def content(self, disk: Disk) -> Content:
        """Where a disk's data is: the nearest file up its chain, and how much data."""
        path, total, node = "", 0, disk
        while True:
            total += node.data_bytes
            path = path or node.content
            above = self.records.find_disk(self.sr, node.parent) if node.parent else None
            if above is None:
                return Content(path, min(total, disk.virtual_size))
            node = above

    def collect(self) -> list[str]:
        """Remove hidden disks nobody needs and merge those with one child; gives what changed."""
        changed: list[str] = []
        progress = True
        while progress:
            progress = False
            for node in self.records.hidden(self.sr):
                children = self.records.children(self.sr, node.uuid)
                if len(children) > 1:
                    continue
                if children:
                    self._merge(node, self.records.disk(self.sr, children[0]))
                    changed.append(children[0])
                self.records.delete_disk(self.sr, node.uuid)
                changed.append(node.uuid)
                progress = True
        return changed

    def _merge(self, node: Disk, child: Disk) -> None:
        data = min(node.data_bytes + child.data_bytes, child.virtual_size)
        merged = replace(
            child,
            parent=node.parent,
            data_bytes=data,
            content=child.content or node.content,
            format=node.format if not node.parent else child.format,
        )
        self._store(merged, check=False)

    def enable_cbt(self, uuid: str) -> Vdi:
        """Start a change log; error 66 for a raw disk."""
        disk = self.records.disk(self.sr, uuid)
        if disk.format == "raw":
            raise errors.backend_failure(errors.VDI_TYPE, "raw VDIs have no change log")
        if not disk.fields.get("cbt_enabled"):
            self.records.put_log(self.sr, uuid, ChangeLog(empty_bits(disk.virtual_size)))
        return self._store(_with(disk, cbt_enabled=True), check=False)

    def disable_cbt(self, uuid: str) -> Vdi:
        """Drop the change log; the chain ends before this disk."""
        log = self.records.log(self.sr, uuid)
        if log is not None:
            before, after = self._log(log.parent), self._log(log.child)
            if before is not None:
                self.records.put_log(self.sr, log.parent, replace(before, child=""))
            if after is not None:
                self.records.put_log(self.sr, log.child, replace(after, parent=""))
            self.records.delete_log(self.sr, uuid)
        return self._store(_with(self.records.disk(self.sr, uuid), cbt_enabled=False), check=False)

    def data_destroy(self, uuid: str) -> Vdi:
        """Keep a snapshot's change log but not its data."""
        disk = self.records.disk(self.sr, uuid)
        gone = replace(_with(disk, type="cbt_metadata"), data_bytes=0, content="", parent="")
        return self._store(gone, check=False)

    def list_changed_blocks(self, vdi_from: str, vdi_to: str) -> str:
        """Blocks that differ between two disks, base64; error 460 when they are unrelated."""
        target = self.records.disk(self.sr, vdi_to)
        self.records.disk(self.sr, vdi_from)
        bits = changes_between(lambda u: self.records.log(self.sr, u), vdi_from, vdi_to)
        if bits is None:
            raise errors.backend_failure(
                errors.CBT_CHANGED_BLOCKS, "Source and target VDI are unrelated"
            )
        whole = bits.ljust(len(empty_bits(target.virtual_size)), b"\0")
        return base64.b64encode(whole).decode("ascii")

    def _cut_log(self, disk: Disk, snapshot: str) -> None:
        """Hand the disk's log to its snapshot and start a new one after it."""
        log = self.records.log(self.sr, disk.uuid) or ChangeLog(empty_bits(disk.virtual_size))
        self.records.put_log(self.sr, snapshot, replace(log, child=disk.uuid))
        if log.parent:
            before = self.records.log(self.sr, log.parent)
            if before is not None:
                self.records.put_log(self.sr, log.parent, replace(before, child=snapshot))
        fresh = ChangeLog(empty_bits(disk.virtual_size), parent=snapshot)
        self.records.put_log(self.sr, disk.uuid, fresh)

    def _log(self, uuid: str) -> ChangeLog | None:
        return self.records.log(self.sr, uuid) if uuid else None

    def _unlink_log(self, uuid: str) -> None:
        """Take a disk out of its chain; the next disk inherits its changes."""
        log = self.records.log(self.sr, uuid)
        if log is None:
            return
        after = self._log(log.child)
        if after is not None:
            joined = replace(after, bits=union(after.bits, log.bits), parent=log.parent)
            self.records.put_log(self.sr, log.child, joined)
        before = self._log(log.parent)
        if before is not None:
            child = log.child if after is not None else ""
            self.records.put_log(self.sr, log.parent, replace(before, child=child))
        self.records.delete_log(self.sr, uuid)

    def _fields(self, spec: VdiSpec, virtual_size: int) -> dict[str, object]:
        names = (n for n in VdiSpec.__dataclass_fields__ if n != "uuid")
        fields = {n: getattr(spec, n) for n in names}
        fields["sm_config"] = {k: v for k, v in spec.sm_config.items() if k != "type"}
        return compact(fields | {"virtual_size": virtual_size})

    def _store(self, disk: Disk, *, check: bool = True) -> Vdi:
        used = utilisation(disk, self.provisioning)
        before = self.records.used(self.sr, disk.uuid)
        if check and used > before:
            total = self.records.used_bytes() - before + used
            if total > self.capacity_bytes:
                raise errors.backend_failure(
                    errors.NO_SPACE, f"{used - before} bytes wanted, medium is full"
                )
        self.records.put_disk(self.sr, disk, used)
        return to_vdi(disk, used)


def _with(disk: Disk, **fields: object) -> Disk:
    return replace(disk, fields=compact(disk.fields | fields))


def _valid_size(size: int, form: str) -> int:
    if size < 0 or size > MAX_VHD_BYTES:
        most = MAX_VHD_BYTES // MIB
        raise errors.backend_failure(
            errors.VDI_SIZE, f"VDI size must be between 1 MB and {most} MB"
        )
    return round_up(max(size, 1), VHD_STEP if form == "vhd" else EXTENT)


def _check_texts(*texts: str) -> None:
    if any(_NOT_XML.search(text) for text in texts):
        raise errors.backend_failure(errors.XML_CHARACTER)

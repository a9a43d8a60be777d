"""Disks of a file SR: their records, and how callers see them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from sm import errors
from sm.contract import Vdi, VdiSpec
from sm.files.chains import Node
from sm.files.record_log import Record
from sm.images import qcow2

MIB: Final = 1024**2
STEP: Final = 2 * MIB
"""Sizes are rounded up to this, as XenServer does: any disk can leave as a VHD."""

CALLER_OWNED: Final = frozenset(
    ["name_label", "name_description", "sharable", "read_only", "persistent", "type"]
    + ["metadata_of_pool", "snapshot_of", "is_a_snapshot", "snapshot_time"]
    + ["content_id", "sm_config", "xenstore_data"]
)
_DEFAULTS: Final[dict[str, object]] = {
    f.name: getattr(Vdi(""), f.name) for f in fields(Vdi) if f.name != "uuid"
}
_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Disk:
    """A record: members of ``Vdi`` that are not as usual, and the disk's image.

    ``node`` is empty once the data was destroyed; ``reset_base`` is the image
    a reset-on-boot disk starts from.
    """

    uuid: str
    node: str
    members: Mapping[str, object]
    reset_base: str = ""

    def to_record(self) -> Record:
        """Give the form that is kept."""
        return {"node": self.node, "members": dict(self.members), "reset_base": self.reset_base}

    @property
    def tracked(self) -> bool:
        """Whether changes of its blocks are recorded."""
        return bool(self.members.get("cbt_enabled"))

    def with_members(self, **members: object) -> "Disk":
        """Give the disk with other members."""
        merged = {**self.members, **members}
        kept = {k: v for k, v in merged.items() if _DEFAULTS.get(k, ...) != v}
        return Disk(self.uuid, self.node, kept, self.reset_base)


def from_record(uuid: str, record: Record) -> Disk:
    """Read the form that is kept."""
    members = record["members"]
    assert isinstance(members, dict)
    return Disk(uuid, str(record["node"]), members, str(record.get("reset_base", "")))


def new_disk(uuid: str, node: str, spec: VdiSpec) -> Disk:
    """Make the record of a disk as a caller wants it."""
    members = {f.name: getattr(spec, f.name) for f in fields(VdiSpec)}
    for name in ("uuid", "virtual_size"):
        del members[name]
    members["sm_config"] = {k: v for k, v in spec.sm_config.items() if k != "type"}
    return Disk(uuid, node, {}).with_members(**members)


def to_vdi(disk: Disk, node: Node | None, damage: str = "") -> Vdi:
    """Give the record that callers see; a disk without its image is ``missing``."""
    members = dict(disk.members)
    sm_config = {str(k): str(v) for k, v in dict(disk.members.get("sm_config") or {}).items()}  # type: ignore[call-overload]
    members.setdefault("location", disk.uuid)
    parent = ""
    if node is not None:
        members["virtual_size"] = node.virtual_size
        members["physical_utilisation"] = node.space_bytes
        parent = node.parent
        sm_config |= _described(node)
    elif disk.node:
        members["missing"] = True
    if damage:
        sm_config["damage"] = damage
    members["sm_config"] = sm_config
    return Vdi(disk.uuid, parent=parent, **members)  # type: ignore[arg-type]


def hidden_vdi(name: str, node: Node) -> Vdi:
    """Give the record of an image that is only a parent."""
    return Vdi(
        name,
        location=name,
        name_label="base copy",
        read_only=True,
        managed=False,
        virtual_size=node.virtual_size,
        physical_utilisation=node.space_bytes,
        parent=node.parent,
        sm_config=_described(node),
    )


def _described(node: Node) -> dict[str, str]:
    if node.format == "raw":
        return {"type": "raw"}
    found = {"vdi_type": "qcow2", "image-format": "qcow2"}
    return found | ({"vhd-parent": node.parent} if node.parent else {})


def valid_size(size: int) -> int:
    """Round a size up to what disks have.  Errors: 79."""
    if size < 0 or size > qcow2.MAX_BYTES:
        most = qcow2.MAX_BYTES // MIB
        text = f"VDI size must be between 1 MB and {most} MB"
        raise errors.backend_failure(errors.VDI_SIZE, text)
    return -(-max(size, 1) // STEP) * STEP


def check_texts(*texts: object) -> None:
    """Refuse what XML cannot carry.  Errors: 447."""
    if any(_NOT_XML.search(str(text)) for text in texts):
        raise errors.backend_failure(errors.XML_CHARACTER)


def is_raw(spec: VdiSpec) -> bool:
    """Tell whether a raw image is asked for.  Errors: 66."""
    asked = spec.sm_config.get("type") or spec.sm_config.get("image-format") or "qcow2"
    if asked not in ("raw", "vhd", "qcow2"):
        raise errors.backend_failure(errors.VDI_TYPE, f"Invalid VDI type {asked}")
    return asked == "raw"

"""Copies of VMs: which fields go along, and the tree of snapshots."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan.query import quoted

Kind = Literal["snapshot", "checkpoint", "clone", "copy"]

# Copied as they are, whatever the kind.
COPIED = (
    "name_description", "user_version", "is_a_template", "affinity", "memory_target",
    "memory_overhead", "memory_static_max", "memory_dynamic_max", "memory_dynamic_min",
    "memory_static_min", "VCPUs_params", "VCPUs_max", "VCPUs_at_startup",
    "actions_after_softreboot", "actions_after_shutdown", "actions_after_reboot",
    "actions_after_crash", "PV_bootloader", "PV_kernel", "PV_ramdisk", "PV_args",
    "PV_bootloader_args", "PV_legacy_args", "HVM_boot_policy", "HVM_boot_params",
    "HVM_shadow_multiplier", "platform", "PCI_bus", "other_config", "last_boot_CPU_flags",
    "recommendations", "xenstore_data", "bios_strings", "start_delay", "shutdown_delay", "order",
    "tags", "suspend_SR", "hardware_platform_version", "has_vendor_device", "reference_label",
    "domain_type", "NVRAM",
)  # fmt: skip

# Never taken from the saved record on a revert: identity, state, links, devices.
KEPT_ON_REVERT = frozenset(
    {
        "uuid", "_ref", "ref", "allowed_operations", "current_operations", "power_state",
        "suspend_VDI", "resident_on", "scheduled_to_be_resident_on", "domid", "consoles", "VIFs",
        "VBDs", "VUSBs", "VTPMs", "VGPUs", "crash_dumps", "attached_PCIs", "metrics",
        "guest_metrics", "snapshots", "snapshot_of", "is_a_snapshot", "snapshot_time",
        "snapshot_metadata", "snapshot_info", "transportable_snapshot_id", "parent", "children",
        "affinity", "blobs", "ha_always_run", "ha_restart_priority", "generation_id",
        "is_a_template", "is_default_template", "is_control_domain", "appliance",
        "protection_policy", "snapshot_schedule", "groups", "blocked_operations",
        "requires_reboot", "pending_guidances", "pending_guidances_recommended",
        "pending_guidances_full", "recommended_guidances", "last_booted_record",
    }
)  # fmt: skip

DISK_KIND = "crash_consistent"
MAX_SNAPSHOTS = 30


@dataclass(frozen=True, slots=True)
class Fresh:
    """Values a copy gets new; the caller draws them."""

    now: int
    mac_seed: str
    generation_id: str


def _other_config(row: Row, kind: Kind, mac_seed: str) -> dict[str, str]:
    """Give the copy's other_config; clones of templates remember their origin."""
    config = dict(row.other_config)
    if kind in ("snapshot", "checkpoint"):
        return config
    if row.is_a_template and not row.is_a_snapshot:
        config["base_template_name"] = row.name_label
    config.pop("default_template", None)
    config["mac_seed"] = mac_seed
    return config


def copy_fields(row: Row, kind: Kind, new_name: str, fresh: Fresh) -> dict[str, object]:
    """Give the fields of the new VM record, suspend image and devices aside.

    Snapshots and checkpoints become templates that belong to the VM and keep
    its MAC seed; clones and copies stand alone.  The caller sets metrics,
    guest_metrics and suspend_VDI, and power_state Suspended once a memory
    image is there.
    """
    snapshot = kind in ("snapshot", "checkpoint")
    fields: dict[str, object] = {name: getattr(row, name) for name in COPIED}
    fields.update(
        name_label=new_name,
        is_a_template=True if snapshot else row.is_a_template,
        is_a_snapshot=snapshot,
        snapshot_of=row.ref if snapshot else NULL_REF,
        snapshot_time=fresh.now if snapshot else 0,
        snapshot_info=snapshot_info(row) if snapshot else {},
        parent=row.parent if snapshot else NULL_REF,
        other_config=_other_config(row, kind, fresh.mac_seed),
        generation_id=fresh.generation_id if row.generation_id else "",
        is_default_template=False,
        is_control_domain=False,
        power_state="Halted",
        resident_on=NULL_REF,
        scheduled_to_be_resident_on=NULL_REF,
        domid=-1,
        ha_always_run=False,
        ha_restart_priority="",
        appliance=NULL_REF,
        protection_policy=NULL_REF,
        snapshot_schedule=NULL_REF,
        blocked_operations={},
        last_booted_record=row.last_booted_record if row.power_state == "Suspended" else "",
    )
    return fields


def snapshot_info(row: Row) -> dict[str, str]:
    """Give VM.snapshot_info of a new snapshot."""
    return {"disk-snapshot-type": DISK_KIND, "power-state-at-snapshot": row.power_state}


def created_parents(row: Row, snapshot: str) -> dict[str, str]:
    """Give the parent fields to set once ``snapshot`` of the VM exists.

    The snapshot takes the VM's place in the tree and becomes its parent.
    """
    return {snapshot: row.parent, row.ref: snapshot}


def reverted_parents(vm: str, snapshot: str) -> dict[str, str]:
    """Give the parent field to set after the VM was reverted to ``snapshot``."""
    return {vm: snapshot}


def destroyed_parents(row: Row) -> dict[str, str]:
    """Give the parent fields to set before the VM is destroyed: children move up."""
    return {child: row.parent for child in row.children}


def ancestors(view: View, ref: str) -> Iterator[str]:
    """Walk the parents of a VM, nearest first; stops at a repeated one."""
    seen = {ref}
    row = view.find("VM", ref)
    while row is not None and row.parent not in seen:
        seen.add(row.parent)
        row = view.find("VM", row.parent)
        if row is not None:
            yield row.ref


def revert_error(view: View, row: Row) -> ApiError | None:
    """Tell why a revert to ``row`` is impossible before its state matters.

    Errors: VM_REVERT_FAILED [vm, snapshot] when the VM it belongs to is gone or
    ``row`` is no snapshot at all.
    """
    if not row.is_a_snapshot or view.find("VM", row.snapshot_of) is None:
        return err.VM_REVERT_FAILED(row.ref, row.snapshot_of or NULL_REF)
    return None


def state_after_revert(row: Row) -> str:
    """Give the power state after a revert: Suspended when the snapshot holds memory."""
    return "Suspended" if row.power_state == "Suspended" else "Halted"


def metadata_text(fields: Iterable[tuple[str, str]]) -> str:
    """Write snapshot_metadata from (database name, stored text) pairs.

    Servers list the names in descending order, ``_ref`` included.
    """
    ordered = sorted(fields, reverse=True)
    return "(" + " ".join(f"({quoted(k)} {quoted(v)})" for k, v in ordered) + ")"


def read_metadata(untrusted_text: str) -> dict[str, str]:
    """Read what ``metadata_text`` writes; ValueError for anything else."""
    reader = _PairReader(untrusted_text)
    return reader.pairs()


class _PairReader:
    """Reads ``(('a' 'b') ('c' 'd'))``, with backslash before quote and backslash."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def _expect(self, sign: str) -> None:
        if not self._text.startswith(sign, self._at):
            raise ValueError(f"expected {sign!r} at {self._at}")
        self._at += len(sign)

    def _peek(self) -> str:
        while self._text.startswith(" ", self._at):
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _string(self) -> str:
        self._expect("'")
        out: list[str] = []
        while True:
            char = self._text[self._at : self._at + 1]
            self._at += 1
            if char == "":
                raise ValueError("text ends inside quotes")
            if char == "'":
                return "".join(out)
            if char == "\\":
                char = self._text[self._at : self._at + 1]
                self._at += 1
            out.append(char)

    def pairs(self) -> dict[str, str]:
        found = {}
        self._peek()
        self._expect("(")
        while self._peek() == "(":
            self._expect("(")
            key = self._string()
            self._peek()
            found[key] = self._string()
            self._peek()
            self._expect(")")
        self._expect(")")
        return found


def revert_fields(saved: Mapping[str, object]) -> dict[str, object]:
    """Choose from the saved record, by field name, what a revert writes to the VM."""
    return {name: value for name, value in saved.items() if name not in KEPT_ON_REVERT}


# VBD and VIF fields a copied device takes; the rest starts at its default.
VBD_COPIED = (
    "userdevice", "bootable", "mode", "type", "unpluggable", "empty", "other_config",
    "qos_algorithm_type", "qos_algorithm_params",
)  # fmt: skip
VIF_COPIED = (
    "device", "network", "MTU", "other_config", "qos_algorithm_type", "qos_algorithm_params",
    "locking_mode", "ipv4_allowed", "ipv6_allowed", "ipv4_configuration_mode", "ipv4_addresses",
    "ipv4_gateway", "ipv6_configuration_mode", "ipv6_addresses", "ipv6_gateway",
)  # fmt: skip


def vbd_fields(vbd: Row, vm: str, vdi: str) -> dict[str, object]:
    """Give the fields of a copied VBD on VM ``vm`` with disk ``vdi``."""
    fields: dict[str, object] = {name: getattr(vbd, name) for name in VBD_COPIED}
    return {**fields, "VM": vm, "VDI": vdi}


def vif_fields(vif: Row, vm: str, keep_mac: bool) -> dict[str, object]:
    """Give the fields of a copied VIF; without ``keep_mac`` the MAC is left blank."""
    fields: dict[str, object] = {name: getattr(vif, name) for name in VIF_COPIED}
    return {
        **fields,
        "VM": vm,
        "MAC": vif.MAC if keep_mac else "",
        "MAC_autogenerated": vif.MAC_autogenerated,
    }


def copied_disks(view: View, row: Row, ignored: Iterable[str] = ()) -> tuple[tuple[str, str], ...]:
    """List (VBD, VDI) of the disks a copy duplicates: not CDs, not empty, not ``ignored``.

    CD drives are copied with the medium they hold.
    """
    skip = set(ignored)
    pairs = []
    for ref in row.VBDs:
        vbd = view.find("VBD", ref)
        if vbd is not None and vbd.type == "Disk" and vbd.VDI != NULL_REF and vbd.VDI not in skip:
            pairs.append((vbd.ref, vbd.VDI))
    return tuple(pairs)

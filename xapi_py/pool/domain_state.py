"""What the domain daemon reports of a VM, written to the database.

Only this module writes power_state, domid, resident_on and currently_attached
of VMs that a host knows.  Sizes in bytes.  Source: brief XENOPS 1, 13, 18.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from xapi_py.base.disk_names import linux_name, parse_device
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.db.transaction import Transaction
from xapi_py.plan import boot, guest_metrics
from xapi_py.plan.operations.vm import is_hvm
from xapi_py.plan.shutdown import HALTED_FIELDS
from xapi_py.pool.host_address import console_base
from xapi_py.pool.storage_records import find_uuid

Stat = Mapping[str, Any]

LIVE = frozenset({"Running", "Paused"})
_DOMAIN_TYPES = {"HVM": "hvm", "PV": "pv", "PVinPVH": "pv_in_pvh", "PVH": "pvh"}
_GUEST_FIELDS = (
    "PV_drivers_version", "os_version", "netbios_name", "networks", "other",
    "can_use_hotplug_vbd", "can_use_hotplug_vif", "PV_drivers_detected", "PV_drivers_up_to_date",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ended:
    """A domain that stopped by itself; ``reason`` is poweroff, crash and so on."""

    vm: Ref
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """The host a report comes from, and how its consoles are reached."""

    host: Ref
    https_port: int


def apply(
    db: Database, tx: Transaction, place: Place, vm: Row, stat: Stat | None, now: int
) -> Ended | None:
    """Write one report; ``None`` is "this host does not know the VM".

    Reports of a host the VM is not on change nothing, unless the VM is live
    there.  Gives the end of a domain that nobody had asked for.
    """
    state = "Halted" if stat is None else stat["power_state"]
    if stat is not None and state in LIVE:
        _live(db, tx, place, vm, stat, now)
        return None
    if vm.resident_on != place.host or vm.is_control_domain:
        return None
    if stat is not None and state == "Suspended":
        _suspended(db, tx, vm, stat)
        return None
    halt(db, tx, vm)
    return _ended(vm, stat)


def _ended(vm: Row, stat: Stat | None) -> Ended | None:
    last: Mapping[str, Any] = (stat or {}).get("last_shutdown") or {}
    if last.get("initiator") != "guest":
        return None
    return Ended(vm.ref, str(last.get("reason", "")))


def halt(db: Database, tx: Transaction, vm: Row) -> None:
    """Make a VM Halted with nothing attached."""
    tx.update("VM", vm.ref, **HALTED_FIELDS)
    _detach_all(db, tx, vm)
    _no_domain(db, tx, vm)


def _detach_all(db: Database, tx: Transaction, vm: Row) -> None:
    _passed_through(db, tx, vm, NULL_REF, ())
    for cls, refs in (("VBD", vm.VBDs), ("VIF", vm.VIFs), ("VUSB", vm.VUSBs)):
        for ref in tuple(refs):
            if db.find(cls, ref) is not None:
                tx.update(cls, ref, currently_attached=False)
    for ref in tuple(vm.VGPUs):
        tx.update("VGPU", ref, currently_attached=False, resident_on=NULL_REF)


def _no_domain(db: Database, tx: Transaction, vm: Row) -> None:
    for console in tuple(vm.consoles):
        tx.delete("console", console)
    if db.find("VM_metrics", vm.metrics) is not None:
        tx.update(
            "VM_metrics", vm.metrics, memory_actual=0, state=(), current_domain_type="unspecified"
        )


def _suspended(db: Database, tx: Transaction, vm: Row, stat: Stat) -> None:
    staying = "checkpoint" in vm.current_operations.values()
    tx.update("VM", vm.ref, power_state="Suspended", domid=-1)
    if not staying:
        tx.set("VM", vm.ref, "resident_on", NULL_REF)
    _devices(db, tx, vm, stat)
    _no_domain(db, tx, vm)


def _live(db: Database, tx: Transaction, place: Place, vm: Row, stat: Stat, now: int) -> None:
    domids = stat["domids"]
    tx.update(
        "VM",
        vm.ref,
        power_state=stat["power_state"],
        domid=domids[0] if domids else -1,
        resident_on=place.host,
        memory_target=int(stat["memory_target"]),
    )
    if vm.scheduled_to_be_resident_on == place.host:
        tx.set("VM", vm.ref, "scheduled_to_be_resident_on", NULL_REF)
    _guest_settings(tx, vm, stat)
    _devices(db, tx, vm, stat)
    _passed_through(db, tx, vm, place.host, stat["pcis"])
    _consoles(db, tx, place, vm, stat)
    changed = _metrics(db, tx, vm, stat, now)
    changed = _guest_metrics(db, tx, vm, stat, now) or changed
    if changed:
        tx.recompute("VM", vm.ref)


def _guest_settings(tx: Transaction, vm: Row, stat: Stat) -> None:
    """Take over what the guest may change: its clock and its xenstore data."""
    offset = stat["rtc_timeoffset"]
    if offset != vm.platform.get("timeoffset", "0"):
        tx.add_to_map("VM", vm.ref, "platform", "timeoffset", offset)
    shown = boot.guest_xenstore(vm.xenstore_data)
    fresh = boot.guest_xenstore(stat["xsdata"])
    if shown != fresh:
        others = {k: v for k, v in vm.xenstore_data.items() if k not in shown}
        tx.set("VM", vm.ref, "xenstore_data", others | fresh)


def _devices(db: Database, tx: Transaction, vm: Row, stat: Stat) -> None:
    hvm = is_hvm(db, vm)
    for ref in tuple(vm.VBDs):
        vbd = db.find("VBD", ref)
        position = parse_device(vbd.userdevice, hvm) if vbd is not None else None
        if vbd is None or position is None:
            continue
        name = linux_name(position)
        seen = stat["vbds"].get(name, {})
        attached = _attached(seen)
        tx.set("VBD", ref, "currently_attached", attached)
        if attached:
            tx.set("VBD", ref, "device", name)
            _medium(db, tx, vbd, seen)
    for ref in tuple(vm.VIFs):
        vif = db.find("VIF", ref)
        if vif is not None:
            seen = stat["vifs"].get(vif.device, {})
            tx.set("VIF", ref, "currently_attached", _attached(seen))


def _passed_through(
    db: Database, tx: Transaction, vm: Row, host: Ref, devices: Collection[str]
) -> None:
    """Write which PCI functions of a host the domain has; device names are ``n_ADDRESS``."""
    if not devices and not len(vm.attached_PCIs):
        return
    addresses = {device.partition("_")[2] for device in devices}
    functions = db.row("host", host).PCIs if addresses else ()
    found = tuple(ref for ref in functions if db.row("PCI", ref).pci_id in addresses)
    tx.set("VM", vm.ref, "attached_PCIs", found)


def _attached(seen: Mapping[str, Any]) -> bool:
    return bool(seen.get("plugged") or seen.get("active"))


def _medium(db: Database, tx: Transaction, vbd: Row, seen: Mapping[str, Any]) -> None:
    """Follow the medium of a drive: a guest can eject it."""
    if vbd.type != "CD" or not seen.get("plugged"):
        return
    if not seen["media_present"]:
        if not vbd.empty:
            tx.update("VBD", vbd.ref, empty=True, VDI=NULL_REF)
        return
    vdi = _disk_in_drive(db, seen.get("disk") or {})
    if vdi is not None:
        tx.update("VBD", vbd.ref, empty=False, VDI=vdi)


def _disk_in_drive(db: Database, disk: Mapping[str, Any]) -> Ref | None:
    """Find the record of a medium; a file of the host and a forgotten SR have none."""
    known = find_uuid(db, "SR", disk.get("sr", ""))
    name = disk.get("vdi")
    for ref in db.row("SR", known).VDIs if known is not None else ():
        vdi = db.row("VDI", ref)
        if name in (vdi.location, vdi.uuid):
            return Ref(ref)
    return None


def _metrics(db: Database, tx: Transaction, vm: Row, stat: Stat, now: int) -> bool:
    """Write VM_metrics; gives whether operations of the VM depend on a change."""
    metrics = db.find("VM_metrics", vm.metrics)
    if metrics is None:
        fresh = tx.create("VM_metrics", {})
        tx.set("VM", vm.ref, "metrics", fresh)
        metrics = db.row("VM_metrics", fresh)
    kind = _DOMAIN_TYPES.get(stat["domain_type"], "unspecified")
    decisive = (bool(stat["nomigrate"]), bool(stat["nested_virt"]), kind)
    before = (metrics.nomigrate, metrics.nested_virt, metrics.current_domain_type)
    vcpus = int(stat["vcpu_target"])
    tx.update(
        "VM_metrics",
        metrics.ref,
        memory_actual=int(stat["memory_actual"]),
        VCPUs_number=vcpus,
        start_time=int(stat["last_start_time"]),
        state=("running",) if stat["power_state"] == "Running" else ("paused",),
        hvm=bool(stat["hvm"]),
        nomigrate=decisive[0],
        nested_virt=decisive[1],
        current_domain_type=kind,
        last_updated=now,
    )
    return decisive != before


def _guest_metrics(db: Database, tx: Transaction, vm: Row, stat: Stat, now: int) -> bool:
    """Write VM_guest_metrics when what the agent says has changed."""
    keys: Mapping[str, str] = stat["guest_agent"]
    fields = guest_metrics.fields_of(keys, bool(stat["pv_drivers_detected"]))
    values = {name: getattr(fields, name) for name in _GUEST_FIELDS}
    guest = db.find("VM_guest_metrics", vm.guest_metrics)
    if guest is None:
        fresh = tx.create("VM_guest_metrics", {**values, "live": True, "last_updated": now})
        tx.set("VM", vm.ref, "guest_metrics", fresh)
        return True
    if guest.live and all(getattr(guest, name) == value for name, value in values.items()):
        return False
    tx.update("VM_guest_metrics", guest.ref, live=True, last_updated=now, **values)
    return True


def _consoles(db: Database, tx: Transaction, place: Place, vm: Row, stat: Stat) -> None:
    """Keep one console record per protocol of a live VM."""
    present = {db.row("console", ref).protocol: ref for ref in tuple(vm.consoles)}
    wanted = {console["protocol"]: console for console in stat["consoles"]}
    for protocol, ref in present.items():
        if protocol not in wanted:
            tx.delete("console", ref)
    base = console_base(db.row("host", place.host).address, place.https_port)
    for protocol, console in wanted.items():
        found = present.get(protocol)
        if found is None:
            found = tx.create("console", {"VM": vm.ref, "protocol": protocol})
        tx.update("console", found, port=int(console["port"]), location=f"{base}{found}")

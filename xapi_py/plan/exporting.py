"""Which records an export of VMs holds, and how they are written.

References between the records of one export become ``Ref:0``, ``Ref:1``...;
those to anything else become null.  Sources: brief STORAGE 5.1; facts/traces,
http-167.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ocaml_compat.xmlrpc_value import Date, Value
from ocaml_compat.xva import Exported, Version
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel.model import DateTime, MapOf, Model, OptionOf, RefOf, SetOf, Type
from xapi_py.db.row import Row
from xapi_py.db.view import View

CLASSES = (
    *("host", "VM", "VM_metrics", "VM_guest_metrics", "VBD", "VIF", "network", "VDI", "SR"),
    *("VGPU_type", "VGPU", "GPU_group", "VTPM"),
)
"""Classes of an export, in the order of the file."""

_HARDWARE = {"VIF": "VIFs", "VBD": "VBDs", "VGPU": "VGPUs", "VTPM": "VTPMs"}


@dataclass(frozen=True, slots=True)
class ExportChoice:
    """What goes into an export beside the VMs themselves.

    With ``power_state`` suspended VMs stay suspended and keep their image.
    """

    power_state: bool = False
    snapshots: bool = False
    excluded_devices: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ExportedDisk:
    """A disk whose data goes along: its folder in the archive."""

    directory: str
    vdi: Ref


@dataclass(slots=True)
class _Table:
    """Objects met so far, by class, with their number."""

    ids: dict[str, str] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, cls: str, row: Row | None) -> bool:
        """Take an object in; whether it is new."""
        if row is None or row.ref in self.ids:
            return False
        self.ids[row.ref] = f"Ref:{len(self.ids)}"
        self.rows.setdefault(cls, []).append(row)
        return True


@dataclass(frozen=True, slots=True)
class Export:
    """Records and disks of an export."""

    objects: Sequence[Exported]
    disks: Sequence[ExportedDisk]


def plan_export(view: View, model: Model, vms: Iterable[Row], choice: ExportChoice) -> Export:
    """Collect everything that belongs to the VMs."""
    table = _Table()
    disks: list[Ref] = []
    for vm in vms:
        _add_vm(view, model, table, vm, choice, disks)
    objects = [
        Exported(cls, table.ids[row.ref], _record(model, cls, row, table.ids, choice))
        for cls in CLASSES
        for row in table.rows.get(cls, ())
    ]
    folders = sorted((ExportedDisk(table.ids[ref], ref) for ref in disks), key=_folder)
    return Export(objects, folders)


def _folder(disk: ExportedDisk) -> str:
    return disk.directory


def _add_vm(
    view: View, model: Model, table: _Table, vm: Row, choice: ExportChoice, disks: list[Ref]
) -> None:
    if not table.add("VM", vm):
        return
    table.add("host", view.find("host", vm.resident_on))
    table.add("host", view.find("host", vm.affinity))
    table.add("VM_metrics", view.find("VM_metrics", vm.metrics))
    table.add("VM_guest_metrics", view.find("VM_guest_metrics", vm.guest_metrics))
    if choice.power_state and vm.power_state == "Suspended":
        _add_disk(view, table, view.find("VDI", vm.suspend_VDI), disks)
    for cls, name in _HARDWARE.items():
        if cls.lower() in choice.excluded_devices or cls not in model.classes:
            continue
        for ref in getattr(vm, name):
            _add_device(view, table, cls, view.row(cls, ref), disks)
    if choice.snapshots:
        for ref in vm.snapshots:
            _add_vm(view, model, table, view.row("VM", ref), choice, disks)


def _add_device(view: View, table: _Table, cls: str, device: Row, disks: list[Ref]) -> None:
    table.add(cls, device)
    match cls:
        case "VIF":
            table.add("network", view.find("network", device.network))
        case "VBD":
            vdi = view.find("VDI", device.VDI)
            _add_disk(view, table, vdi, disks if device.type != "CD" else None)
        case "VGPU":
            table.add("GPU_group", view.find("GPU_group", device.GPU_group))
            table.add("VGPU_type", view.find("VGPU_type", device.type))


def _add_disk(view: View, table: _Table, vdi: Row | None, disks: list[Ref] | None) -> None:
    if vdi is None or not table.add("VDI", vdi):
        return
    sr = view.find("SR", vdi.SR)
    table.add("SR", sr)
    if disks is not None and sr is not None and sr.content_type != "iso":
        disks.append(Ref(vdi.ref))


def _record(
    model: Model, cls: str, row: Row, ids: Mapping[str, str], choice: ExportChoice
) -> dict[str, Value]:
    record: dict[str, Value] = {}
    for item in model.classes[cls].wire_fields:
        value = getattr(row, item.name)
        if value is not None:
            record[item.name] = written(item.type, value, ids)
    record.update(_altered(cls, choice))
    return record


def _altered(cls: str, choice: ExportChoice) -> dict[str, Value]:
    """Give the fields that say less in an export than in the database."""
    fields: dict[str, Value] = {}
    if cls in ("VM", "VDI", "VBD", "VIF", "SR", "network"):
        fields.update(allowed_operations=[], current_operations={})
    if cls == "VM" and not choice.power_state:
        fields.update(power_state="Halted", suspend_VDI=NULL_REF)
    if cls in ("VBD", "VIF") and not choice.power_state:
        fields["currently_attached"] = False
    return fields


def written(kind: Type, value: Any, ids: Mapping[str, str]) -> Value:
    """Give a data value as it stands in an export."""
    match kind:
        case RefOf():
            return ids.get(value, NULL_REF)
        case SetOf(RefOf()):
            return [ids[ref] for ref in value if ref in ids]
        case SetOf(element):
            return [written(element, item, ids) for item in value]
        case MapOf(_, element):
            return {str(key): written(element, item, ids) for key, item in value.items()}
        case OptionOf(element):
            return written(element, value, ids)
        case DateTime():
            return Date(datetime.fromtimestamp(value, UTC).strftime("%Y%m%dT%H:%M:%SZ"))
        case _:
            return value  # type: ignore[no-any-return]


def version_of(host: Row) -> Version:
    """Describe the writer of an export: the host it runs on."""
    software = host.software_version
    return Version(
        hostname=host.hostname,
        date=software.get("date", ""),
        product_version=software.get("product_version", ""),
        product_brand=software.get("product_brand", ""),
        build_number=software.get("build_number", ""),
        xapi=api_version(host),
    )


def api_version(host: Row) -> tuple[int, int]:
    """Give the version exports are compared by."""
    major, _, minor = host.software_version.get("xapi", "0.0").partition(".")
    return int(major), int(minor or 0)

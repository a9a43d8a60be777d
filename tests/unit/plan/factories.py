"""Objects for plan tests: rows with the model's defaults and a view over them."""

import itertools
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.profiles import load_model
from xapi_py.datamodel.value_types import RefOf

MODEL = load_model("all")
_ZEROS: dict[str, Any] = {
    "StringType": "", "IntType": 0, "FloatType": 0.0, "BoolType": False, "DateTimeType": 0
}  # fmt: skip


def _default(field: Any) -> Any:
    if isinstance(field.type, RefOf):
        return field.default or NULL_REF
    return field.default


class DictView:
    """A view over plain objects; both ends of relations are kept in step by ``add``."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Ref, Any]] = {}
        self._numbers = itertools.count(1)

    def add(self, cls: str, **values: Any) -> Any:
        number = next(self._numbers)
        uuid = f"00000000-0000-0000-0000-{number:012x}"
        fields = {f.name: _default(f) for f in MODEL.classes[cls].fields.values()}
        fields.update(uuid=uuid, ref=Ref(f"OpaqueRef:{uuid}"))
        row = SimpleNamespace(**fields)
        for name, value in values.items():
            assert name in fields, f"no field {cls}.{name}"
            setattr(row, name, value)
        for field in MODEL.classes[cls].fields.values():
            if field.relation is not None and field.relation.kind == "one-to-many":
                setattr(row, field.name, [])
        self.tables.setdefault(cls, {})[row.ref] = row
        for name, value in values.items():
            relation = MODEL.classes[cls].fields[name].relation if name != "ref" else None
            if relation is not None and isinstance(value, str) and value != NULL_REF:
                getattr(self.row(relation.other_cls, value), relation.other_field).append(row.ref)
        return row

    def row(self, cls: str, ref: str) -> Any:
        try:
            return self.tables[cls][Ref(ref)]
        except KeyError:
            raise err.HANDLE_INVALID(cls, ref) from None

    def find(self, cls: str, ref: str) -> Any | None:
        return self.tables.get(cls, {}).get(Ref(ref))

    def by_uuid(self, cls: str, uuid: str) -> Ref:
        return next(r.ref for r in self.rows(cls) if r.uuid == uuid)

    def by_name_label(self, cls: str, label: str) -> tuple[Ref, ...]:
        return tuple(r.ref for r in self.rows(cls) if r.name_label == label)

    def refs(self, cls: str) -> Sequence[Ref]:
        return list(self.tables.get(cls, {}))

    def rows(self, cls: str) -> Sequence[Any]:
        return list(self.tables.get(cls, {}).values())

    def count(self, cls: str) -> int:
        return len(self.tables.get(cls, {}))

    def __iter__(self) -> Iterator[Any]:
        return (row for table in self.tables.values() for row in table.values())


def make_vm(view: DictView, **values: Any) -> Any:
    """Add a halted HVM guest of 512 MiB with 2 vCPUs."""
    size = 512 << 20
    base: dict[str, Any] = {
        "name_label": "vm", "power_state": "Halted", "domid": -1, "HVM_boot_policy": "BIOS order",
        "domain_type": "hvm", "VCPUs_max": 2, "VCPUs_at_startup": 1, "HVM_shadow_multiplier": 1.0,
        "memory_static_min": 128 << 20, "memory_dynamic_min": size, "memory_dynamic_max": size,
        "memory_static_max": size, "is_a_template": False, "actions_after_crash": "restart",
    }  # fmt: skip
    return view.add("VM", **{**base, **values})


def make_host(view: DictView, *, memory_total: int = 8 << 30, live: bool = True, **kw: Any) -> Any:
    """Add an enabled, live host with 8 GiB and 4 CPUs."""
    metrics = view.add("host_metrics", memory_total=memory_total, live=live)
    base: dict[str, Any] = {
        "name_label": "host", "enabled": True, "metrics": metrics.ref,
        "capabilities": ("xen-3.0-x86_64", "hvm-3.0-x86_64"),
        "virtual_hardware_platform_versions": (0, 1, 2), "chipset_info": {"iommu": "true"},
        "cpu_info": {"cpu_count": "4", "vendor": "GenuineIntel"},
        "software_version": {"platform_version": "2.2.0"},
    }  # fmt: skip
    return view.add("host", **{**base, **kw})

"""The built-in templates, ready to be made into VM records."""

import dataclasses
from functools import cache
from typing import Any
from xml.sax.saxutils import quoteattr

from xapi_py.base.names import NULL_REF
from xapi_py.datamodel._generated.template_table import TEMPLATES_NEWEST, TEMPLATES_V7_1

_LIMITS = {"memory-static-max": "max", "vcpus-max": "max", "vcpus-min": "min"}
_COUNTS = ("number-of-vbds", "number-of-vifs")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TemplateSpec:
    """One built-in template.

    ``fields`` are the values of its VM record except for uuid and mac_seed;
    sizes are bytes.  ``recommendations`` and ``disks_xml`` stand in the
    fields too.  ``disks_xml`` is empty for a template without disks.
    """

    uuid: str
    reference_label: str
    name_label: str
    fields: dict[str, Any]
    recommendations: str
    disks_xml: str

    def vm_values(self, mac_seed: str) -> dict[str, Any]:
        """Give the field values of a new VM row, with its own uuid.

        ``mac_seed`` is a fresh random uuid for each installation.
        """
        other_config = {**self.fields["other_config"], "mac_seed": mac_seed}
        return {**self.fields, "uuid": self.uuid, "other_config": other_config}


def recommendations_xml(restrictions: dict[str, str | int]) -> str:
    """Build ``VM.recommendations`` from restriction names and values."""
    parts = []
    for name, value in restrictions.items():
        kind = "property" if name in _COUNTS else "field"
        bound = "max" if name in _COUNTS else _LIMITS.get(name, "value")
        parts.append(f"<restriction {kind}={quoteattr(name)} {bound}={quoteattr(str(value))}/>")
    return f"<restrictions>{''.join(parts)}</restrictions>"


def disks_xml(disks: tuple[tuple[int, bool], ...]) -> str:
    """Build ``other_config:disks`` from (size in bytes, bootable) in order.

    No XML declaration stands before it: XenCenter cannot read one there.
    """
    parts = [
        f'<disk device="{i}" size="{size}" sr="" bootable="{str(bootable).lower()}" type="system"/>'
        for i, (size, bootable) in enumerate(disks)
    ]
    return f"<provision>{''.join(parts)}</provision>"


def _spec(row: dict[str, Any], *, newest: bool) -> TemplateSpec:
    recommendations = recommendations_xml(row["restrictions"])
    disks = disks_xml(row["disks"]) if row["disks"] else ""
    other_config = dict(row["other_config"])
    if disks:
        other_config["disks"] = disks
    if not newest:
        other_config["default_template"] = "true"
    vcpus = row.get("vcpus", 1)
    hvm = bool(row["HVM_boot_policy"])
    fields: dict[str, Any] = {
        "name_label": row["name_label"],
        "name_description": "",
        "reference_label": row["reference_label"],
        "is_a_template": True,
        "power_state": "Halted",
        "user_version": 1,
        "affinity": NULL_REF,
        "memory_static_min": row["memory_static_min"],
        "memory_static_max": row["memory"],
        "memory_dynamic_min": row["memory"],
        "memory_dynamic_max": row["memory"],
        "VCPUs_params": {},
        "VCPUs_max": vcpus,
        "VCPUs_at_startup": vcpus,
        "actions_after_shutdown": "destroy",
        "actions_after_reboot": "restart",
        "actions_after_crash": "restart",
        "PV_bootloader": row.get("PV_bootloader", ""),
        "PV_kernel": "",
        "PV_ramdisk": "",
        "PV_args": row.get("PV_args", ""),
        "PV_bootloader_args": "",
        "PV_legacy_args": "",
        "HVM_boot_policy": row["HVM_boot_policy"],
        "HVM_boot_params": row.get("HVM_boot_params", {}),
        "HVM_shadow_multiplier": row.get("HVM_shadow_multiplier", 1.0),
        "PCI_bus": "",
        "platform": row["platform"],
        "recommendations": recommendations,
        "other_config": other_config,
        "generation_id": row.get("generation_id", ""),
        "hardware_platform_version": 0,
        "has_vendor_device": False,
    }
    if newest:
        fields["is_default_template"] = True
        fields["domain_type"] = row.get("domain_type", "hvm" if hvm else "pv")
    return TemplateSpec(
        row["uuid"], row["reference_label"], row["name_label"], fields, recommendations, disks
    )


@cache
def builtin(profile: str) -> tuple[TemplateSpec, ...]:
    """Give the built-in templates of "7.1" or "newest", by name."""
    newest = profile != "7.1"
    rows = TEMPLATES_NEWEST if newest else TEMPLATES_V7_1
    return tuple(_spec(row, newest=newest) for row in rows)

"""Values of the API as xe prints them.  Source: facts/cli_records.yaml, formats."""

from collections.abc import Iterable
from typing import Any

from xapi_py.base.errors import ApiError
from xapi_py.cli.context import Context
from xapi_py.datamodel.model import (
    Bool,
    DateTime,
    EnumOf,
    Float,
    MapOf,
    OptionOf,
    RefOf,
    SetOf,
    Type,
)
from xapi_py.wire.scalars import format_date

ENUM_TEXTS: dict[str, dict[str, str]] = {
    "allocation_algorithm": {"depth_first": "depth-first", "breadth_first": "breadth-first"},
    "bond_mode": {"balanceslb": "balance-slb", "activebackup": "active-backup"},
    "console_protocol": {"vt100": "VT100", "rfb": "RFB", "rdp": "RDP"},
    "domain_type": {"pv_in_pvh": "pv-in-pvh"},
    "host_allowed_operations": {
        "vm_start": "VM.start",
        "vm_resume": "VM.resume",
        "vm_migrate": "VM.migrate",
    },
    "on_crash_behaviour": {
        "destroy": "Destroy",
        "coredump_and_destroy": "Core dump and destroy",
        "restart": "Restart",
        "coredump_and_restart": "Core dump and restart",
        "preserve": "Preserve",
        "rename_restart": "Rename restart",
    },
    "on_normal_exit": {"destroy": "Destroy", "restart": "Restart"},
    "on_softreboot_behavior": {
        "destroy": "Destroy",
        "restart": "Restart",
        "preserve": "Preserve",
        "soft_reboot": "Soft reboot",
    },
    "placement_policy": {"anti_affinity": "anti-affinity"},
    "pvs_proxy_status": {
        "incompatible_write_cache_mode": "incompatible-write-cache-mode",
        "incompatible_protocol_version": "incompatible-protocol-version",
    },
    "task_allowed_operations": {"cancel": "Cancel", "destroy": "Destroy"},
    "tristate_type": {"yes": "true", "no": "false"},
    "vdi_type": {
        "system": "System",
        "user": "User",
        "ephemeral": "Ephemeral",
        "suspend": "Suspend",
        "crashdump": "Crashdump",
        "ha_statefile": "HA statefile",
        "metadata": "Metadata",
        "redo_log": "Redo log",
        "pvs_cache": "PVS cache",
        "cbt_metadata": "CBT metadata",
    },
    "vm_operations": {
        "assert_operation_valid": "assertoperationvalid",
        "data_source_op": "data_sources_op",
    },
}
"""Wire values that print as something else; storage operations follow a rule."""

_DOTTED = ("vdi_", "pbd_")


def enum_text(name: str, value: str) -> str:
    """Give what an enum's wire value prints as."""
    if name == "storage_operations" and value.startswith(_DOTTED):
        return f"{value[:3].upper()}.{value[4:]}"
    return ENUM_TEXTS.get(name, {}).get(value, value)


def enum_value(name: str, values: Iterable[str], text: str) -> str | None:
    """Find the wire value a user means, whatever its letter case and dashes."""
    wanted = _folded(text)
    for value in values:
        if wanted in (_folded(value), _folded(enum_text(name, value))):
            return value
    return None


def _folded(text: str) -> str:
    return text.lower().replace("-", "").replace("_", "").replace(" ", "").replace(".", "")


def value_text(context: Context, value: Any, kind: Type, separator: str = "; ") -> str:
    """Give a value of a type as text; references print as uuids."""
    match kind:
        case Bool():
            return "true" if value else "false"
        case Float():
            return f"{value:.3f}"
        case DateTime():
            return format_date(value)
        case EnumOf(name):
            return enum_text(name, value)
        case RefOf(cls):
            return context.uuid(cls, value)
        case SetOf(element):
            return separator.join(value_text(context, v, element) for v in value)
        case MapOf():
            pairs = members_text(context, value, kind)
            return separator.join(f"{key}: {text}" for key, text in pairs.items())
        case OptionOf(element):
            return "" if value is None else value_text(context, value, element)
        case _:
            return "" if value is None else str(value)


def members_text(context: Context, value: Any, kind: MapOf) -> dict[str, str]:
    """Give a map with keys and values as text."""
    return {
        value_text(context, k, kind.key): value_text(context, v, kind.value)
        for k, v in value.items()
    }


def error_text(error: ApiError) -> str:
    """Give an API error on one line: its code and parameters."""
    return f"{error.code}: [ {'; '.join(error.params)} ]"

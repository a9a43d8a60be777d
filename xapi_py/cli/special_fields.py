"""Fields whose text is made of several API fields or calls."""

from collections.abc import Awaitable, Callable
from typing import Any

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF
from xapi_py.cli.context import NOT_IN_DATABASE, Context
from xapi_py.cli.rendering import value_text
from xapi_py.datamodel.model import Type

Special = Callable[[Context, Any], "str | Awaitable[str]"]


def _host_patches(context: Context, row: Any) -> str:
    records = [context.record("host_patch", ref) for ref in row.patches]
    return ", ".join(context.uuid("pool_patch", r.pool_patch) for r in records)


def _patch_hosts(context: Context, row: Any) -> str:
    records = [context.record("host_patch", ref) for ref in row.host_patches]
    return ", ".join(context.uuid("host", r.host) for r in records)


async def _number(context: Context, method: str, ref: str, source: str) -> float:
    value: float = await context.api.call(method, ref, source)
    return value


def _rate(cls: str, owner: str, prefix: str, suffix: str) -> Special:
    """Make the reader of a transfer rate in KiB/s; 0 when nobody measures it."""

    async def read(context: Context, row: Any) -> str:
        source = f"{prefix}_{row.device}_{suffix}"
        try:
            value = await _number(context, f"{cls}.query_data_source", getattr(row, owner), source)
        except ApiError:
            value = 0.0
        return f"{value / 1024:.3f}"

    return read


async def _cpu_utilisation(context: Context, row: Any) -> str:
    try:
        value = await _number(context, "host.query_data_source", row.host, f"cpu{row.number}")
    except ApiError:
        value = 0.0
    return f"{value:.3f}"


async def _memory_target(context: Context, row: Any) -> str:
    try:
        return str(int(await _number(context, "VM.query_data_source", row.ref, "memory_target")))
    except ApiError as error:
        return "0" if error.code == "VM_BAD_POWER_STATE" else "<unknown>"


async def _vcpus_utilisation(context: Context, row: Any) -> str:
    try:
        count = context.record("VM_metrics", row.metrics).VCPUs_number
        values = [
            await _number(context, "VM.query_data_source", row.ref, f"cpu{n}") for n in range(count)
        ]
    except ApiError:
        return ""
    return "; ".join(f"{n}: {value:.3f}" for n, value in enumerate(values))


def _variants(context: Context, row: Any) -> list[Any]:
    return [context.record("Driver_variant", ref) for ref in row.variants]


def _variant_name(field: str) -> Special:
    def read(context: Context, row: Any) -> str:
        ref = getattr(row, field)
        return "" if ref == NULL_REF else str(context.record("Driver_variant", ref).name)

    return read


def _variant_texts(text: Callable[[Any], str]) -> Special:
    return lambda context, row: "; ".join(text(v) for v in _variants(context, row))


def _is_chosen(field: str) -> Special:
    def read(context: Context, row: Any) -> str:
        driver = context.record("Host_driver", row.driver)
        return "true" if getattr(driver, field) == row.ref else "false"

    return read


def _duplex(context: Context, row: Any) -> str:
    if row.metrics == NULL_REF:
        return NOT_IN_DATABASE
    metrics = context.record("PIF_metrics", row.metrics)
    if not metrics.carrier:
        return "unknown"
    return "full" if metrics.duplex else "half"


def _vdi_name(context: Context, row: Any) -> str:
    return "<EMPTY>" if row.empty else context.name("VDI", row.VDI)


async def _attachable(context: Context, row: Any) -> str:
    try:
        await context.api.call("VBD.assert_attachable", row.ref)
    except ApiError as error:
        return f"false (error: {error.code})"
    return "true"


def _max_resolution(context: Context, row: Any) -> str:
    return f"{row.max_resolution_x}x{row.max_resolution_y}"


def _sr_host(context: Context, row: Any) -> str:
    if len(row.PBDs) == 0:
        return NOT_IN_DATABASE
    if len(row.PBDs) > 1:
        return "<shared>"
    (pbd,) = row.PBDs
    return context.name("host", context.record("PBD", pbd).host)


def _metadata_pool(context: Context, row: Any) -> str:
    return context.uuid("pool", row.metadata_of_pool)


def _on_hosts(field: str) -> Special:
    """Make the reader of a host field that all hosts of a pool should share."""

    def read(context: Context, row: Any) -> str:
        kind: Type = context.model.classes["host"].fields[field].type
        texts = {value_text(context, getattr(h, field), kind) for h in context.records("host")}
        return texts.pop() if len(texts) == 1 else "; ".join(sorted(texts))

    return read


async def _supported_sr_types(context: Context, row: Any) -> str:
    return "; ".join(await context.api.call("SR.get_supported_types"))


SPECIAL_FIELDS: dict[str, Special] = {
    "host_patches": _host_patches,
    "patch_hosts": _patch_hosts,
    "cpu_utilisation": _cpu_utilisation,
    "memory_target": _memory_target,
    "vcpus_utilisation": _vcpus_utilisation,
    "active_variant": _variant_name("active_variant"),
    "selected_variant": _variant_name("selected_variant"),
    "variant_names": _variant_texts(lambda v: f"{v.name} {v.version}".strip()),
    "variant_states": _variant_texts(lambda v: f"{v.name}={v.status}"),
    "variant_uuids": _variant_texts(lambda v: f"{v.name}={v.uuid}"),
    "variants_present": _variant_texts(lambda v: str(v.name) if v.hardware_present else ""),
    "is_active_variant": _is_chosen("active_variant"),
    "is_selected_variant": _is_chosen("selected_variant"),
    "pif_read_rate": _rate("host", "host", "pif", "rx"),
    "pif_write_rate": _rate("host", "host", "pif", "tx"),
    "vbd_read_rate": _rate("VM", "VM", "vbd", "read"),
    "vbd_write_rate": _rate("VM", "VM", "vbd", "write"),
    "vif_read_rate": _rate("VM", "VM", "vif", "rx"),
    "vif_write_rate": _rate("VM", "VM", "vif", "tx"),
    "duplex": _duplex,
    "vdi_name": _vdi_name,
    "attachable": _attachable,
    "max_resolution": _max_resolution,
    "hidden_secret": lambda context, row: "<hidden>",
    "sr_host": _sr_host,
    "metadata_pool": _metadata_pool,
    "hosts_https_only": _on_hosts("https_only"),
    "hosts_ssh_enabled": _on_hosts("ssh_enabled"),
    "hosts_ssh_enabled_timeout": _on_hosts("ssh_enabled_timeout"),
    "hosts_ssh_expiry": _on_hosts("ssh_expiry"),
    "hosts_console_idle_timeout": _on_hosts("console_idle_timeout"),
    "hosts_ssh_auto_mode": _on_hosts("ssh_auto_mode"),
    "supported_sr_types": _supported_sr_types,
}
"""The function for each ``special`` of tables/records.yaml."""

"""diagnostic-*: what the server and single objects are up to."""

from typing import Any

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF
from xapi_py.cli.context import Context
from xapi_py.cli.field_commands import print_rows
from xapi_py.cli.registry import command
from xapi_py.cli.rendering import error_text


async def _show(context: Context, prefix: str, rows: list[Any], fields: str) -> None:
    context.words.pairs.append((f"{prefix}-shown", fields))
    await print_rows(context, context.tables.records[prefix], rows, f"{prefix}-shown")


@command("diagnostic-vm-status")
async def vm_status(context: Context) -> None:
    """Show a VM, its disks, and where it could start."""
    ref = context.by_uuid("VM", context.words.need("uuid"))
    row = context.record("VM", ref)
    shown = "uuid,name-label,power-state,resident-on,possible-hosts,live"
    await _show(context, "vm", [row], shown)
    vbds = [context.record("VBD", vbd) for vbd in row.VBDs]
    await _show(context, "vbd", vbds, "uuid,device,empty,currently-attached,vdi-uuid")
    vdis = [context.record("VDI", v.VDI) for v in vbds if not v.empty and v.VDI != NULL_REF]
    await _show(context, "vdi", vdis, "uuid,name-label,sr-uuid,managed,missing,read-only")
    try:
        await context.api.call("VM.assert_agile", ref)
        context.printer.message("VM is agile.")
    except ApiError as error:
        context.printer.message(f"VM is not agile because: {error_text(error)}")
    table = []
    for host in context.records("host"):
        try:
            await context.api.call("VM.assert_can_boot_here", ref, host.ref)
            answer = "yes"
        except ApiError as error:
            answer = f"no, because {error_text(error)}"
        table.append((host.name_label, answer))
    context.printer.table([table] if table else [])


@command("diagnostic-vdi-status")
async def vdi_status(context: Context) -> None:
    """Show a disk and the drives that use it."""
    row = context.record("VDI", context.by_uuid("VDI", context.words.need("uuid")))
    await _show(context, "vdi", [row], "uuid,name-label,sr-uuid,managed,missing,read-only")
    vbds = [context.record("VBD", ref) for ref in row.VBDs]
    attached = [v for v in vbds if v.currently_attached]
    unattached = [v for v in vbds if not v.currently_attached]
    for title, found in (("Attached VBDs:", attached), ("Unattached VBDs:", unattached)):
        if found:
            context.printer.message(title)
            await _show(context, "vbd", found, "uuid,vm-name-label,vm-uuid,device,bootable")


@command("diagnostic-license-status")
async def licence_status(context: Context) -> None:
    """Show each host's licence beside the pool's restrictions."""
    table = [
        [
            ("Hostname", host.hostname),
            ("UUID", host.uuid),
            ("Edition", host.edition),
            ("Expiry", host.license_params.get("expiry", "")),
        ]
        for host in context.records("host")
    ]
    restrictions = context.pool.restrictions
    free = sorted(k for k, v in restrictions.items() if v == "false")
    held = sorted(k for k, v in restrictions.items() if v == "true")
    table.append([("Pool", context.pool.uuid), ("Free", " ".join(free)), ("Held", " ".join(held))])
    context.printer.table(table)


@command("diagnostic-timing-stats")
async def timing(context: Context) -> None:
    """Show how long operations take on each host."""
    more = [context.words.flag("counts")] if context.model.profile != "7.1" else []
    for host in context.records("host"):
        found = await context.api.call("host.get_diagnostic_timing_stats", host.ref, *more)
        pairs = [("host", host.name_label), *found.items()]
        context.printer.table([pairs])


@command("diagnostic-db-log")
async def database_log(context: Context) -> None:
    """Log database accesses; the log level of the server does this here."""
    context.printer.message("Set the server's log level to DEBUG to see database accesses")

"""What else can be asked of VMs: metrics, plug-ins, files for the guest, consoles."""

from typing import Any

from xapi_py.base.names import NULL_REF
from xapi_py.cli.context import Context
from xapi_py.cli.multiple import for_each
from xapi_py.cli.parsing import parse_value
from xapi_py.cli.problems import CommandFailed, ExitWith
from xapi_py.cli.registry import command
from xapi_py.cli.selecting import select
from xapi_py.cli.transfers import loaded_members
from xapi_py.datamodel.model import Float

SOURCE_FIELDS = (
    "name_label",
    "name_description",
    "enabled",
    "standard",
    "min",
    "max",
    "units",
)


@command("vm-data-source-list", "host-data-source-list", "sr-data-source-list")
async def list_sources(context: Context) -> None:
    """List the metrics of VMs, hosts or SRs."""
    prefix = context.command.name.partition("-")[0]
    cls = {"vm": "VM", "host": "host", "sr": "SR"}[prefix]
    rows = await select(context, prefix, control_domains=True)

    async def one(row: Any) -> None:
        found = await context.api.call(f"{cls}.get_data_sources", row.ref)
        context.printer.table(
            [[(name, _text(source.get(name))) for name in SOURCE_FIELDS] for source in found]
        )

    await for_each(context, rows, one)


def _text(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.3f}"
        case _:
            return str(value)


@command("vm-call-plugin", "vm-call-host-plugin", "host-call-plugin")
async def call_plugin(context: Context) -> None:
    """Run a function of a plug-in and print what it returns."""
    words, name = context.words, context.command.name
    cls, parameter = ("host", "host-uuid") if name == "host-call-plugin" else ("VM", "vm-uuid")
    method = "VM.call_host_plugin" if name == "vm-call-host-plugin" else f"{cls}.call_plugin"
    ref = context.by_uuid(cls, words.need(parameter))
    arguments = await loaded_members(context, "args", ":file")
    result = await context.api.call(method, ref, words.need("plugin"), words.need("fn"), arguments)
    context.printer.listing([result])


@command("vm-is-bios-customized")
async def is_customized(context: Context) -> None:
    """Say whether VMs have BIOS strings, and which kind."""

    async def one(row: Any) -> None:
        if not row.bios_strings:
            text = "The BIOS strings of this VM are not set yet."
        elif row.bios_strings.get("bios-vendor") == "Xen":
            text = "This VM has generic BIOS strings."
        else:
            text = "This VM has BIOS strings of a host."
        context.printer.message(text)

    await for_each(context, await select(context, "vm", templates=True), one)


@command("vm-sysprep")
async def sysprep(context: Context) -> None:
    """Hand an answer file to Windows guests."""
    content = (await context.client.load(context.words.need("filename"))).decode()
    timeout = parse_value(context, "timeout", context.words.get("timeout", "180"), Float())

    async def one(row: Any) -> None:
        await context.api.call("VM.sysprep", row.ref, content, timeout)

    await for_each(context, await select(context, "vm"), one)


@command("console")
async def console(context: Context) -> None:
    """Join the terminal to the text console of a VM."""
    rows = await select(context, "vm", control_domains=True, multiple=False)
    row = rows[0]
    consoles = [context.record("console", ref) for ref in row.consoles if ref != NULL_REF]
    found = [c for c in consoles if c.protocol == "vt100"]
    if not found:
        context.client.say_error("No text console available\n")
        raise ExitWith(1)
    location = found[0].location
    if row.resident_on == context.this_host:
        # a path is on the server the client has reached, whatever its port: the original
        # takes the port of the command line for addresses, too
        location = "/" + location.partition("://")[2].partition("/")[2]
    mark = "&" if "?" in location else "?"
    context.client.say(f"Text console of {row.name_label}; Ctrl-] leaves it.")
    if not await context.client.tunnel(f"{location}{mark}session_id={context.api.session}"):
        raise CommandFailed("The console could not be opened")

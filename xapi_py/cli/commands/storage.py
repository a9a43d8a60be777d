"""SRs and disks."""

from typing import Any

from xapi_py.base.names import NULL_REF, Ref
from xapi_py.cli.context import Context
from xapi_py.cli.parsing import parse_size, parse_value
from xapi_py.cli.plain_commands import constructor_record
from xapi_py.cli.problems import CommandFailed
from xapi_py.cli.registry import command
from xapi_py.cli.transfers import loaded_members
from xapi_py.datamodel.model import EnumOf


def _sr_host(context: Context, shared: bool) -> Ref:
    """Give the host that makes or probes an SR.  Errors: CommandFailed."""
    words = context.words
    if words.get("host-uuid"):
        return context.by_uuid("host", words.get("host-uuid"))
    hosts = context.records("host")
    if shared or len(hosts) == 1:
        return Ref(context.pool.master)
    raise CommandFailed("The pool has several hosts: name one with host-uuid, or use shared=true")


@command("sr-create")
async def create_sr(context: Context) -> None:
    """Make an SR and print its uuid."""
    words = context.words
    shared = words.flag("shared")
    ref = await context.api.call(
        "SR.create",
        _sr_host(context, shared),
        await loaded_members(context, "device-config", "-filename"),
        parse_size("physical-size", words.get("physical-size", "0")),
        words.need("name-label"),
        words.get("name-description"),
        words.need("type"),
        words.get("content-type"),
        shared,
        words.members("sm-config"),
    )
    context.printer.listing([context.uuid("SR", ref)])


async def _probe(context: Context, method: str) -> Any:
    words = context.words
    return await context.api.call(
        method,
        _sr_host(context, True),
        await loaded_members(context, "device-config", "-filename"),
        words.need("type"),
        words.members("sm-config"),
    )


@command("sr-probe")
async def probe(context: Context) -> None:
    """Print a storage driver's findings."""
    context.printer.listing([str(await _probe(context, "SR.probe"))])


@command("sr-probe-ext")
async def probe_ext(context: Context) -> None:
    """Show a storage driver's findings as tables."""
    table = []
    for found in await _probe(context, "SR.probe_ext"):
        record = [(f"configuration:{key}", value) for key, value in found["configuration"].items()]
        record.append(("complete", "true" if found["complete"] else "false"))
        record += [(key, value) for key, value in found.get("extra_info", {}).items()]
        sr = found.get("sr")
        if sr:
            record += [(f"sr:{key}", str(value)) for key, value in sr.items()]
        table.append(record)
    context.printer.table(table)


def _vdi(context: Context) -> Ref:
    return context.by_uuid("VDI", context.words.need("uuid"))


@command("vdi-create")
async def create_vdi(context: Context) -> None:
    """Make a disk and print its uuid."""
    words = context.words
    record = constructor_record(
        context,
        "VDI",
        name_label=words.need("name-label"),
        SR=context.by_uuid("SR", words.need("sr-uuid")),
        virtual_size=parse_size("virtual-size", words.need("virtual-size")),
        type=parse_value(context, "type", words.get("type", "user"), EnumOf("vdi_type")),
        sharable=words.flag("sharable"),
        sm_config=words.members("sm-config"),
        tags=tuple(words.members("tags")) or tuple(words.list_of("tags")),
    )
    ref = await context.api.call("VDI.create", record)
    context.printer.listing([context.uuid("VDI", ref)])


@command("vdi-introduce")
async def introduce_vdi(context: Context) -> None:
    """Make the record of a disk that exists, and print its uuid."""
    words = context.words
    ref = await context.api.call(
        "VDI.introduce",
        words.need("uuid"),
        words.get("name-label"),
        words.get("name-description"),
        context.by_uuid("SR", words.need("sr-uuid")),
        parse_value(context, "type", words.need("type"), EnumOf("vdi_type")),
        words.flag("sharable"),
        words.flag("read-only"),
        words.members("other-config"),
        words.need("location"),
        words.members("xenstore-data"),
        words.members("sm-config"),
        words.flag("managed", True),
        0,
        0,
        NULL_REF,
        False,
        0,
        NULL_REF,
    )
    context.printer.listing([context.uuid("VDI", ref)])


@command("vdi-clone")
async def clone_vdi(context: Context) -> None:
    """Clone a disk and print the uuid of the clone."""
    words = context.words
    ref = await context.api.call("VDI.clone", _vdi(context), words.members("driver-params"))
    for field in ("name-label", "name-description"):
        if words.has(f"new-{field}"):
            method = f"VDI.set_{field.replace('-', '_')}"
            await context.api.call(method, ref, words.get(f"new-{field}"))
    context.printer.listing([context.uuid("VDI", ref)])


@command("vdi-copy")
async def copy_vdi(context: Context) -> None:
    """Copy a disk and print the uuid of the copy."""
    sr, into = context.optional("SR", "sr-uuid"), context.optional("VDI", "into-vdi-uuid")
    if sr == NULL_REF and into == NULL_REF:
        raise CommandFailed("Give the SR to copy to (sr-uuid) or the disk to fill (into-vdi-uuid)")
    if sr != NULL_REF and into != NULL_REF:
        raise CommandFailed("Give one of sr-uuid and into-vdi-uuid, not both")
    base = context.optional("VDI", "base-vdi-uuid")
    ref = await context.api.call("VDI.copy", _vdi(context), sr, base, into)
    context.printer.listing([context.uuid("VDI", ref)])


@command("vdi-pool-migrate")
async def migrate_vdi(context: Context) -> None:
    """Move a disk in use to another SR and print its uuid there."""
    words = context.words
    sr = context.by_uuid("SR", words.need("sr-uuid"))
    options = {}
    if words.has("dest-img-format"):
        options["dest_img_format"] = words.get("dest-img-format")
    ref = await context.api.call("VDI.pool_migrate", _vdi(context), sr, options)
    context.printer.listing([context.uuid("VDI", ref)])


@command("vdi-resize")
async def resize_vdi(context: Context) -> None:
    """Change the size of a disk."""
    size = parse_size("disk-size", context.words.need("disk-size"))
    method = "VDI.resize_online" if context.words.flag("online") else "VDI.resize"
    await context.api.call(method, _vdi(context), size)


@command("vdi-unlock")
async def unlock_vdi(context: Context) -> None:
    """Break the lock of a disk."""
    if not context.words.flag("force"):
        raise CommandFailed("Breaking a lock that is in use loses data: use --force if it is not")
    await context.api.call("VDI.force_unlock", _vdi(context))

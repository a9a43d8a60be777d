"""Saving VMs, templates and snapshots to files, and making VMs from files."""

import re
from typing import Any

from xapi_py.base.names import Ref
from xapi_py.cli.commands.vm_devices import default_sr
from xapi_py.cli.context import Context
from xapi_py.cli.multiple import for_each
from xapi_py.cli.problems import CommandFailed, MissingParameter
from xapi_py.cli.registry import command
from xapi_py.cli.selecting import select
from xapi_py.cli.transfers import download, upload

_REFERENCE = re.compile(r"OpaqueRef:[0-9A-Za-z-]+")


def _compression(context: Context) -> str:
    text = context.words.get("compress", "false").lower()
    if text in ("gzip", "zstd") and context.model.profile != "7.1":
        return text
    on = context.words.flag("compress")
    if context.model.profile == "7.1":
        return "true" if on else "false"
    return "gzip" if on else "false"


async def _export(context: Context, row: Any, filename: str) -> None:
    words = context.words
    metadata = words.flag("metadata")
    query = {
        "ref": row.ref,
        "use_compression": _compression(context),
        "preserve_power_state": _bool(words.flag("preserve-power-state")),
        "export_snapshots": _bool(
            words.flag("include-snapshots", metadata and context.model.profile == "7.1")
        ),
    }
    if words.has("excluded-device-types"):
        query["excluded_device_types"] = words.get("excluded-device-types")
    path = "/export_metadata" if metadata else "/export"
    await download(context, "Export", filename, path, query)


def _bool(value: bool) -> str:
    return "true" if value else "false"


@command("vm-export")
async def export_vms(context: Context) -> None:
    """Save VMs; the files of further ones get a number."""
    rows = await select(context, "vm")
    filename = context.words.need("filename")
    names = {
        row.ref: f"{filename}{number}" if number > 1 and filename else filename
        for number, row in enumerate(rows, 1)
    }

    async def one(row: Any) -> None:
        await _export(context, row, names[row.ref])

    await for_each(context, rows, one)


@command("template-export", "snapshot-export-to-template")
async def export_one(context: Context) -> None:
    """Save a template or a snapshot."""
    kind = "template" if context.command.name == "template-export" else "snapshot"
    row = context.record("VM", context.by_uuid("VM", context.words.need(f"{kind}-uuid")))
    if not (row.is_a_template if kind == "template" else row.is_a_snapshot):
        raise CommandFailed(f"{row.uuid} is not a {kind}")
    await _export(context, row, context.words.need("filename"))


@command("vm-import")
async def import_vms(context: Context) -> None:
    """Make VMs from a file, an address or another hypervisor."""
    words = context.words
    sr = default_sr(context)
    if words.has("type"):
        config = words.members("remote-config")
        user, password = words.get("host-username"), words.get("host-password")
        await context.api.call("VM.import_convert", words.get("type"), user, password, sr, config)
        return
    if words.has("url"):
        refs = await context.api.call(
            "VM.import", words.get("url"), sr, words.flag("preserve"), words.flag("force")
        )
    else:
        if not words.has("filename"):
            raise MissingParameter("filename")
        refs = await _upload(context, sr)
    context.printer.listing([",".join(context.uuid("VM", ref) for ref in refs)])


async def _upload(context: Context, sr: Ref) -> list[str]:
    words = context.words
    metadata = words.flag("metadata")
    query = {
        "restore": _bool(words.flag("preserve")),
        "force": _bool(words.flag("force")),
        "dry_run": _bool(words.flag("dry-run")),
        "sr_id": sr,
    }
    query |= {f"vdi:{old}": new for old, new in words.members("vdi").items()}
    path = "/import_metadata" if metadata else "/import"
    result = await upload(context, "VM import", words.get("filename"), path, query)
    return _REFERENCE.findall(result)


@command("vdi-export")
async def export_vdi(context: Context) -> None:
    """Save a disk."""
    words = context.words
    query: dict[str, str] = {"vdi": context.by_uuid("VDI", words.need("uuid"))}
    query |= {key: words.get(key) for key in ("format", "base") if words.has(key)}
    await download(context, "Export", words.need("filename"), "/export_raw_vdi", query)


@command("vdi-import")
async def import_vdi(context: Context) -> None:
    """Fill a disk from a file."""
    words = context.words
    query: dict[str, str] = {"vdi": context.by_uuid("VDI", words.need("uuid"))}
    if words.has("format"):
        query["format"] = words.get("format")
    await upload(context, "VDI import", words.need("filename"), "/import_raw_vdi", query)


@command("audit-log-get")
async def audit_log(context: Context) -> None:
    """Save the audit log."""
    since = {"since": context.words.get("since")} if context.words.has("since") else {}
    await download(context, "Audit log get", context.words.need("filename"), "/audit_log", since)


@command("blob-get")
async def get_blob(context: Context) -> None:
    """Save a binary object."""
    ref = context.by_uuid("blob", context.words.need("uuid"))
    await download(context, "Blob get", context.words.need("filename"), "/blob", {"ref": ref})


@command("blob-put")
async def put_blob(context: Context) -> None:
    """Fill a binary object."""
    ref = context.by_uuid("blob", context.words.need("uuid"))
    await upload(context, "Blob put", context.words.need("filename"), "/blob", {"ref": ref})


@command("blob-create")
async def create_blob(context: Context) -> None:
    """Make a binary object of one VM, host, SR, network or pool."""
    words = context.words
    kinds = {"vm": "VM", "host": "host", "sr": "SR", "network": "network", "pool": "pool"}
    given = [(cls, f"{key}-uuid") for key, cls in kinds.items() if words.has(f"{key}-uuid")]
    if len(given) != 1:
        raise CommandFailed("Need one of: vm-uuid, host-uuid, network-uuid, sr-uuid or pool-uuid")
    cls, name = given[0]
    owner = context.by_uuid(cls, words.get(name))
    mime = words.get("mime-type", "application/octet-stream")
    ref = await context.api.call(
        f"{cls}.create_new_blob", owner, words.need("name"), mime, words.flag("public")
    )
    context.printer.listing([context.uuid("blob", ref)])

"""Snapshots, clones, copies and installation of VMs."""

import xml.etree.ElementTree as ElementTree
from typing import Any

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.cli.commands.vm_lifecycle import require_force
from xapi_py.cli.context import Context
from xapi_py.cli.multiple import for_each
from xapi_py.cli.plain_commands import constructor_record
from xapi_py.cli.problems import CommandFailed, MissingParameter
from xapi_py.cli.registry import command
from xapi_py.cli.selecting import select
from xapi_py.cli.suggestions import begin_alike, did_you_mean


async def _make(context: Context, row: Any, method: str, *arguments: object) -> None:
    """Call something that makes a VM of one; prints the uuid of the new one."""
    words = context.words
    ref = await context.api.call(method, row.ref, words.need("new-name-label"), *arguments)
    if words.has("new-name-description"):
        await context.api.call("VM.set_name_description", ref, words.get("new-name-description"))
    context.printer.listing([context.uuid("VM", ref)])


@command("vm-snapshot", "vm-snapshot-with-quiesce", "vm-checkpoint", "vm-clone", "vm-copy")
async def make_from_vm(context: Context) -> None:
    """Make a snapshot, clone or copy of each selected VM."""
    what = context.command.name.removeprefix("vm-").replace("-", "_")
    copies = what in ("clone", "copy")
    arguments: list[object] = []
    if what == "copy":
        arguments = [context.optional("SR", "sr-uuid")]
    if what == "snapshot" and context.words.has("ignore-vdi-uuids"):
        uuids = context.words.list_of("ignore-vdi-uuids")
        arguments = [tuple(context.by_uuid("VDI", uuid) for uuid in uuids)]

    async def one(row: Any) -> None:
        await _make(context, row, f"VM.{what}", *arguments)

    await for_each(context, await select(context, "vm", templates=copies), one)


def _snapshot(context: Context) -> Any:
    """Give the snapshot a command is about.  Errors: CommandFailed, MissingParameter."""
    words = context.words
    uuid = words.get("snapshot-uuid") or words.get("uuid")
    if not uuid:
        raise MissingParameter("snapshot-uuid")
    row = context.record("VM", context.by_uuid("VM", uuid))
    if not row.is_a_snapshot:
        raise CommandFailed(f"{uuid} is not a snapshot")
    return row


@command("snapshot-clone", "snapshot-copy")
async def make_from_snapshot(context: Context) -> None:
    """Make a template from a snapshot."""
    what = context.command.name.removeprefix("snapshot-")
    arguments = [context.optional("SR", "sr-uuid")] if what == "copy" else []
    await _make(context, _snapshot(context), f"VM.{what}", *arguments)


@command("snapshot-revert")
async def revert(context: Context) -> None:
    """Bring a VM back to a snapshot."""
    await context.api.call("VM.revert", _snapshot(context).ref)


@command("snapshot-reset-powerstate")
async def reset_snapshot(context: Context) -> None:
    """Mark a suspended snapshot as halted."""
    require_force(context)
    await context.api.call("VM.power_state_reset", _snapshot(context).ref)


@command("snapshot-destroy")
async def destroy_snapshot(context: Context) -> None:
    """Remove a snapshot; its disks stay."""
    row = _snapshot(context)
    if row.power_state != "Halted":
        await context.api.call("VM.hard_shutdown", row.ref)
    await context.api.call("VM.destroy", row.ref)


@command("vm-create")
async def create(context: Context) -> None:
    """Make a VM record with default settings."""
    record = constructor_record(
        context,
        "VM",
        name_label=context.words.need("name-label"),
        name_description=context.words.get("name-description"),
        memory_static_max=256 << 20,
        memory_static_min=128 << 20,
        memory_dynamic_max=256 << 20,
        memory_dynamic_min=256 << 20,
        VCPUs_max=1,
        VCPUs_at_startup=1,
        HVM_boot_policy="BIOS order",
        actions_after_shutdown="destroy",
        actions_after_reboot="restart",
        actions_after_crash="restart",
    )
    ref = await context.api.call("VM.create", record)
    context.printer.listing([context.uuid("VM", ref)])


@command("vm-destroy")
async def destroy(context: Context) -> None:
    """Remove a VM; its disks stay."""
    ref = context.by_uuid("VM", context.words.need("uuid"))
    if context.record("VM", ref).is_control_domain:
        raise ApiError("OPERATION_NOT_ALLOWED", "You cannot destroy a control domain via the CLI")
    await context.api.call("VM.destroy", ref)


def _template(context: Context) -> Any:
    words = context.words
    names = ("template-uuid", "template", "template-name", "template-name-label")
    name = next((n for n in names if words.get(n)), "")
    if not name:
        raise MissingParameter("template")
    wanted = words.get(name)
    templates = [r for r in context.records("VM") if r.is_a_template and not r.is_a_snapshot]
    found = [r for r in templates if r.uuid == wanted]
    if not found and name != "template-uuid":
        found = [r for r in templates if r.name_label == wanted]
    if not found:
        known = [r.name_label for r in templates]
        hint = did_you_mean(wanted, known) or begin_alike(wanted, known)
        raise CommandFailed(f"No templates matched{hint}")
    if len(found) > 1:
        raise CommandFailed("More than one matching template found")
    return found[0]


def _install_sr(context: Context) -> Ref:
    words = context.words
    if words.get("sr-uuid"):
        return context.by_uuid("SR", words.get("sr-uuid"))
    if not words.get("sr-name-label"):
        return NULL_REF
    found = context.api.read("SR.get_by_name_label", words.get("sr-name-label"))
    if not found:
        raise CommandFailed("No SR with that name-label found")
    if len(found) > 1:
        raise CommandFailed("More than one SR with that name-label found")
    return Ref(found[0])


@command("vm-install")
async def install(context: Context) -> None:
    """Make a VM from a template: its record, its disks, its first settings."""
    template, sr, words = _template(context), _install_sr(context), context.words
    call, name = context.api.call, words.need("new-name-label")
    has_disks = any(context.record("VBD", vbd).type == "Disk" for vbd in template.VBDs)
    if sr != NULL_REF and has_disks:
        ref = Ref(await call("VM.copy", template.ref, name, sr))
    else:
        ref = Ref(await call("VM.clone", template.ref, name))
    try:
        await call("VM.set_name_description", ref, "Installed via xe CLI")
        if words.get("copy-bios-strings-from"):
            host = context.by_uuid("host", words.get("copy-bios-strings-from"))
            await call("VM.copy_bios_strings", ref, host)
        await _place_disks(context, ref, sr)
        await call("VM.provision", ref)
    except (ApiError, CommandFailed):
        await call("VM.destroy", ref)
        raise
    context.printer.listing([context.uuid("VM", ref)])


async def _place_disks(context: Context, ref: Ref, sr: Ref) -> None:
    """Name the SR of each disk the template asks for."""
    text = context.record("VM", ref).other_config.get("disks", "")
    if not text:
        return
    provision = ElementTree.fromstring(text)
    disks = provision.findall("disk")
    if not disks:
        return
    if sr == NULL_REF:
        sr = context.pool.default_SR
    uuid = context.uuid("SR", sr) if sr != NULL_REF else ""
    if uuid.startswith("<"):
        uuid = ""
    for disk in disks:
        if uuid:
            disk.set("sr", uuid)
        elif not disk.get("sr"):
            raise CommandFailed(
                "The pool has no default SR: name one with sr-uuid or sr-name-label"
            )
    changed = ElementTree.tostring(provision, encoding="unicode")
    await context.api.call("VM.remove_from_other_config", ref, "disks")
    await context.api.call("VM.add_to_other_config", ref, "disks", changed)

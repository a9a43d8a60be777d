"""Removing VMs, templates and snapshots together with their disks."""

from typing import Any

from xapi_py.base.names import NULL_REF
from xapi_py.cli.context import Context
from xapi_py.cli.problems import CommandFailed, MissingParameter
from xapi_py.cli.registry import command
from xapi_py.cli.selecting import select
from xapi_py.cli.transfers import confirm


@command("vm-uninstall")
async def uninstall_vm(context: Context) -> None:
    """Remove VMs with their snapshots and disks."""
    rows = await select(context, "vm")
    snapshots = [context.record("VM", s) for row in rows for s in row.snapshots]
    await _uninstall(context, rows, snapshots)


@command("template-uninstall")
async def uninstall_template(context: Context) -> None:
    """Remove a template with its disks."""
    row = context.record("VM", context.by_uuid("VM", context.words.need("template-uuid")))
    if not row.is_a_template:
        raise CommandFailed("This operation can only be performed on a Template")
    await _uninstall(context, [row], [])


@command("snapshot-uninstall")
async def uninstall_snapshot(context: Context) -> None:
    """Remove a snapshot with its disks."""
    uuid = context.words.get("snapshot-uuid") or context.words.get("uuid")
    if not uuid:
        raise MissingParameter("snapshot-uuid")
    row = context.record("VM", context.by_uuid("VM", uuid))
    if not row.is_a_snapshot:
        raise CommandFailed(f"{uuid} is not a snapshot")
    await _uninstall(context, [row], [])


def _disks(context: Context, row: Any) -> list[str]:
    """Give the disks that belong to a VM and to no other."""
    found = []
    for ref in row.VBDs:
        vbd = context.record("VBD", ref)
        if vbd.type != "Disk" or vbd.empty or vbd.VDI == NULL_REF:
            continue
        users = {context.record("VBD", v).VM for v in context.record("VDI", vbd.VDI).VBDs}
        if "owner" in vbd.other_config or users == {row.ref}:
            found.append(vbd.VDI)
    if row.suspend_VDI != NULL_REF:
        found.append(row.suspend_VDI)
    return found


async def _uninstall(context: Context, rows: list[Any], snapshots: list[Any]) -> None:
    vms = [*rows, *snapshots]
    disks = list(dict.fromkeys(disk for row in vms for disk in _disks(context, row)))
    say = context.client.say
    say("The following items are about to be destroyed")
    for row in vms:
        say(f"VM : {row.uuid} ({row.name_label})")
    for disk in disks:
        say(f"VDI: {context.uuid('VDI', disk)} ({context.name('VDI', disk)})")
    if not await confirm(context):
        return
    call = context.api.call
    for row in vms:
        if context.record("VM", row.ref).power_state != "Halted":
            await call("VM.hard_shutdown", row.ref)
        await call("VM.destroy", row.ref)
    left = {vdi.ref for vdi in context.records("VDI")}
    for disk in disks:
        if disk in left:
            await call("VDI.destroy", disk)
    say("All objects destroyed")

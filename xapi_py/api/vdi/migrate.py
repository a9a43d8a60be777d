"""Moving a disk of a VM to another SR."""

from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.registry import HANDLERS, message
from xapi_py.api.storage_calls import storage_operation
from xapi_py.api.vdi.copy import common_host, copy_data, info_of
from xapi_py.api.vdi.destroy import destroy_vdi
from xapi_py.api.vm.domain import home, xenops
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref, new_uuid
from xapi_py.base.undo import Undo
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan import devices
from xapi_py.pool.storage_records import expecting, put_vdi

_KEPT = ("other_config", "tags", "xenstore_data", "allow_caching")


@message("VDI.pool_migrate")
async def pool_migrate(call: Call, vdi: Ref, sr: Ref, options: dict[str, str]) -> Ref:
    """Move a disk to another SR that the same host reaches; gives the new disk.

    A VM that runs is paused while its data is copied.  All block devices of
    the disk then name the new one, and the old one is destroyed.
    Errors: VDI_NEEDS_VM_FOR_MIGRATE when no VM has the disk, VDI_IN_USE when
    several VMs use it, those of the disk's and the SR's operations.
    """
    row, target = call.db.row("VDI", vdi), call.db.row("SR", sr)
    vbds = [call.db.row("VBD", ref) for ref in row.VBDs]
    if not vbds:
        raise err.VDI_NEEDS_VM_FOR_MIGRATE(vdi)
    plugged = [vbd for vbd in vbds if vbd.currently_attached]
    if len(plugged) > 1:
        raise err.VDI_IN_USE(vdi, "pool_migrate")
    host = common_host(call, call.db.row("SR", row.SR), target)
    async with storage_operation(call, ("SR", sr, "vdi_create"), ("VDI", vdi, "mirror")):
        async with Undo() as undo:
            if plugged:
                await _pause(call, undo, plugged[0])
            moved = await _copy(call, undo, host, row, target)
            if plugged:
                await _replug(call, plugged[0], vdi, moved)
                undo.forget()
        _repoint(call, vdi, moved)
        if plugged:
            await _unpause(call, plugged[0])
    await destroy_vdi(call, vdi)
    return moved


async def _pause(call: Call, undo: Undo, vbd: Row) -> None:
    vm = call.db.row("VM", vbd.VM)
    if vm.power_state == "Running":
        await xenops(call, home(vm), "VM.pause", {"id": vm.uuid}, vm=vm.ref)
        undo.push("unpause the VM", lambda: _unpause(call, vbd))


async def _unpause(call: Call, vbd: Row) -> None:
    vm = call.db.row("VM", vbd.VM)
    await xenops(call, home(vm), "VM.unpause", {"id": vm.uuid}, vm=vm.ref)


async def _copy(call: Call, undo: Undo, host: Ref, row: Row, target: Row) -> Ref:
    uuid = new_uuid()
    with expecting(uuid):
        made: Any = await copy_data(call, host, row, target, {"vdi_info": info_of(row, uuid)})
    fresh = {name: getattr(row, name) for name in _KEPT}
    with call.db.transaction() as tx:
        moved = put_vdi(call.db, tx, target, made, fresh)
    undo.push("destroy the copy", lambda: destroy_vdi(call, moved))
    return moved


async def _replug(call: Call, vbd: Row, old: Ref, new: Ref) -> None:
    """Let the domain's device go and bring it back with the other disk."""
    unplug = HANDLERS["VBD.unplug_force_no_safety_check"].handler
    await unplug(call, vbd.ref)
    _set_disk(call, vbd, new)
    try:
        await _plug(call, vbd)
    except ApiError:
        _set_disk(call, vbd, old)
        await _plug(call, vbd)
        raise


async def _plug(call: Call, vbd: Row) -> None:
    """Plug a device into a domain, which may be paused."""
    vm = call.db.row("VM", vbd.VM)
    record = devices.vbd_record(call.db, vm, vbd)
    params = {"id": vm.uuid, "device": record["device"], "vbd": record}
    await xenops(call, home(vm), "VBD.plug", params, vm=vm.ref, device=vbd.ref)


def _set_disk(call: Call, vbd: Row, vdi: Ref) -> None:
    with call.db.transaction() as tx:
        tx.set("VBD", vbd.ref, "VDI", vdi)


def _repoint(call: Call, old: Ref, new: Ref) -> None:
    """Make everything that names the old disk name the new one."""
    row = call.db.row("VDI", old)
    with call.db.transaction() as tx:
        for ref in tuple(row.VBDs):
            tx.set("VBD", ref, "VDI", new)
        for ref in tuple(row.snapshots):
            tx.set("VDI", ref, "snapshot_of", new)

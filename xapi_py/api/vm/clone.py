"""VM.clone, by the storage's fast copies where it has them, and VM.copy, in full."""

from xapi_py.api.call import Call
from xapi_py.api.operations import operation
from xapi_py.api.registry import message
from xapi_py.api.vm import copying, disks
from xapi_py.api.vm.domain import alert
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.undo import Undo
from xapi_py.db.row import Row
from xapi_py.plan import events_text, snapshot

NO_CLONE = frozenset({"SR_OPERATION_NOT_SUPPORTED", "NOT_IMPLEMENTED"})


@message("VM.clone")
async def clone(call: Call, vm: Ref, new_name: str) -> Ref:
    """Make a new VM whose disks share blocks with this one's."""
    row = call.db.row("VM", vm)

    async def copy(undo: Undo, vdi: Ref) -> Ref:
        try:
            return await disks.make(call, undo, "VDI.clone", vdi, {})
        except ApiError as problem:
            if problem.code not in NO_CLONE:
                raise
        return await _full_copy(call, undo, vdi, NULL_REF)

    async with operation(call, ("VM", vm, "clone")):
        made = await _duplicate(call, row, "clone", new_name, copy)
    alert(call, "VM_CLONED", row, events_text.cloned(row, call.db.row("VM", made).uuid))
    return made


@message("VM.copy")
async def copy_vm(call: Call, vm: Ref, new_name: str, sr: Ref) -> Ref:
    """Make a new VM with full copies of the disks, on ``sr`` or each on its own SR."""
    row = call.db.row("VM", vm)

    async def copy(undo: Undo, vdi: Ref) -> Ref:
        return await _full_copy(call, undo, vdi, sr)

    async with operation(call, ("VM", vm, "copy")):
        made = await _duplicate(call, row, "copy", new_name, copy)
    alert(call, "VM_CLONED", row, events_text.cloned(row, call.db.row("VM", made).uuid))
    return made


async def _full_copy(call: Call, undo: Undo, vdi: Ref, sr: Ref) -> Ref:
    target = sr if sr not in ("", NULL_REF) else Ref(call.db.row("VDI", vdi).SR)
    return await disks.make(call, undo, "VDI.copy", vdi, target, NULL_REF, NULL_REF)


async def _duplicate(
    call: Call, vm: Row, kind: snapshot.Kind, name: str, copy: copying.CopyDisk
) -> Ref:
    call.allow_cancel()
    async with Undo() as undo:
        made = await copying.copy_disks(call, undo, vm, copy)
        image = NULL_REF
        if vm.power_state == "Suspended":
            image = await copy(undo, Ref(vm.suspend_VDI))
        copies = copying.Copies(made, image)
        fields = snapshot.copy_fields(vm, kind, name, copying.fresh(call))
        if image != NULL_REF:
            fields["power_state"] = "Suspended"
        with call.db.transaction() as tx:
            return copying.create_vm(call, tx, vm, fields, copies, keep_macs=False)

"""Snapshots of disks and of memory, and going back to them.

Source: brief XENOPS 14; facts/traces, group lifecycle.
"""

from xapi_py.api.call import Call
from xapi_py.api.operations import check, operation
from xapi_py.api.registry import message
from xapi_py.api.vm import copying, disks, suspend
from xapi_py.api.vm.domain import alert, home
from xapi_py.api.vm.lifecycle import end_for_revert
from xapi_py.api.vm.saved_record import restored_fields, saved_text
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.undo import Undo
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan import events_text, snapshot


@message("VM.snapshot")
async def snapshot_vm(call: Call, vm: Ref, new_name: str, ignore_vdis: tuple[Ref, ...] = ()) -> Ref:
    """Snapshot the disks and the record; ``ignore_vdis`` are left out."""
    row = call.db.row("VM", vm)
    async with operation(call, ("VM", vm, "snapshot")):
        call.allow_cancel()
        async with Undo() as undo:
            made = await _snapshot_disks(call, undo, row, tuple(ignore_vdis))
            image = NULL_REF
            if row.power_state == "Suspended":
                image = await disks.make(call, undo, "VDI.clone", row.suspend_VDI, {})
            copies = copying.Copies(made, image)
            new = _create_snapshot(call, row, "snapshot", new_name, copies, tuple(ignore_vdis))
    alert(call, "VM_SNAPSHOTTED", row, events_text.snapshotted(row, new_name))
    return new


async def _snapshot_disks(
    call: Call, undo: Undo, vm: Row, ignored: tuple[Ref, ...] = ()
) -> dict[str, Ref]:
    async def copy(undo: Undo, vdi: Ref) -> Ref:
        return await disks.make(call, undo, "VDI.snapshot", vdi, {})

    return await copying.copy_disks(call, undo, vm, copy, ignored)


def _create_snapshot(
    call: Call,
    vm: Row,
    kind: snapshot.Kind,
    name: str,
    copies: copying.Copies,
    ignored: tuple[Ref, ...] = (),
    state: str | None = None,
) -> Ref:
    """Make the snapshot's record and put it between the VM and its parent."""
    fields = snapshot.copy_fields(vm, kind, name, copying.fresh(call))
    fields["snapshot_metadata"] = saved_text(call, vm)
    if state is not None:
        fields["snapshot_info"] = {**snapshot.snapshot_info(vm), "power-state-at-snapshot": state}
    if copies.image != NULL_REF:
        fields["power_state"] = "Suspended"
        fields["last_booted_record"] = vm.last_booted_record
    with call.db.transaction() as tx:
        new = copying.create_vm(call, tx, vm, fields, copies, keep_macs=True, ignored=ignored)
        for ref, parent in snapshot.created_parents(vm, new).items():
            tx.set("VM", ref, "parent", parent)
    return new


@message("VM.snapshot_with_quiesce")
def snapshot_with_quiesce(call: Call, vm: Ref, new_name: str) -> Ref:
    """Refuse: no guest here offers to be quiesced.

    Errors: the state's, then VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED.
    """
    check(call, ("VM", vm, "snapshot_with_quiesce"))
    raise err.VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED(vm, "no provider")


@message("VM.checkpoint")
async def checkpoint(call: Call, vm: Ref, new_name: str) -> Ref:
    """Snapshot disks and memory of one moment; a running VM stops for it."""
    row = call.db.row("VM", vm)
    before = row.power_state
    async with operation(call, ("VM", vm, "checkpoint")):
        if before == "Suspended":
            new = await _checkpoint_suspended(call, row, new_name)
        else:
            new = await _checkpoint_live(call, row, new_name, before)
    alert(call, "VM_CHECKPOINTED", row, events_text.checkpointed(row, new_name))
    return new


async def _checkpoint_suspended(call: Call, vm: Row, name: str) -> Ref:
    async with Undo() as undo:
        made = await _snapshot_disks(call, undo, vm)
        image = await disks.make(call, undo, "VDI.clone", vm.suspend_VDI, {})
        return _create_snapshot(call, vm, "checkpoint", name, copying.Copies(made, image))


async def _checkpoint_live(call: Call, vm: Row, name: str, before: str) -> Ref:
    """Suspend, snapshot, resume; the image becomes the checkpoint's."""
    host = home(vm)
    try:
        await suspend.save_memory(call, vm, host)
    except ApiError as problem:
        if problem.code in ("VM_NO_SUSPEND_SR", "SR_SUSPEND_SPACE_INSUFFICIENT"):
            raise
        raise err.VM_CHECKPOINT_SUSPEND_FAILED(vm.ref) from problem
    image = Ref(vm.suspend_VDI)

    async def go_on() -> None:
        await suspend.restore_memory(call, vm, host, before == "Paused")
        await suspend.drop_image(call, vm, image)

    async with Undo() as undo:
        undo.push("resume the VM", go_on)
        made = await _snapshot_disks(call, undo, vm)
        copies = copying.Copies(made, image)
        new = _create_snapshot(call, vm, "checkpoint", name, copies, state=before)
    try:
        await suspend.restore_memory(call, vm, host, before == "Paused")
    except ApiError as problem:
        await _own_image(call, vm, image)
        raise err.VM_CHECKPOINT_RESUME_FAILED(vm.ref) from problem
    with call.db.transaction() as tx:
        tx.update("VM", vm.ref, suspend_VDI=NULL_REF, last_booted_record="")
    return new


async def _own_image(call: Call, vm: Row, image: Ref) -> None:
    """Leave a VM that could not be resumed Suspended, with an image of its own."""
    async with Undo() as undo:
        own = await disks.make(call, undo, "VDI.clone", image, {})
        with call.db.transaction() as tx:
            tx.update("VM", vm.ref, suspend_VDI=own, resident_on=NULL_REF)
            disks.keep(tx, [own])


@message("VM.revert")
async def revert(call: Call, snapshot_ref: Ref) -> None:
    """Make the VM what it was when the snapshot was taken; its reference stays.

    A running VM is ended.  Errors: VM_REVERT_FAILED for what is no snapshot.
    """
    row = call.db.row("VM", snapshot_ref)
    problem = snapshot.revert_error(call.db, row)
    if problem is not None:
        raise problem
    vm = call.db.row("VM", row.snapshot_of)
    check(call, ("VM", snapshot_ref, "revert"))
    async with operation(call, ("VM", snapshot_ref, "revert"), ("VM", vm.ref, "reverting")):
        await end_for_revert(call, vm)
        await _revert(call, row, vm)
    alert(call, "VM_SNAPSHOT_REVERTED", vm, events_text.reverted(vm, row))


async def _revert(call: Call, row: Row, vm: Row) -> None:
    async def copy(undo: Undo, vdi: Ref) -> Ref:
        return await disks.make(call, undo, "VDI.clone", vdi, {})

    async with Undo() as undo:
        made = await copying.copy_disks(call, undo, row, copy)
        image = NULL_REF
        if row.power_state == "Suspended" and row.suspend_VDI != NULL_REF:
            image = await copy(undo, Ref(row.suspend_VDI))
        copies = copying.Copies(made, image)
        old = [vdi for _, vdi in snapshot.copied_disks(call.db, vm)]
        if vm.suspend_VDI != NULL_REF:
            old.append(vm.suspend_VDI)
        with call.db.transaction() as tx:
            copying.remove_devices(call, tx, vm)
            copying.copy_vbds(call, tx, row, vm.ref, copies)
            copying.copy_vifs(call, tx, row, vm.ref, seed=None)
            fields = restored_fields(row)
            fields["power_state"] = snapshot.state_after_revert(row)
            fields["suspend_VDI"] = image
            fields["last_booted_record"] = row.last_booted_record if image != NULL_REF else ""
            if vm.generation_id:
                fields["generation_id"] = copying.fresh(call).generation_id
            tx.update("VM", vm.ref, **fields)
            for ref, parent in snapshot.reverted_parents(vm.ref, row.ref).items():
                tx.set("VM", ref, "parent", parent)
            disks.keep(tx, copies.all())
            disks.condemn(call.db, tx, old)
    await disks.destroy_condemned(call, old)


@message("VM.update_snapshot_metadata")
def update_snapshot_metadata(
    call: Call, vm: Ref, snapshot_of: Ref, snapshot_time: int, transportable_snapshot_id: str
) -> None:
    """Make a VM a snapshot of another; for importers."""
    call.db.row("VM", vm)
    with call.db.transaction() as tx:
        tx.update(
            "VM",
            vm,
            is_a_snapshot=True,
            snapshot_of=snapshot_of,
            snapshot_time=snapshot_time,
            transportable_snapshot_id=transportable_snapshot_id,
        )


@message("VM.csvm")
async def csvm(call: Call, vm: Ref) -> Ref:
    """Make a suspended copy of a suspended VM.

    Errors: HANDLE_INVALID for a VM without a suspend image.
    """
    row = call.db.row("VM", vm)
    call.db.row("VDI", row.suspend_VDI)

    async def copy(undo: Undo, vdi: Ref) -> Ref:
        return await disks.make(call, undo, "VDI.clone", vdi, {})

    async with operation(call, ("VM", vm, "csvm")), Undo() as undo:
        made = await copying.copy_disks(call, undo, row, copy)
        image = await copy(undo, Ref(row.suspend_VDI))
        name = f"{row.name_label}-cloned-suspended"
        fields = snapshot.copy_fields(row, "clone", name, copying.fresh(call))
        fields["power_state"] = "Suspended"
        with call.db.transaction() as tx:
            copies = copying.Copies(made, image)
            return copying.create_vm(call, tx, row, fields, copies, keep_macs=False)

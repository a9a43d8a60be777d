"""Suspend to a disk and resume from it.  Source: brief XENOPS 14."""

from secrets import SystemRandom
from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.operations import check, operation
from xapi_py.api.registry import message
from xapi_py.api.vm import disks
from xapi_py.api.vm.domain import alert, device_claims, forget, home, push_metadata, xenops
from xapi_py.api.vm.networks import attach_networks
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.undo import Undo
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan import events_text, placement, suspend

_random = SystemRandom()
NO_SPACE = "SR_BACKEND_FAILURE_44"


@message("VM.suspend")
async def suspend_vm(call: Call, vm: Ref) -> None:
    """Save the memory to a new disk and end the domain.

    Errors: VM_NO_SUSPEND_SR, SR_SUSPEND_SPACE_INSUFFICIENT and the guest's refusals.
    """
    row = call.db.row("VM", vm)
    async with operation(call, ("VM", vm, "suspend")):
        host = home(row)
        await save_memory(call, row, host)
        with call.db.transaction() as tx:
            tx.set("VM", vm, "ha_always_run", False)
        await forget(call, row, host)
        alert(call, "VM_SUSPENDED", row, events_text.suspended(row))


async def save_memory(call: Call, vm: Row, host: Ref) -> None:
    """Take a running VM to Suspended, its image in suspend_VDI.

    On failure the image is destroyed and the VM goes on.
    """
    place = call.db.row("host", host)
    sr = Ref(suspend.suspend_sr(call.db, vm, place))
    async with Undo() as undo:
        image = await _make_image(call, undo, vm, sr)
        with call.db.transaction() as tx:
            tx.set("VM", vm.ref, "suspend_VDI", image)
        undo.push("forget image", lambda: _forget_image(call, vm.ref))
        await push_metadata(call, vm.ref, host)
        params = {"id": vm.uuid, "disk": disk_of(call, image)}
        answer: Any = await xenops(call, host, "VM.suspend", params, vm=vm.ref)
        with call.db.transaction() as tx:
            tx.set("VM", vm.ref, "last_booted_record", answer["domains"])
            disks.keep(tx, [image])


async def _make_image(call: Call, undo: Undo, vm: Row, sr: Ref) -> Ref:
    frames = suspend.framebuffer_sizes(call.db, vm)
    record = {
        "name_label": "Suspend image",
        "name_description": "Suspend image",
        "SR": sr,
        "type": "suspend",
        "virtual_size": suspend.image_size_bytes(vm.memory_static_max, frames),
        "sm_config": {"vmhint": vm.uuid},
    }
    try:
        return await disks.create(call, undo, record)
    except ApiError as problem:
        if problem.code == NO_SPACE:
            raise err.SR_SUSPEND_SPACE_INSUFFICIENT(sr) from problem
        raise


def _forget_image(call: Call, vm: Ref) -> None:
    row = call.db.find("VM", vm)
    if row is not None and row.power_state != "Suspended":
        with call.db.transaction() as tx:
            tx.set("VM", vm, "suspend_VDI", NULL_REF)


def disk_of(call: Call, vdi: Ref) -> dict[str, str]:
    """Give a disk as the domain daemon knows it.

    Errors: VDI_NOT_AVAILABLE for an image that is gone.
    """
    row = call.db.find("VDI", vdi)
    if row is None:
        raise err.HANDLE_INVALID("VDI", vdi)
    return {"sr": call.db.row("SR", row.SR).uuid, "vdi": row.uuid}


@message("VM.resume")
async def resume(call: Call, vm: Ref, start_paused: bool, force: bool) -> None:
    """Resume on the best host.  Errors: as ``VM.start``."""
    row = call.db.row("VM", vm)
    check(call, ("VM", vm, "resume"))
    free = call.toolstack.reservations.free_bytes
    checks = placement.Checks(cpu=not force)
    host = placement.choose_host(call.db, row, _random.random(), free, checks)
    await _resume(call, row, Ref(host), "resume", start_paused)


@message("VM.resume_on")
async def resume_on(call: Call, vm: Ref, host: Ref, start_paused: bool, force: bool) -> None:
    """Resume on a given host.  Errors: as ``VM.assert_can_boot_here``."""
    row = call.db.row("VM", vm)
    place = call.db.row("host", host)
    check(call, ("VM", vm, "resume_on"))
    free = call.toolstack.reservations.free_bytes
    checks = placement.Checks(cpu=not force)
    placement.assert_can_boot_here(call.db, row, place, free, checks)
    await _resume(call, row, host, "resume_on", start_paused)


async def _resume(call: Call, vm: Row, host: Ref, name: str, start_paused: bool) -> None:
    claims = [("VM", vm.ref, name), ("host", host, "vm_resume"), *device_claims(call, vm)]
    async with operation(call, *claims):
        image = Ref(vm.suspend_VDI)
        await restore_memory(call, vm, host, start_paused)
        await drop_image(call, vm, image)
        place = call.db.row("host", host)
        alert(call, "VM_RESUMED", vm, events_text.resumed(vm, place))


async def restore_memory(call: Call, vm: Row, host: Ref, start_paused: bool) -> None:
    """Take a Suspended VM back to life on a host; its image stays as it is."""
    if vm.suspend_VDI in ("", NULL_REF):
        raise err.VM_HAS_NO_SUSPEND_VDI(vm.ref)
    image = disk_of(call, Ref(vm.suspend_VDI))
    with call.toolstack.reservations.hold(call.db, vm.ref, host):
        async with Undo() as undo:
            undo.push("forget metadata", lambda: forget(call, vm, host))
            await attach_networks(call, vm, host)
            await push_metadata(call, vm.ref, host)
            params = {"id": vm.uuid, "disk": image, "paused": start_paused}
            await xenops(call, host, "VM.resume", params, vm=vm.ref)


async def drop_image(call: Call, vm: Row, image: Ref) -> None:
    """Destroy the image of a VM that no longer needs it."""
    with call.db.transaction() as tx:
        tx.update("VM", vm.ref, suspend_VDI=NULL_REF, last_booted_record="")
        disks.condemn(call.db, tx, [image])
    await disks.destroy_condemned(call, [image])


@message("VM.set_suspend_VDI")
def set_suspend_vdi(call: Call, self: Ref, value: Ref) -> None:
    """Exchange the image of a suspended VM for an equal one.

    Errors: VM_BAD_POWER_STATE unless Suspended, VDI_INCOMPATIBLE_TYPE.
    """
    row = call.db.row("VM", self)
    vdi = call.db.row("VDI", value)
    if row.power_state != "Suspended":
        raise err.VM_BAD_POWER_STATE(self, "suspended", row.power_state.lower())
    if vdi.type != "suspend":
        raise err.VDI_INCOMPATIBLE_TYPE(value, vdi.type)
    with call.db.transaction() as tx:
        tx.set("VM", self, "suspend_VDI", value)

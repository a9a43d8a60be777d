"""Messages of class VBD: the block devices of VMs.

Disks are attached and activated by the host's domain daemon when it plugs
them, and let go when it unplugs them, also when a guest goes down by itself.
"""

import re
from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.implicit import constructor_fields
from xapi_py.api.operations import check, operation
from xapi_py.api.registry import message
from xapi_py.api.vm.domain import home, xenops
from xapi_py.api.vm.suspend import disk_of
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan import devices
from xapi_py.plan.operations.refusals import in_progress
from xapi_py.plan.operations.vbd import sharing_error
from xapi_py.plan.operations.vm import is_hvm

_NUMBER = re.compile(r"-?[0-9]{1,5}")
LIVE = ("Running", "Paused")


@message("VBD.create")
def create(call: Call, args: dict[str, Any]) -> Ref:
    """Make a block device; it is plugged by ``VBD.plug`` or the VM's next start.

    Errors: VBD_NOT_REMOVABLE_MEDIA for an empty disk, VBD_CDS_MUST_BE_READONLY,
    HANDLE_INVALID, INVALID_DEVICE, DEVICE_ALREADY_EXISTS.
    """
    fields = constructor_fields(call, "VBD", args, references=False)
    if fields["type"] != "CD" and fields["empty"]:
        raise err.VBD_NOT_REMOVABLE_MEDIA("in constructor")
    if fields["type"] == "CD" and fields["mode"] == "RW":
        raise err.VBD_CDS_MUST_BE_READONLY()
    if not fields["empty"]:
        call.db.row("VDI", fields["VDI"])
    vm = call.db.row("VM", fields["VM"])
    problem = devices.userdevice_error(call.db, vm, fields["userdevice"])
    # Servers take any number, and refuse it when the VM starts.
    number = _NUMBER.fullmatch(fields["userdevice"])
    if problem is not None and not (number and problem.code == "INVALID_DEVICE"):
        raise problem
    if fields["userdevice"] == "autodetect":
        fields["userdevice"] = devices.autodetected(call.db, vm)
    if fields["empty"]:
        fields["VDI"] = NULL_REF
    fields.update(currently_attached=False, device="")
    with call.db.transaction() as tx:
        return tx.create("VBD", {**fields, "metrics": tx.create("VBD_metrics", {})})


@message("VBD.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Remove a device that is not attached; its disk stays.

    Errors: OPERATION_NOT_ALLOWED while attached, OTHER_OPERATION_IN_PROGRESS.
    """
    row = call.db.row("VBD", self)
    vm = call.db.find("VM", row.VM)
    if row.current_operations:
        raise in_progress("VBD", self, row.current_operations)
    if row.currently_attached:
        owner = vm.uuid if vm is not None else row.VM
        raise err.OPERATION_NOT_ALLOWED(f"VBD '{row.uuid}' still attached to '{owner}'")
    with call.db.transaction() as tx:
        if call.db.find("VBD_metrics", row.metrics) is not None:
            tx.delete("VBD_metrics", row.metrics)
        tx.delete("VBD", self)


@message("VBD.plug")
async def plug(call: Call, self: Ref) -> None:
    """Plug the device into its running VM."""
    row = call.db.row("VBD", self)
    async with operation(call, ("VBD", self, "plug")):
        vm = call.db.row("VM", row.VM)
        record = devices.vbd_record(call.db, vm, row)
        params = {"id": vm.uuid, "device": record["device"], "vbd": record}
        await xenops(call, home(vm), "VBD.plug", params, vm=vm.ref, device=self)


@message("VBD.unplug")
async def unplug(call: Call, self: Ref) -> None:
    """Ask the guest to let the device go.  Errors: DEVICE_DETACH_REJECTED."""
    async with operation(call, ("VBD", self, "unplug")):
        await _unplug(call, self, force=False)


@message("VBD.unplug_force")
async def unplug_force(call: Call, self: Ref) -> None:
    """Take the device away from its running VM."""
    async with operation(call, ("VBD", self, "unplug_force")):
        await _unplug(call, self, force=True)


@message("VBD.unplug_force_no_safety_check")
async def unplug_force_no_safety_check(call: Call, self: Ref) -> None:
    """Take the device away, whatever else is under way."""
    await _unplug(call, self, force=True)


async def _unplug(call: Call, vbd: Ref, *, force: bool) -> None:
    row = call.db.row("VBD", vbd)
    vm = call.db.row("VM", row.VM)
    params = {"id": vm.uuid, "device": devices.vbd_name(call.db, vm, row), "force": force}
    await xenops(call, home(vm), "VBD.unplug", params, vm=vm.ref, device=vbd)


@message("VBD.insert")
async def insert(call: Call, vbd: Ref, vdi: Ref) -> None:
    """Put a medium into an empty drive, of a live VM or a halted one.

    Errors: VBD_NOT_REMOVABLE_MEDIA, VBD_NOT_EMPTY, VDI_IN_USE and others.
    """
    row = call.db.row("VBD", vbd)
    check(call, ("VBD", vbd, "insert"))
    disk = call.db.row("VDI", vdi)
    problem = sharing_error(call.db, row, disk)
    if problem is not None:
        raise problem
    async with operation(call, ("VBD", vbd, "insert")):
        vm = call.db.row("VM", row.VM)
        if _is_plugged(call, row, vm) or _wants_plug(call, vm):
            await _insert_live(call, row, vm, vdi)
        with call.db.transaction() as tx:
            tx.update("VBD", vbd, VDI=vdi, empty=False)


def _is_plugged(call: Call, vbd: Row, vm: Row) -> bool:
    return vm.power_state in LIVE and bool(vbd.currently_attached)


def _wants_plug(call: Call, vm: Row) -> bool:
    """Tell whether a medium comes as a new device: paravirtual guests know no empty drive."""
    return vm.power_state == "Running" and not is_hvm(call.db, vm)


async def _insert_live(call: Call, vbd: Row, vm: Row, vdi: Ref) -> None:
    device = devices.vbd_name(call.db, vm, vbd)
    disk = disk_of(call, vdi)
    if _is_plugged(call, vbd, vm):
        params: dict[str, object] = {"id": vm.uuid, "device": device, "disk": disk}
        await xenops(call, home(vm), "VBD.insert", params, vm=vm.ref, device=vbd.ref)
        return
    record = {**devices.vbd_record(call.db, vm, vbd), "backend": disk}
    params = {"id": vm.uuid, "device": device, "vbd": record}
    await xenops(call, home(vm), "VBD.plug", params, vm=vm.ref, device=vbd.ref)


@message("VBD.eject")
async def eject(call: Call, vbd: Ref) -> None:
    """Take the medium out of a drive.  Errors: VBD_NOT_REMOVABLE_MEDIA, VBD_IS_EMPTY."""
    row = call.db.row("VBD", vbd)
    async with operation(call, ("VBD", vbd, "eject")):
        vm = call.db.row("VM", row.VM)
        if _is_plugged(call, row, vm):
            params = {"id": vm.uuid, "device": devices.vbd_name(call.db, vm, row)}
            method = "VBD.eject" if is_hvm(call.db, vm) else "VBD.unplug"
            await xenops(call, home(vm), method, params, vm=vm.ref, device=vbd)
        with call.db.transaction() as tx:
            tx.update("VBD", vbd, VDI=NULL_REF, empty=True)


@message("VBD.assert_attachable")
def assert_attachable(call: Call, self: Ref) -> None:
    """Tell by the error why the device could not be attached now."""
    check(call, ("VBD", self, "attach"))


@message("VBD.pause")
def pause(call: Call, self: Ref) -> str:
    """Stop the device's requests for a moment; give the token to go on with."""
    check(call, ("VBD", self, "pause"))
    return ""


@message("VBD.unpause")
def unpause(call: Call, self: Ref, token: str) -> None:
    """Let the device's requests go on."""
    check(call, ("VBD", self, "unpause"))


@message("VBD.set_mode")
def set_mode(call: Call, self: Ref, value: str) -> None:
    """Set whether the guest may write; for the next plug.

    Errors: VBD_CDS_MUST_BE_READONLY; VM_BAD_POWER_STATE unless the VM is halted.
    """
    row = call.db.row("VBD", self)
    if row.type == "CD" and value == "RW":
        raise err.VBD_CDS_MUST_BE_READONLY()
    vm = call.db.find("VM", row.VM)
    if vm is not None and vm.power_state != "Halted":
        raise err.VM_BAD_POWER_STATE(vm.ref, "halted", vm.power_state.lower())
    with call.db.transaction() as tx:
        tx.set("VBD", self, "mode", value)

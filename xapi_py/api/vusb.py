"""Messages of class VUSB: USB devices passed through to VMs."""

from xapi_py.api.call import Call
from xapi_py.api.operations import check
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err


@message("VUSB.create")
def create(
    call: Call,
    VM: Ref,  # noqa: N803
    USB_group: Ref,  # noqa: N803
    other_config: dict[str, str],
) -> Ref:
    """Give a halted VM a device of a group.

    Errors: HANDLE_INVALID, USB_GROUP_CONFLICT, VM_BAD_POWER_STATE.
    """
    vm = call.db.row("VM", VM)
    group = call.db.row("USB_group", USB_group)
    if vm.power_state != "Halted":
        raise err.VM_BAD_POWER_STATE(VM, "halted", vm.power_state.lower())
    if len(group.VUSBs):
        raise err.USB_GROUP_CONFLICT(USB_group)
    with call.db.transaction() as tx:
        return tx.create("VUSB", {"VM": VM, "USB_group": USB_group, "other_config": other_config})


@message("VUSB.unplug")
def unplug(call: Call, self: Ref) -> None:
    """Unplug the device.  Errors: those of the state; hosts here pass none through."""
    check(call, ("VUSB", self, "unplug"))
    raise err.NOT_IMPLEMENTED("VUSB.unplug")


@message("VUSB.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Remove a device that is not attached.  Errors: OPERATION_NOT_ALLOWED."""
    row = call.db.row("VUSB", self)
    if row.currently_attached:
        raise err.OPERATION_NOT_ALLOWED(f"VUSB '{row.uuid}' still attached")
    with call.db.transaction() as tx:
        tx.delete("VUSB", self)

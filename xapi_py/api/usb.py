"""Messages of classes PUSB and USB_group.  Simulated hosts have no USB devices."""

from collections.abc import Mapping

from xapi_py.api.call import Call
from xapi_py.api.device_groups import empty_group
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err


@message("PUSB.scan")
def scan(call: Call, host: Ref) -> None:
    """Look for USB devices of a host."""
    reached(call, host)


@message("PUSB.set_passthrough_enabled")
def set_passthrough_enabled(call: Call, self: Ref, value: bool) -> None:
    """Let guests have a device or not.  Errors: USB_ALREADY_ATTACHED."""
    row = call.db.row("PUSB", self)
    for ref in call.db.row("USB_group", row.USB_group).VUSBs:
        vusb = call.db.row("VUSB", ref)
        if vusb.currently_attached and not value:
            raise err.USB_ALREADY_ATTACHED(self, vusb.VM)
    with call.db.transaction() as tx:
        tx.set("PUSB", self, "passthrough_enabled", value)


@message("USB_group.create")
def create(
    call: Call,
    name_label: str = "",
    name_description: str = "",
    other_config: Mapping[str, str] | None = None,
) -> Ref:
    """Make an empty group."""
    return empty_group(call, "USB_group", name_label, name_description, other_config or {})


@message("USB_group.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Remove a group.  Errors: USB_GROUP_CONTAINS_VUSB, USB_GROUP_CONTAINS_PUSB."""
    row = call.db.row("USB_group", self)
    if len(row.VUSBs):
        raise err.USB_GROUP_CONTAINS_VUSB(*row.VUSBs)
    if len(row.PUSBs):
        raise err.USB_GROUP_CONTAINS_PUSB(*row.PUSBs)
    with call.db.transaction() as tx:
        tx.delete("USB_group", self)

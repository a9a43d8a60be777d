"""Guests that come from elsewhere."""

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err


@message("host.migrate_receive")
def migrate_receive(call: Call, host: Ref, network: Ref, options: dict[str, str]) -> dict[str, str]:
    """Prepare for a guest from another pool.

    Errors: HANDLE_INVALID; HOST_CANNOT_ATTACH_NETWORK, INTERFACE_HAS_NO_IP for a
    network the host is not on with an address; OPERATION_NOT_ALLOWED until hosts can take
    guests from other pools.
    """
    if network != NULL_REF:
        call.db.row("network", network)
    reached(call, host)
    if network != NULL_REF:
        _check_network(call, host, network)
    raise err.OPERATION_NOT_ALLOWED("This host takes no guests from other pools yet")


def _check_network(call: Call, host: Ref, network: Ref) -> None:
    for ref in call.db.row("network", network).PIFs:
        pif = call.db.row("PIF", ref)
        if pif.host == host:
            with_address = any(pif.IPv6) if pif.primary_address_type == "IPv6" else pif.IP
            if not with_address:
                raise err.INTERFACE_HAS_NO_IP(ref)
            return
    raise err.HOST_CANNOT_ATTACH_NETWORK(host, network)


@message("host.allocate_resources_for_vm")
def allocate_resources_for_vm(call: Call, self: Ref, vm: Ref, live: bool) -> None:
    """Keep room for a guest that is about to come: placement does."""
    call.db.row("VM", vm)
    reached(call, self)

"""Guests that come from elsewhere."""

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err


@message("host.migrate_receive")
def migrate_receive(call: Call, host: Ref, network: Ref, options: dict[str, str]) -> dict[str, str]:
    """Prepare for a guest from another pool.

    Errors: HANDLE_INVALID; OPERATION_NOT_ALLOWED until hosts can take guests
    from other pools.
    """
    if network != NULL_REF:
        call.db.row("network", network)
    reached(call, host)
    raise err.OPERATION_NOT_ALLOWED("This host takes no guests from other pools yet")


@message("host.allocate_resources_for_vm")
def allocate_resources_for_vm(call: Call, self: Ref, vm: Ref, live: bool) -> None:
    """Keep room for a guest that is about to come: placement does."""
    call.db.row("VM", vm)
    reached(call, self)

"""Where a VM can run, and what it needs there."""

from xapi_py.api.call import Call
from xapi_py.api.operations import check
from xapi_py.api.registry import message
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.plan import placement


@message("VM.assert_can_boot_here")
def assert_can_boot_here(call: Call, self: Ref, host: Ref) -> None:
    """Tell by the error why the VM cannot run on the host; see ``plan.placement``."""
    row = call.db.row("VM", self)
    place = call.db.row("host", host)
    placement.assert_can_boot_here(call.db, row, place, call.toolstack.reservations.free_bytes)


@message("VM.get_possible_hosts")
def get_possible_hosts(call: Call, vm: Ref) -> tuple[str, ...]:
    """List the hosts on which the VM could run now."""
    row = call.db.row("VM", vm)
    return placement.possible_hosts(call.db, row, call.toolstack.reservations.free_bytes)


@message("VM.retrieve_wlb_recommendations")
def retrieve_wlb_recommendations(call: Call, vm: Ref) -> dict[str, tuple[str, ...]]:
    """Ask the workload balancer.  Errors: WLB_NOT_INITIALIZED, WLB_DISABLED."""
    call.db.row("VM", vm)
    pool = call.db.row("pool", call.toolstack.pool)
    if not pool.wlb_url:
        raise err.WLB_NOT_INITIALIZED()
    if not pool.wlb_enabled:
        raise err.WLB_DISABLED()
    raise err.WLB_CONNECTION_REFUSED()


@message("VM.assert_agile")
def assert_agile(call: Call, self: Ref) -> None:
    """Tell by the error what ties the VM to a host."""
    problem = placement.agility_error(call.db, call.db.row("VM", self))
    if problem is not None:
        raise problem


@message("VM.assert_operation_valid")
def assert_operation_valid(call: Call, self: Ref, op: str) -> None:
    """Tell by the error why the VM does not offer an operation now."""
    check(call, ("VM", self, op))


@message("VM.update_allowed_operations")
def update_allowed_operations(call: Call, self: Ref) -> None:
    """Compute the VM's allowed operations anew; they are kept right anyway."""
    with call.db.transaction() as tx:
        tx.recompute("VM", self)


@message("VM.atomic_set_resident_on")
def atomic_set_resident_on(call: Call, vm: Ref, host: Ref) -> None:
    """Move a VM's residence on behalf of another server of the pool."""
    call.db.row("VM", vm)
    with call.db.transaction() as tx:
        tx.update("VM", vm, resident_on=host, scheduled_to_be_resident_on=NULL_REF)

"""VM_appliance operations: allowed when at least one member can follow."""

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan.operations.refusals import in_progress, others

ALL_OPERATIONS = ("start", "clean_shutdown", "hard_shutdown", "shutdown")

_MEMBER_STATES = {
    "start": frozenset({"Halted"}),
    "clean_shutdown": frozenset({"Running"}),
    "hard_shutdown": frozenset({"Running", "Paused", "Suspended"}),
    "shutdown": frozenset({"Running", "Paused", "Suspended"}),
}


def error_for(view: View, row: Row, op: str, *, task: str | None = None) -> ApiError | None:
    """Give the first reason against ``op`` on the appliance, or None."""
    current = others(row.current_operations, task)
    if current:
        return in_progress("VM_appliance", row.ref, current)
    if not len(row.VMs):
        return err.OPERATION_NOT_ALLOWED("Appliance has no VMs.")
    wanted = _MEMBER_STATES[op]
    for ref in row.VMs:
        vm = view.find("VM", ref)
        if vm is not None and vm.power_state in wanted:
            return None
    states = " or ".join(sorted(s.lower() for s in wanted))
    return err.OPERATION_NOT_ALLOWED(f"No VMs in the appliance are {states}.")


def allowed(view: View, row: Row) -> tuple[str, ...]:
    """List what the appliance offers now; cost is that of its members."""
    return tuple(op for op in ALL_OPERATIONS if error_for(view, row, op) is None)


DEPENDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("VM_appliance", "current_operations", ()),
    ("VM", "appliance", ("appliance",)),
    ("VM", "power_state", ("appliance",)),
)

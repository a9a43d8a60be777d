"""VIF operations: attach, plug and unplug."""

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan.operations.refusals import bad_power_state, in_progress, others
from xapi_py.plan.operations.vbd import hotplug_error

ALL_OPERATIONS = ("attach", "plug", "unplug")
_PLUGS = frozenset({"plug", "unplug"})
_VM_BUSY = frozenset({"clean_shutdown", "hard_shutdown", "suspend", "pause"})


def _on_sriov(view: View, row: Row) -> bool:
    network = view.find("network", row.network)
    if network is None:
        return False
    for ref in network.PIFs:
        pif = view.find("PIF", ref)
        if pif is not None and len(pif.sriov_logical_PIF_of):
            return True
    return False


def _plug_error(view: View, row: Row, vm: Row, op: str) -> ApiError | None:
    if vm.is_control_domain:
        return err.OPERATION_NOT_ALLOWED(f"A VIF of a control domain cannot {op}")
    if vm.power_state != "Running":
        return bad_power_state(vm.ref, ("Running",), vm.power_state)
    attached = row.currently_attached or row.reserved
    if attached and op == "plug":
        return err.DEVICE_ALREADY_ATTACHED(row.ref)
    if not attached and op == "unplug":
        return err.DEVICE_ALREADY_DETACHED(row.ref)
    busy = [o for o in vm.current_operations.values() if o in _VM_BUSY]
    if busy:
        return err.OPERATION_NOT_ALLOWED(f"Current operations on VM:{vm.ref} are {', '.join(busy)}")
    if _on_sriov(view, row):
        return err.OPERATION_NOT_ALLOWED("VIF plug/unplug is not supported on SR-IOV networks")
    return hotplug_error(view, vm, "can_use_hotplug_vif", "VIF")


def error_for(view: View, row: Row, op: str, *, task: str | None = None) -> ApiError | None:
    """Give the first reason against ``op`` on this VIF, or None.

    ``unplug_force`` is checked as ``unplug``.  Cost: the network's PIFs.
    """
    current = others(row.current_operations, task)
    if current:
        return in_progress("VIF", row.ref, current)
    if op not in _PLUGS:
        return None
    vm = view.find("VM", row.VM)
    if vm is None:
        return err.HANDLE_INVALID("VM", row.VM)
    return _plug_error(view, row, vm, op)


def allowed(view: View, row: Row) -> tuple[str, ...]:
    """List what the VIF offers now."""
    if row.current_operations:
        return ()
    vm = view.find("VM", row.VM)
    if vm is None or vm.power_state != "Running":
        return ("attach",)
    wanted = "unplug" if row.currently_attached or row.reserved else "plug"
    if _plug_error(view, row, vm, wanted) is None:
        return ("attach", wanted)
    return ("attach",)


DEPENDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    *(
        ("VIF", field, ())
        for field in ("current_operations", "currently_attached", "reserved", "network", "VM")
    ),
    ("VM", "power_state", ("VIFs",)),
    ("VM", "current_operations", ("VIFs",)),
    ("VM", "guest_metrics", ("VIFs",)),
    ("VM", "metrics", ("VIFs",)),
)

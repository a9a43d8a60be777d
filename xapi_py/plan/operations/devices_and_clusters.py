"""Operations of VTPM, VUSB, Cluster and Cluster_host."""

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan.operations.refusals import bad_power_state, in_progress, others

VTPM_OPERATIONS = ("destroy",)
VUSB_OPERATIONS = ("attach", "plug", "unplug")
CLUSTER_OPERATIONS = ("add", "remove", "enable", "disable", "destroy")
CLUSTER_HOST_OPERATIONS = ("enable", "disable", "destroy")

Depends = tuple[tuple[str, str, tuple[str, ...]], ...]


def vtpm_error(view: View, row: Row, op: str, *, task: str | None = None) -> ApiError | None:
    """Refuse to remove a vTPM unless its VM is halted."""
    current = others(row.current_operations, task)
    if current:
        return in_progress("VTPM", row.ref, current)
    vm = view.find("VM", row.VM)
    if vm is not None and vm.power_state != "Halted":
        return bad_power_state(vm.ref, ("Halted",), vm.power_state)
    return None


def vusb_error(view: View, row: Row, op: str, *, task: str | None = None) -> ApiError | None:
    """Apply the plug rules: running VM, attached or not."""
    current = others(row.current_operations, task)
    if current:
        return in_progress("VUSB", row.ref, current)
    vm = view.find("VM", row.VM)
    if op == "attach" or vm is None:
        return None
    if vm.power_state != "Running":
        return bad_power_state(vm.ref, ("Running",), vm.power_state)
    if op == "plug" and row.currently_attached:
        return err.DEVICE_ALREADY_ATTACHED(row.ref)
    if op == "unplug" and not row.currently_attached:
        return err.DEVICE_ALREADY_DETACHED(row.ref)
    return None


def cluster_error(view: View, row: Row, op: str, *, task: str | None = None) -> ApiError | None:
    """Let hosts be enabled beside each other and nothing else overlap."""
    current = others(row.current_operations, task)
    if current and not (op in ("add", "enable") and set(current.values()) <= {"add", "enable"}):
        return in_progress("Cluster", row.ref, current)
    return None


def cluster_host_error(
    view: View, row: Row, op: str, *, task: str | None = None
) -> ApiError | None:
    """Let one operation run at a time."""
    current = others(row.current_operations, task)
    return in_progress("Cluster_host", row.ref, current) if current else None


def vtpm_allowed(view: View, row: Row) -> tuple[str, ...]:
    """List what the vTPM offers now."""
    return tuple(op for op in VTPM_OPERATIONS if vtpm_error(view, row, op) is None)


def vusb_allowed(view: View, row: Row) -> tuple[str, ...]:
    """List what the VUSB offers now."""
    return tuple(op for op in VUSB_OPERATIONS if vusb_error(view, row, op) is None)


def cluster_allowed(view: View, row: Row) -> tuple[str, ...]:
    """List what the cluster offers now."""
    return tuple(op for op in CLUSTER_OPERATIONS if cluster_error(view, row, op) is None)


def cluster_host_allowed(view: View, row: Row) -> tuple[str, ...]:
    """List what the cluster member offers now."""
    return tuple(op for op in CLUSTER_HOST_OPERATIONS if cluster_host_error(view, row, op) is None)


VTPM_DEPENDS: Depends = (
    ("VTPM", "current_operations", ()),
    ("VTPM", "VM", ()),
    ("VM", "power_state", ("VTPMs",)),
)
VUSB_DEPENDS: Depends = (
    ("VUSB", "current_operations", ()),
    ("VUSB", "currently_attached", ()),
    ("VUSB", "VM", ()),
    ("VM", "power_state", ("VUSBs",)),
)
CLUSTER_DEPENDS: Depends = (("Cluster", "current_operations", ()),)
CLUSTER_HOST_DEPENDS: Depends = (("Cluster_host", "current_operations", ()),)

"""Host operations and the checks shutdown and reboot repeat up front."""

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan.operations.refusals import HOST_OPERATION_TEXT, in_progress, others

ALL_OPERATIONS = (
    "provision",
    "evacuate",
    "shutdown",
    "reboot",
    "power_on",
    "vm_start",
    "vm_resume",
    "vm_migrate",
    "apply_updates",
    "enable",
)
_ARRIVALS = frozenset({"provision", "vm_resume", "vm_migrate"})
_DEPARTURES = frozenset({"evacuate", "reboot", "shutdown"})


def _concurrency_error(row: Row, op: str, task: str | None) -> ApiError | None:
    current = others(row.current_operations, task)
    if not current:
        return None
    running = set(current.values())
    against: frozenset[str] = frozenset()
    if op in _ARRIVALS:
        against = _DEPARTURES
    elif op in _DEPARTURES:
        against = _ARRIVALS | (_DEPARTURES - {op} if op == "evacuate" else _DEPARTURES)
    if op in ("provision", "apply_updates", "power_on"):
        against = against | {op}
    clash = {ref: o for ref, o in current.items() if o in against}
    if clash and running & against:
        return in_progress("host", row.ref, clash, HOST_OPERATION_TEXT)
    return None


def is_live(view: View, row: Row) -> bool:
    """Tell whether the host's heartbeat is current."""
    metrics = view.find("host_metrics", row.metrics)
    return metrics is not None and bool(metrics.live)


def error_for(view: View, row: Row, op: str, *, task: str | None = None) -> ApiError | None:
    """Give the first reason against ``op`` on this host, or None.

    That the host is disabled first is not part of it: see ``leave_error``.
    """
    if op == "power_on":
        if is_live(view, row):
            return err.HOST_IS_LIVE(row.ref)
        if row.power_on_mode == "":
            return err.HOST_POWER_ON_MODE_DISABLED()
    return _concurrency_error(row, op, task)


def leave_error(view: View, row: Row) -> ApiError | None:
    """Check what shutdown and reboot need: disabled, no guest, no dom0 disk in use.

    Cost: the VMs resident on the host.
    """
    if row.enabled:
        return err.HOST_NOT_DISABLED()
    for ref in row.resident_VMs:
        vm = view.find("VM", ref)
        if vm is None:
            continue
        if not vm.is_control_domain:
            return err.HOST_IN_USE(row.ref, "vm", ref)
        for vbd_ref in vm.VBDs:
            vbd = view.find("VBD", vbd_ref)
            if vbd is not None and vbd.currently_attached:
                return err.HOST_IN_USE(row.ref, "vbd", vbd_ref)
    return None


def allowed(view: View, row: Row) -> tuple[str, ...]:
    """List what the host offers now."""
    return tuple(op for op in ALL_OPERATIONS if error_for(view, row, op) is None)


# host_metrics is reached from the host only: whoever writes live touches the host.
DEPENDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("host", "current_operations", ()),
    ("host", "power_on_mode", ()),
    ("host", "metrics", ()),
)

"""VBD operations: plug, unplug, insert, eject and the sharing rules of disks."""

from collections.abc import Mapping

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan.operations.refusals import bad_power_state, in_progress, others
from xapi_py.plan.operations.vm import is_hvm

ALL_OPERATIONS = (
    "attach",
    "eject",
    "insert",
    "plug",
    "unplug",
    "unplug_force",
    "pause",
    "unpause",
)
_PARALLEL = frozenset({"pause", "unpause"})
_UNPLUGS = frozenset({"unplug", "unplug_force"})
_PLUGS = frozenset({"plug", "unplug", "unplug_force"})
_MEDIA = frozenset({"insert", "eject"})
_USES_VDI = frozenset({"attach", "insert", "plug"})
_VM_BUSY = frozenset({"clean_shutdown", "hard_shutdown", "suspend", "pause"})
_VDI_COPIES = frozenset({"mirror", "copy", "clone"})


# What state and kind of drive do not rule out at once.
_IN_STATE = {
    (state, removable): tuple(
        op
        for op in ALL_OPERATIONS
        if (removable or op not in _MEDIA)
        and (state == "Running" or op not in _PLUGS)
        and (state in ("Running", "Paused") or op not in _PARALLEL)
    )
    for state in ("Halted", "Paused", "Running", "Suspended")
    for removable in (False, True)
}


def _state_error(row: Row, vm: Row, op: str) -> ApiError | None:
    """Check the VM's power state against plugging, media changes and pausing."""
    state = vm.power_state
    if op in _PLUGS:
        if state == "Running":
            attached = row.currently_attached or row.reserved
            if attached and op == "plug":
                return err.DEVICE_ALREADY_ATTACHED(row.ref)
            if not attached and op in _UNPLUGS:
                return err.DEVICE_ALREADY_DETACHED(row.ref)
            return None
        return bad_power_state(vm.ref, ("Running",), state)
    if op in _PARALLEL and state not in ("Running", "Paused"):
        return bad_power_state(vm.ref, ("Running", "Paused"), state)
    if op in _MEDIA and state == "Suspended" and row.type == "CD":
        return bad_power_state(vm.ref, ("Running", "Halted"), state)
    return None


def hotplug_error(view: View, vm: Row, field: str, device: str) -> ApiError | None:
    """Tell why a live HVM guest cannot take part in hot-plugging.

    ``field`` is the guest metrics tristate, ``device`` the word for the text.
    """
    if not is_hvm(view, vm):
        return None
    guest = view.find("VM_guest_metrics", vm.guest_metrics)
    able = getattr(guest, field) if guest is not None else "unspecified"
    if able == "yes":
        return None
    if able == "no":
        return err.OPERATION_NOT_ALLOWED(f"VM states it does not support {device} hotplug.")
    if guest is not None and guest.PV_drivers_detected:
        return None
    return err.VM_MISSING_PV_DRIVERS(vm.ref)


class _Checks:
    """One VBD, its VM and what several operations share, read once."""

    __slots__ = ("view", "row", "vm", "_disk", "_hotplug")

    def __init__(self, view: View, row: Row, vm: Row) -> None:
        self.view = view
        self.row = row
        self.vm = vm
        self._disk: tuple[ApiError | None, ApiError | None] | None = None
        self._hotplug: tuple[ApiError | None] | None = None

    def live_error(self, op: str) -> ApiError | None:
        """Check plugging against the VM's other work and the guest's drivers."""
        vm = self.vm
        if op not in _PLUGS:
            return None
        if vm.current_operations and op != "unplug_force":
            busy = [o for o in vm.current_operations.values() if o in _VM_BUSY]
            if busy:
                return err.OPERATION_NOT_ALLOWED(
                    f"Current operations on VM:{vm.ref} are {', '.join(busy)}"
                )
        if self._hotplug is None:
            self._hotplug = (self._guest_error(),)
        return self._hotplug[0]

    def _guest_error(self) -> ApiError | None:
        found = hotplug_error(self.view, self.vm, "can_use_hotplug_vbd", "VBD")
        if found is None and self.row.type == "CD" and is_hvm(self.view, self.vm):
            return err.OPERATION_NOT_ALLOWED(
                "HVM CDROMs cannot be hotplugged/unplugged, only inserted or ejected"
            )
        return found

    def disk_error(self, op: str) -> ApiError | None:
        """Check the disk: managed for everything, free for what uses it."""
        if self._disk is None:
            self._disk = _disk_errors(self.view, self.row)
        always, using = self._disk
        return always or (using if op in _USES_VDI else None)


def _is_active(view: View, vbd: Row) -> bool:
    """Tell whether another VBD holds its disk; suspended and system VMs do not count."""
    if not (vbd.currently_attached or vbd.reserved or vbd.current_operations):
        return False
    vm = view.find("VM", vbd.VM)
    if vm is None or vm.power_state == "Suspended":
        return False
    system = vm.other_config.get("is_system_domain") == "true"
    return not (vm.is_control_domain or system)


def sharing_error(view: View, row: Row, vdi: Row, vdi_ref: str | None = None) -> ApiError | None:
    """Apply the one-writer rule between this VBD and the others of its disk."""
    target = vdi_ref or vdi.ref
    writes = row.mode == "RW"
    # Nobody writes to a read-only disk, so an ISO in many drives needs no scan.
    if not vdi.sharable and not (vdi.read_only and not writes):
        for ref in vdi.VBDs:
            if ref == row.ref:
                continue
            other = view.find("VBD", ref)
            if other is None or not (writes or other.mode == "RW"):
                continue
            if _is_active(view, other):
                return err.VDI_IN_USE(target, "VBD.attach")
    if row.mode == "RW" and vdi.read_only:
        return err.VDI_READONLY(target)
    return None


def _disk_errors(view: View, row: Row) -> tuple[ApiError | None, ApiError | None]:
    """Give what stands against every operation, and against using the disk."""
    if row.empty or row.VDI in ("", NULL_REF):
        return None, None
    vdi = view.find("VDI", row.VDI)
    if vdi is None:
        return None, None
    if not vdi.managed:
        return err.VDI_NOT_MANAGED(vdi.ref), None
    if vdi.current_operations:
        pending = {t: o for t, o in vdi.current_operations.items() if o not in _VDI_COPIES}
        if pending:
            return None, in_progress("VDI", vdi.ref, pending)
    return None, sharing_error(view, row, vdi)


def _media_error(row: Row, op: str) -> ApiError | None:
    if op in _UNPLUGS:
        return None if row.unpluggable else err.VBD_NOT_UNPLUGGABLE(row.ref)
    if op not in _MEDIA:
        return None
    if row.type != "CD":
        return err.VBD_NOT_REMOVABLE_MEDIA(row.ref)
    if op == "eject":
        return err.VBD_IS_EMPTY(row.ref) if row.empty else None
    return None if row.empty else err.VBD_NOT_EMPTY(row.ref)


def _error(checks: _Checks, op: str, current: Mapping[str, str]) -> ApiError | None:
    row = checks.row
    if current and not (op in _PARALLEL and set(current.values()) <= _PARALLEL | {"attach"}):
        return in_progress("VBD", row.ref, current)
    return (
        _media_error(row, op)
        or _state_error(row, checks.vm, op)
        or checks.live_error(op)
        or checks.disk_error(op)
    )


def error_for(view: View, row: Row, op: str, *, task: str | None = None) -> ApiError | None:
    """Give the first reason against ``op`` on this VBD, or None.

    Cost: the number of VBDs on the same disk.
    """
    vm = view.find("VM", row.VM)
    if vm is None:
        return err.HANDLE_INVALID("VM", row.VM)
    return _error(_Checks(view, row, vm), op, others(row.current_operations, task))


def allowed(view: View, row: Row) -> tuple[str, ...]:
    """List what the VBD offers now."""
    vm = view.find("VM", row.VM)
    if vm is None:
        return ()
    checks = _Checks(view, row, vm)
    current = row.current_operations
    candidates = _IN_STATE[vm.power_state, row.type == "CD"]
    return tuple([op for op in candidates if _error(checks, op, current) is None])


# Other VBDs of the same disk are left out on purpose: one ISO may sit in every
# VM's drive, and the list is advisory; the sharing rule is checked on each call.
DEPENDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    *(
        ("VBD", field, ())
        for field in (
            "current_operations", "currently_attached", "reserved", "unpluggable", "type",
            "empty", "mode", "VDI", "VM",
        )
    ),
    ("VM", "power_state", ("VBDs",)),
    ("VM", "current_operations", ("VBDs",)),
    ("VM", "guest_metrics", ("VBDs",)),
    ("VM", "metrics", ("VBDs",)),
    ("VDI", "managed", ("VBDs",)),
    ("VDI", "current_operations", ("VBDs",)),
    ("VDI", "sharable", ("VBDs",)),
    ("VDI", "read_only", ("VBDs",)),
)  # fmt: skip

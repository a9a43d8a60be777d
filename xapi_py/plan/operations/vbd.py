"""VBD operations: plug, unplug, insert, eject and the sharing rules of disks."""

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


def _live_error(view: View, row: Row, vm: Row, op: str) -> ApiError | None:
    busy = [o for o in vm.current_operations.values() if o in _VM_BUSY]
    if busy and op in ("plug", "unplug"):
        return err.OPERATION_NOT_ALLOWED(f"Current operations on VM:{vm.ref} are {', '.join(busy)}")
    if vm.power_state != "Running" or op not in _PLUGS:
        return None
    found = hotplug_error(view, vm, "can_use_hotplug_vbd", "VBD")
    if found is None and row.type == "CD" and is_hvm(view, vm):
        return err.OPERATION_NOT_ALLOWED(
            "HVM CDROMs cannot be hotplugged/unplugged, only inserted or ejected"
        )
    return found


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


def _disk_error(view: View, row: Row, op: str) -> ApiError | None:
    if row.empty or row.VDI in ("", NULL_REF):
        return None
    vdi = view.find("VDI", row.VDI)
    if vdi is None:
        return None
    if not vdi.managed:
        return err.VDI_NOT_MANAGED(vdi.ref)
    if op not in _USES_VDI:
        return None
    pending = {t: o for t, o in vdi.current_operations.items() if o not in _VDI_COPIES}
    if pending:
        return in_progress("VDI", vdi.ref, pending)
    return sharing_error(view, row, vdi)


def error_for(view: View, row: Row, op: str, *, task: str | None = None) -> ApiError | None:
    """Give the first reason against ``op`` on this VBD, or None.

    Cost: the number of VBDs on the same disk.
    """
    current = others(row.current_operations, task)
    if current and not (op in _PARALLEL and set(current.values()) <= _PARALLEL | {"attach"}):
        return in_progress("VBD", row.ref, current)
    if op in _UNPLUGS and not row.unpluggable:
        return err.VBD_NOT_UNPLUGGABLE(row.ref)
    if op in _MEDIA:
        if row.type != "CD":
            return err.VBD_NOT_REMOVABLE_MEDIA(row.ref)
        if op == "eject" and row.empty:
            return err.VBD_IS_EMPTY(row.ref)
        if op == "insert" and not row.empty:
            return err.VBD_NOT_EMPTY(row.ref)
    vm = view.find("VM", row.VM)
    if vm is None:
        return err.HANDLE_INVALID("VM", row.VM)
    return _state_error(row, vm, op) or _live_error(view, row, vm, op) or _disk_error(view, row, op)


def allowed(view: View, row: Row) -> tuple[str, ...]:
    """List what the VBD offers now."""
    return tuple(op for op in ALL_OPERATIONS if error_for(view, row, op) is None)


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

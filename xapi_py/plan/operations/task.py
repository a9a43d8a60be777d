"""Task operations: which tasks can be cancelled."""

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View

ALL_OPERATIONS = ("cancel", "destroy")

# Calls whose work notices a cancellation; others run to their end.
CANCELLABLE = frozenset(
    f"Async.{name}"
    for name in [
        "VM.clean_shutdown",
        "VM.clean_reboot",
        "VM.hard_reboot",
        "VM.shutdown",
        "VM.pool_migrate",
        "VM.migrate_send",
        "VM.copy",
        "VM.clone",
        "VM.snapshot",
        "VM.checkpoint",
        "VM.call_plugin",
        "VM.start",
        "VM.start_on",
        "VM.resume",
        "VM.resume_on",
        "VM.import",
        "VDI.copy",
        "VDI.pool_migrate",
        "VM_appliance.start",
        "VM_appliance.clean_shutdown",
        "VM_appliance.shutdown",
        "host.evacuate",
    ]
)


def error_for(view: View, row: Row, op: str, *, task: str | None = None) -> ApiError | None:
    """Refuse to cancel what is over or does not notice; destroy is always accepted."""
    if op == "cancel" and not (row.status == "pending" and row.name_label in CANCELLABLE):
        return err.OPERATION_NOT_ALLOWED(f"Task {row.ref} cannot be cancelled")
    return None


def allowed(view: View, row: Row) -> tuple[str, ...]:
    """List ``cancel`` where it works; destroy is never listed."""
    if row.status == "pending" and row.name_label in CANCELLABLE:
        return ("cancel",)
    return ()


DEPENDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (("task", "status", ()),)

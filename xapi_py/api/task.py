"""Messages of class task."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.db.row import Row
from xapi_py.session.rbac import denial


@message("task.create")
def create(call: Call, label: str, description: str) -> Ref:
    """Make a task for a client to complete, or for an HTTP transfer."""
    return call.toolstack.tasks.create(label, description, session=call.session.ref)


@message("task.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Remove a task record.  Errors: RBAC_PERMISSION_DENIED for another user's."""
    _check_owner(call, call.db.row("task", self), "task.destroy/any")
    call.toolstack.tasks.destroy(self)


@message("task.cancel")
def cancel(call: Call, task: Ref) -> None:
    """Ask what runs under the task to stop.

    A task that cannot be cancelled goes on; that is no error.
    """
    _check_owner(call, call.db.row("task", task), "task.cancel/any")
    call.toolstack.tasks.cancel(task)


@message("task.set_status")
def set_status(call: Call, self: Ref, value: str) -> None:
    """Set the state of a task the client completes itself."""
    _set(call, self, "status", value)


@message("task.set_progress")
def set_progress(call: Call, self: Ref, value: float) -> None:
    """Set the progress of a task the client completes itself."""
    _set(call, self, "progress", value)


@message("task.set_result")
def set_result(call: Call, self: Ref, value: str) -> None:
    """Set the result of a task the client completes itself."""
    _set(call, self, "result", value)


@message("task.set_error_info")
def set_error_info(call: Call, self: Ref, value: tuple[str, ...]) -> None:
    """Set the error of a task the client completes itself."""
    _set(call, self, "error_info", value)


def _set(call: Call, task: Ref, field: str, value: object) -> None:
    call.db.row("task", task)
    with call.db.transaction() as tx:
        tx.set("task", task, field, value)


def _check_owner(call: Call, row: Row, permission: str) -> None:
    """Let a user touch the tasks of sessions of the same user, others need a permission."""
    session = call.session
    if session.superuser or permission in session.permissions:
        return
    owner = call.db.find("session", row.session)
    if owner is None or owner.auth_user_sid != session.subject_sid:
        raise denial(call.model, permission)

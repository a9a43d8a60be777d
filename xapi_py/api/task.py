"""Messages of class task."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.database import Database
from xapi_py.session.rbac import denial
from xapi_py.session.sessions import Session

ANY_TASK = "task.destroy/any"
"""The permission to touch tasks of other users."""


@message("task.create")
def create(call: Call, label: str, description: str) -> Ref:
    """Make a task for a client to complete, or for an HTTP transfer."""
    return call.toolstack.tasks.create(label, description, session=call.session.ref)


@message("task.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Remove a task record.  Errors: RBAC_PERMISSION_DENIED for another user's."""
    _check_owner(call, self)
    call.db.row("task", self)
    call.toolstack.tasks.destroy(self)


@message("task.cancel")
def cancel(call: Call, task: Ref) -> None:
    """Ask what runs under the task to stop.

    A task that cannot be cancelled goes on; that is no error.
    """
    _check_owner(call, task)
    call.db.row("task", task)
    call.toolstack.tasks.cancel(task)


@message("task.set_status")
def set_status(call: Call, self: Ref, value: str) -> None:
    """Set the state of a task the client completes itself.  Errors: RBAC_PERMISSION_DENIED."""
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


@message("task.set_other_config")
def set_other_config(call: Call, self: Ref, value: dict[str, str]) -> None:
    """Replace a task's free map.  Errors: RBAC_PERMISSION_DENIED."""
    _set(call, self, "other_config", value)


@message("task.add_to_other_config")
def add_to_other_config(call: Call, self: Ref, key: str, value: str) -> None:
    """Add a key to a task's free map.

    Errors: RBAC_PERMISSION_DENIED, MAP_DUPLICATE_KEY.
    """
    _check_owner(call, self)
    if key in call.db.row("task", self).other_config:
        raise err.MAP_DUPLICATE_KEY("task", "other_config", self, key)
    with call.db.transaction() as tx:
        tx.add_to_map("task", self, "other_config", key, value)


@message("task.remove_from_other_config")
def remove_from_other_config(call: Call, self: Ref, key: str) -> None:
    """Drop a key of a task's free map.  Errors: RBAC_PERMISSION_DENIED."""
    _check_owner(call, self)
    call.db.row("task", self)
    with call.db.transaction() as tx:
        tx.remove_from_map("task", self, "other_config", key)


def _set(call: Call, task: Ref, field: str, value: object) -> None:
    _check_owner(call, task)
    call.db.row("task", task)
    with call.db.transaction() as tx:
        tx.set("task", task, field, value)


def _check_owner(call: Call, task: Ref) -> None:
    """Refuse to touch tasks of other users.

    The permission is asked before the task is looked for.  Errors:
    RBAC_PERMISSION_DENIED.  Source: facts/traces, rbac-180 to -182.
    """
    if not may_touch(call.db, call.session, task):
        raise denial(call.model, ANY_TASK)


def may_touch(db: Database, session: Session, task: Ref) -> bool:
    """Tell whether a session may complete or change a task.

    Users may those of their own sessions; others need ``task.destroy/any``.
    """
    if session.superuser or ANY_TASK in session.permissions:
        return True
    row = db.find("task", task)
    owner = None if row is None else db.find("session", row.session)
    return owner is not None and owner.auth_user_sid == session.subject_sid

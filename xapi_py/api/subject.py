"""Messages of class subject: users and groups of a directory that may log in."""

from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.implicit import constructor_fields
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.session.rbac import permissions_of_roles


@message("subject.create")
def create(call: Call, record: dict[str, Any]) -> Ref:
    """Let a user or group log in, with no role yet.

    Errors: AUTH_IS_DISABLED without a directory; SUBJECT_ALREADY_EXISTS for an
    identifier that has a subject.
    """
    if call.toolstack.login.enabled_directory() is None:
        raise err.AUTH_IS_DISABLED()
    fields = constructor_fields(call, "subject", record)
    identifier = fields.get("subject_identifier", "")
    if any(row.subject_identifier == identifier for row in call.db.rows("subject")):
        raise err.SUBJECT_ALREADY_EXISTS()
    with call.db.transaction() as tx:
        return tx.create("subject", {**fields, "roles": ()})


@message("subject.add_to_roles")
def add_to_roles(call: Call, self: Ref, role: Ref) -> None:
    """Give a subject a role.  Errors: ROLE_NOT_FOUND, ROLE_ALREADY_EXISTS."""
    _check_role(call, role)
    row = call.db.row("subject", self)
    if role in row.roles:
        raise err.ROLE_ALREADY_EXISTS()
    with call.db.transaction() as tx:
        tx.add_to_set("subject", self, "roles", role)


@message("subject.remove_from_roles")
def remove_from_roles(call: Call, self: Ref, role: Ref) -> None:
    """Take a role from a subject.  Errors: ROLE_NOT_FOUND."""
    row = call.db.row("subject", self)
    if role not in row.roles:
        raise err.ROLE_NOT_FOUND()
    with call.db.transaction() as tx:
        tx.remove_from_set("subject", self, "roles", role)


@message("subject.get_permissions_name_label")
def get_permissions_name_label(call: Call, self: Ref) -> tuple[str, ...]:
    """Give the names of all permissions the subject's roles hold."""
    roles = frozenset(call.db.row("role", r).name_label for r in call.db.row("subject", self).roles)
    return tuple(sorted(permissions_of_roles(call.model, roles)))


def _check_role(call: Call, role: Ref) -> None:
    row = call.db.find("role", role)
    if row is None or row.name_label not in call.model.roles:
        raise err.ROLE_NOT_FOUND()

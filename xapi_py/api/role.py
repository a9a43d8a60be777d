"""Messages of class role.

A permission is a row of this class that holds nothing; it is its own only
permission.
"""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref


@message("role.get_permissions")
def get_permissions(call: Call, self: Ref) -> tuple[Ref, ...]:
    """Give the permissions of a role, or a permission itself."""
    row = call.db.row("role", self)
    return row.subroles or (self,)


@message("role.get_permissions_name_label")
def get_permissions_name_label(call: Call, self: Ref) -> tuple[str, ...]:
    """Give the names of the permissions of a role."""
    return tuple(call.db.row("role", r).name_label for r in get_permissions(call, self))


@message("role.get_by_permission")
def get_by_permission(call: Call, permission: Ref) -> tuple[Ref, ...]:
    """Give the roles that hold a permission."""
    row = call.db.find("role", permission)
    return get_by_permission_name_label(call, row.name_label) if row is not None else ()


@message("role.get_by_permission_name_label")
def get_by_permission_name_label(call: Call, label: str) -> tuple[Ref, ...]:
    """Give the roles that hold the permission of that name."""
    holders = call.model.permissions.get(label, frozenset())
    return tuple(Ref(call.model.roles[name].ref) for name in holders)

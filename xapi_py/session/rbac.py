"""Role-based access control: what a session may call, from the model alone.

A permission is named ``class.message`` in lower case; one key of a map has
``class.add_to_field/key:name`` (a trailing ``*`` matches a prefix).  The model
lists for each permission the roles that hold it.  Source: facts/roles.yaml.
"""

from collections.abc import Mapping
from functools import lru_cache

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.model import MessageDef, Model

NO_ROLES: frozenset[str] = frozenset()
ROLES_AS_LISTED = (
    "vm-power-admin",
    "vm-admin",
    "vm-operator",
    "client-cert",
    "pool-admin",
    "pool-operator",
    "read-only",
)
"""The order in which a denial names roles.  Source: facts/traces, group rbac."""


@lru_cache(maxsize=64)
def permissions_of_roles(model: Model, roles: frozenset[str]) -> frozenset[str]:
    """Give all permission names that any of ``roles`` holds."""
    return frozenset(
        name for name, holders in model.permissions.items() if not roles.isdisjoint(holders)
    )


def permission_of_key(message: MessageDef, key: str) -> str | None:
    """Give the permission of one map key, or None when it has none of its own."""
    name = message.wire_name.lower()
    for pattern in message.key_roles:
        if pattern == key or (pattern.endswith("*") and key.startswith(pattern[:-1])):
            return f"{name}/key:{pattern.lower()}"
    return None


def denial(model: Model, permission: str) -> ApiError:
    """Make the error for a missing permission, naming the roles that hold it."""
    holders = model.permissions.get(permission, NO_ROLES)
    listed = ", ".join(r for r in ROLES_AS_LISTED if r in holders)
    return err.RBAC_PERMISSION_DENIED(
        permission, f"No permission in user session. (Roles with this permission: {listed})"
    )


def check(
    model: Model, granted: frozenset[str], message: MessageDef, arguments: Mapping[str, object]
) -> None:
    """Refuse a call the session may not make.

    ``arguments`` are needed only for messages with permissions for single map
    keys.  Errors: RBAC_PERMISSION_DENIED.
    """
    permission = message.wire_name.lower()
    key = arguments.get("key") if message.key_roles else None
    if isinstance(key, str):
        permission = permission_of_key(message, key) or permission
    if permission not in granted:
        raise denial(model, permission)

"""The rows of class role that stand for permissions."""

import hashlib
from uuid import UUID

from xapi_py.base.names import Ref, Uuid


def permission_uuid(name: str) -> Uuid:
    """Give the uuid of the row of a permission or role.

    The name is spelled as in the model.  The uuid of pool-admin alone is not
    made from its name; take it from ``Model.roles``.
    """
    return Uuid(str(UUID(bytes=hashlib.md5(name.encode(), usedforsecurity=False).digest())))


def permission_ref(name: str) -> Ref:
    """Give the reference of the row of a permission, spelled as in the model."""
    return Ref(f"OpaqueRef:{permission_uuid(name)}")

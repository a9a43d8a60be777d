"""Names of things that travel as text or numbers but must not be confused."""

import uuid
from typing import Final, NewType

Ref = NewType("Ref", str)
"""A reference, ``OpaqueRef:`` followed by a uuid, or ``NULL_REF``."""

Uuid = NewType("Uuid", str)
"""A lower-case hyphenated uuid."""

DomId = NewType("DomId", int)
"""A Xen domain id; -1 stands for "no domain" in API records."""

NULL_REF: Final = Ref("OpaqueRef:NULL")
"""The reference that points at nothing."""


def new_uuid() -> Uuid:
    """Make a random uuid."""
    return Uuid(str(uuid.uuid4()))


def ref_of_uuid(value: str) -> Ref:
    """Give the reference that belongs to a uuid."""
    return Ref(f"OpaqueRef:{value}")

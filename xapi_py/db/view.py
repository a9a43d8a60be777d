"""What pure code may ask of the database."""

from collections.abc import Sequence
from typing import Protocol

from xapi_py.base.names import Ref
from xapi_py.db.row import Row


class View(Protocol):
    """Read access to all objects at one moment; nothing awaits, nothing changes.

    Every call is O(1) except ``refs`` and ``rows``, which copy.
    """

    def row(self, cls: str, ref: str) -> Row:
        """Give an object.  Errors: HANDLE_INVALID when there is none."""
        ...

    def find(self, cls: str, ref: str) -> Row | None:
        """Give an object or ``None``."""
        ...

    def by_uuid(self, cls: str, uuid: str) -> Ref:
        """Give the reference of a uuid.  Errors: UUID_INVALID."""
        ...

    def by_name_label(self, cls: str, label: str) -> tuple[Ref, ...]:
        """Give the references of all objects with that label."""
        ...

    def refs(self, cls: str) -> Sequence[Ref]:
        """Give all references of a class, oldest object first."""
        ...

    def rows(self, cls: str) -> Sequence[Row]:
        """Give all objects of a class, oldest first."""
        ...

    def count(self, cls: str) -> int:
        """Count the objects of a class."""
        ...

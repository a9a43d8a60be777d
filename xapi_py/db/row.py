"""Rows of the database and the collections of references they hold."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from xapi_py.base.names import Ref

_put = object.__setattr__


class RefSet:
    """The many end of a relation: distinct references in the order they came.

    Read-only for users; the database changes it when the other end changes.
    Iteration goes over a snapshot, so a loop may delete what it visits.
    Equal to any ``RefSet``, tuple or list with the same references in the
    same order.
    """

    __slots__ = ("_refs", "_unsorted")

    def __init__(self) -> None:
        self._refs: dict[Ref, int] = {}  # reference -> position number
        self._unsorted = False  # a removal was undone: order by position first

    def __len__(self) -> int:
        return len(self._refs)

    def __contains__(self, ref: object) -> bool:
        return ref in self._refs

    def __iter__(self) -> Iterator[Ref]:
        if self._unsorted:
            self._refs = dict(sorted(self._refs.items(), key=lambda item: item[1]))
            self._unsorted = False
        return iter(tuple(self._refs))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RefSet | tuple | list):
            return tuple(self) == tuple(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"RefSet({list(self)})"

    def _add(self, ref: Ref, position: int) -> None:
        if self._refs and position < next(reversed(self._refs.values())):
            self._unsorted = True
        self._refs[ref] = position

    def _discard(self, ref: Ref) -> int:
        return self._refs.pop(ref)


EMPTY_REFS = RefSet()
"""Stands for every empty collection that nothing was ever added to."""


class Row:
    """One object; fields are attributes under their single-underscore names.

    ``created_generation`` and ``modified`` are generations of the database:
    the pair ``(ref, modified)`` names one state of the object for ever.
    Attributes cannot be assigned; write through a transaction.
    Inside the transaction that changes a row ``modified`` is still the old one.
    """

    __slots__ = ("ref", "created_generation", "modified")
    api_class: ClassVar[str] = ""

    ref: Ref
    created_generation: int
    modified: int

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self.api_class}.{name} is read-only; use a transaction")

    def __repr__(self) -> str:
        return f"<{self.api_class} {self.ref}>"

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def set_ref(row: Row, ref: Ref) -> None:
    _put(row, "ref", ref)


def set_generations(row: Row, created: int, modified: int) -> None:
    """Stamp a row with the generations it was created and last changed in."""
    _put(row, "created_generation", created)
    _put(row, "modified", modified)


def set_modified(row: Row, generation: int) -> None:
    _put(row, "modified", generation)

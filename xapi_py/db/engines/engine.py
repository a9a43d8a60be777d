"""What the database asks of the place where it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

RowKey = tuple[str, str]
"""Class and reference."""


class StoredRow(NamedTuple):
    """One object as it is kept: ``values`` is a JSON object of its fields."""

    cls: str
    ref: str
    values: bytes
    created: int
    modified: int


@dataclass(slots=True)
class Batch:
    """Writes that are kept together or not at all.

    ``reserved`` (0: as before) is the generation that no process has gone
    beyond when this batch is kept.
    """

    rows: list[StoredRow] = field(default_factory=list)
    deleted: list[RowKey] = field(default_factory=list)
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything an engine keeps."""

    rows: Sequence[StoredRow]
    reserved: int


class Engine(Protocol):
    """A place that keeps the database.

    ``immediate`` engines cannot fail and have nothing to wait for; the
    database hands them a batch at the end of each transaction.  Others get
    one batch at a time, with all writes of a reactor turn in it.
    """

    immediate: bool
    name: str
    """Where the database is kept, for an administrator."""

    def load(self, reserve: int) -> Stored:
        """Read everything; blocks, so only before the reactor runs.

        Before it returns it sets that many further generations aside; the
        answer tells the reservation as it was.

        Raises a ``DatabaseError`` that tells an administrator what is wrong.
        """
        ...

    def commit(self, batch: Batch) -> Deferred[None]:
        """Keep a batch; fires when it would survive a loss of power."""
        ...

    def close(self) -> Deferred[None]:
        """Finish what is under way, then let go of the files."""
        ...

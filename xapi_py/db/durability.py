"""Bringing committed transactions to the engine, in groups."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from xapi_py.base.errors import ApiError
from xapi_py.base.reactor import Clock
from xapi_py.datamodel import errors as err
from xapi_py.db.engines.engine import Batch, Engine, RowKey
from xapi_py.db.redo import Redo
from xapi_py.db.row import Row
from xapi_py.db.row_writes import UndoLog


@dataclass(slots=True)
class Commit:
    """A finished transaction that is not durable yet."""

    generation: int
    undo: UndoLog
    touched: dict[Row, int]
    stored: list[RowKey]
    redo: Redo | None
    """For a transaction without anything to store: how to do it again."""


@dataclass(slots=True)
class _Group:
    commits: list[Commit] = field(default_factory=list)
    stored: dict[RowKey, None] = field(default_factory=dict)
    classes: set[str] = field(default_factory=set)
    waiters: list["Deferred[None]"] = field(default_factory=list)


class Owner(Protocol):
    """What the queue needs of the database."""

    def batch_of(self, keys: Iterable[RowKey]) -> Batch: ...

    def take_back(self, commits: list[Commit], error: ApiError) -> None: ...

    def publish(self, classes: set[str]) -> None: ...

    def tell_subscribers(self, classes: set[str]) -> None: ...


class CommitQueue:
    """Hand batches to the engine one at a time, everything waiting in each.

    A failed batch takes the commits made since with it: they were made on
    top of it.  Whoever waits for any of them is told INTERNAL_ERROR.
    """

    def __init__(self, owner: Owner, engine: Engine, clock: Clock) -> None:
        self._owner = owner
        self._engine = engine
        self._clock = clock
        self._waiting = _Group()
        self._under_way: _Group | None = None
        self._scheduled = False

    @property
    def idle(self) -> bool:
        """Whether everything committed so far is durable."""
        return self._under_way is None and not self._waiting.stored

    def add(self, commit: Commit, classes: set[str]) -> None:
        """Take a commit; nothing is published before it is durable."""
        if self.idle and not commit.stored:
            self._owner.publish(classes)
            return
        group = self._waiting
        group.commits.append(commit)
        group.classes |= classes
        group.stored.update(dict.fromkeys(commit.stored))
        if self._engine.immediate:
            self.flush()
        elif not self._scheduled and self._under_way is None:
            self._scheduled = True
            self._clock.callLater(0, self._turn_over)

    def first_pending(self) -> int | None:
        """Give the generation of the oldest commit that is not durable yet."""
        for group in (self._under_way, self._waiting):
            if group is not None and group.commits:
                return group.commits[0].generation
        return None

    def durable(self) -> "Deferred[None]":
        """Fire when everything committed so far is durable."""
        if self.idle:
            return succeed(None)
        group = self._waiting if self._waiting.stored else self._under_way
        assert group is not None
        waiter: Deferred[None] = Deferred()
        group.waiters.append(waiter)
        return waiter

    def _turn_over(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Start the next batch unless one is under way."""
        if self._under_way is not None:
            return
        group = self._waiting
        if not group.stored:
            if group.commits:
                self._waiting = _Group()
                self._owner.publish(group.classes)
            return
        self._waiting = _Group()
        self._under_way = group
        try:
            result = self._engine.commit(self._owner.batch_of(group.stored))
        except Exception:  # an engine that fails at once fails like one that fails later
            result = fail(Failure())
        result.addCallbacks(self._kept, self._failed)

    def _kept(self, _: None) -> None:
        group = self._under_way
        assert group is not None
        self._under_way = None
        self.flush()
        for waiter in group.waiters:
            waiter.callback(None)
        if self._engine.immediate:
            self._owner.publish(group.classes)
        else:
            self._owner.tell_subscribers(group.classes)

    def _failed(self, failure: Failure) -> None:
        group, later = self._under_way, self._waiting
        assert group is not None
        self._under_way, self._waiting = None, _Group()
        error = _not_stored(failure)
        self._owner.take_back(group.commits + later.commits, error)
        for waiter in group.waiters + later.waiters:
            waiter.errback(error)


def _not_stored(failure: Failure) -> ApiError:
    return err.INTERNAL_ERROR(f"the database could not be written: {failure.getErrorMessage()}")

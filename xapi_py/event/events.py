"""Waking clients when objects they follow change, and finding what changed.

The global generation of the database is the token.  A commit wakes waiting
clients once, after it is durable; there is no fixed delay.  What a client
gets is computed from the generations of the rows, so several changes of one
object are one event, and an object made and destroyed in between is none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from xapi_py.base.names import Ref
from xapi_py.base.reactor import Clock
from xapi_py.datamodel.model import Model
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.event.old_style import OldStyleEvents
from xapi_py.event.subscription import Subscription, SubscriptionParser, event_classes
from xapi_py.session.sessions import Session

MAX_WAIT_S = 86400.0
CACHED_BATCHES = 8


@dataclass(frozen=True, slots=True)
class Event:
    """A change of one object; ``row`` is None for ``del``."""

    generation: int
    cls: str
    operation: str
    ref: Ref
    row: Row | None


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one ``event.from`` answers: shared by all clients that ask the same.

    ``encoded`` keeps the finished bytes for each dialect.
    """

    events: tuple[Event, ...]
    generation: int
    counts: dict[str, int]
    encoded: dict[object, list[bytes]]


class _Waiter:
    __slots__ = ("deferred", "subscription", "classes")

    def __init__(
        self, deferred: "Deferred[None]", subscription: Subscription, classes: frozenset[str]
    ) -> None:
        self.deferred = deferred
        self.subscription = subscription
        self.classes = classes


class Events:
    """The event source of one server."""

    def __init__(
        self, db: Database, model: Model, clock: Clock, is_live: Callable[[Session], bool]
    ) -> None:
        self._db = db
        self._clock = clock
        self._classes = tuple(n for n in event_classes(model) if n in db.tables)
        self._all_names = tuple(model.classes)
        parser = SubscriptionParser(model)
        self._parse = parser.parse
        self._is_live = is_live
        self.old = OldStyleEvents(db, parser, clock, self._classes, _recorder(model))
        self._waiters: dict[Deferred[None], _Waiter] = {}
        self._published = db.generation
        self._batches: dict[tuple[Subscription, int | None], Batch] = {}
        db.subscribe(self._changed)

    @property
    def generation(self) -> int:
        """The latest generation that clients may know of."""
        return self._published

    def subscription(self, texts: tuple[str, ...]) -> Subscription:
        """Read the class list of a client."""
        return self._parse(texts)

    async def wait(
        self, session: Session, subscription: Subscription, since: int | None, timeout_s: float
    ) -> Batch:
        """Give what changed after ``since``, waiting up to ``timeout_s`` for something.

        ``since`` None, or a generation from before this process started, gives
        every object as ``add`` at once.  Errors: SESSION_INVALID when the
        session ends meanwhile.
        """
        if since is not None and since < self._db.start_generation:
            since = None
        batch = self._collect(subscription, since)
        if batch.events or since is None or timeout_s <= 0:
            return batch
        deadline = self._clock.seconds() + min(timeout_s, MAX_WAIT_S)
        while not batch.events:
            remaining = deadline - self._clock.seconds()
            if remaining <= 0:
                return batch
            await self._wait_for_change(session, subscription, remaining)
            batch = self._collect(subscription, since)
        return batch

    def _changed(self, classes: frozenset[str], generation: int) -> None:
        self._published = generation
        self._batches.clear()
        self.old.changed(self._is_live, generation)
        woken = [w for w in self._waiters.values() if self._concerns(w, classes)]
        for waiter in woken:
            self._waiters.pop(waiter.deferred, None)
            waiter.deferred.callback(None)

    @staticmethod
    def _concerns(waiter: _Waiter, classes: frozenset[str]) -> bool:
        return waiter.subscription.everything or not waiter.classes.isdisjoint(classes)

    async def _wait_for_change(
        self, session: Session, subscription: Subscription, timeout_s: float
    ) -> None:
        classes = frozenset(subscription.names(self._classes))
        waiting: Deferred[None] = Deferred()
        self._waiters[waiting] = _Waiter(waiting, subscription, classes)
        session.blocked.add(waiting)
        timer = self._clock.callLater(timeout_s, self._expire, waiting)
        try:
            await waiting
        finally:
            self._waiters.pop(waiting, None)
            session.blocked.discard(waiting)
            if timer.active():
                timer.cancel()

    def _expire(self, waiting: "Deferred[None]") -> None:
        if self._waiters.pop(waiting, None) is not None:
            waiting.callback(None)

    def _collect(self, subscription: Subscription, since: int | None) -> Batch:
        key = (subscription, since)
        batch = self._batches.get(key)
        if batch is None:
            events = (
                self._snapshot(subscription) if since is None else self._since(subscription, since)
            )
            batch = Batch(events, self._published, self._counts(), {})
            if len(self._batches) >= CACHED_BATCHES:
                self._batches.clear()
            self._batches[key] = batch
        return batch

    def _counts(self) -> dict[str, int]:
        tables = self._db.tables
        return {n.lower(): len(tables[n].rows) if n in tables else 0 for n in self._all_names}

    def _snapshot(self, subscription: Subscription) -> tuple[Event, ...]:
        found: list[Event] = []
        for name in subscription.names(self._classes):
            if subscription.wants_class(name):
                rows = list(self._db.rows(name))
            else:
                refs = [ref for cls, ref in subscription.objects if cls == name]
                rows = [row for r in refs if (row := self._db.find(name, Ref(r))) is not None]
            found.extend(Event(row.modified, name, "add", row.ref, row) for row in rows)
        return _ordered(found, [], [])

    def _since(self, subscription: Subscription, since: int) -> tuple[Event, ...]:
        adds: list[Event] = []
        mods: list[Event] = []
        dels: list[Event] = []
        for name in subscription.names(self._classes):
            changes = self._db.changes(name, since)
            wants: Callable[[Ref], bool] = _wanted(subscription, name)
            adds += [
                Event(r.modified, name, "add", r.ref, r) for r in changes.added if wants(r.ref)
            ]
            mods += [
                Event(r.modified, name, "mod", r.ref, r) for r in changes.modified if wants(r.ref)
            ]
            dels += [
                Event(deleted, name, "del", ref, None)
                for ref, deleted, created in changes.deleted
                if created <= since and wants(ref)
            ]
        return _ordered(adds, mods, dels)


def _wanted(subscription: Subscription, name: str) -> Callable[[Ref], bool]:
    if subscription.wants_class(name):
        return lambda ref: True
    return lambda ref: (name, ref) in subscription.objects


def _ordered(adds: list[Event], mods: list[Event], dels: list[Event]) -> tuple[Event, ...]:
    """Messages first, then what was made, changed and removed.  Source: wire.md, Events."""
    everything = adds + mods + dels
    messages = [e for e in everything if e.cls == "message"]
    if not messages:
        return tuple(everything)
    return tuple(messages + [e for e in everything if e.cls != "message"])


def _recorder(model: Model) -> Callable[[Row], dict[str, Any]]:
    """Make the function that copies a row's wire fields."""
    names = {n: tuple(f.name for f in c.wire_fields) for n, c in model.classes.items()}

    def record(row: Row) -> dict[str, Any]:
        return {n: _copied(getattr(row, n)) for n in names[row.api_class]}

    return record


def _copied(value: Any) -> Any:
    plain = isinstance(value, str | int | float | tuple | dict) or value is None
    return value if plain else tuple(value)

"""Waking clients when objects they follow change, and finding what changed.

The global generation of the database is the token.  A commit wakes waiting
clients once, after it is durable; there is no fixed delay.  What a client
gets is computed from the generations of the rows, so several changes of one
object are one event, and an object made and destroyed in between is none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred

from xapi_py.base.names import Ref
from xapi_py.base.reactor import Clock
from xapi_py.datamodel.model import Model
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.event.old_style import OldStyleEvents
from xapi_py.event.subscription import Subscription, SubscriptionParser, event_classes
from xapi_py.event.waiters import Waiter, Waiters
from xapi_py.session.sessions import Session

MAX_WAIT_S = 86400.0
CACHED_BATCHES = 8
CACHED_CLASS_SETS = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """A change of one object; ``row`` is None for ``del``."""

    generation: int
    cls: str
    operation: str
    ref: Ref
    row: Row | None


class Part(NamedTuple):
    """Events of one kind in one class: of objects that are there, or that are gone.

    A gone object is its reference and the generation in which it went.
    """

    cls: str
    operation: str
    rows: Sequence[Row] = ()
    gone: Sequence[tuple[Ref, int]] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one ``event.from`` answers: shared by all clients that ask the same.

    No part is empty.  ``generation`` is the token.  ``encoded`` keeps the
    finished bytes for each dialect.
    """

    parts: tuple[Part, ...]
    generation: int
    counts: dict[str, int]
    encoded: dict[object, list[bytes]]

    @property
    def events(self) -> tuple[Event, ...]:
        """All events in the order clients get them; O(events)."""
        found: list[Event] = []
        for cls, operation, rows, gone in self.parts:
            found += [Event(row.modified, cls, operation, row.ref, row) for row in rows]
            found += [Event(generation, cls, operation, ref, None) for ref, generation in gone]
        return tuple(found)

    def __len__(self) -> int:
        return sum(len(part.rows) + len(part.gone) for part in self.parts)


class Events:
    """The event source of one server."""

    def __init__(
        self, db: Database, model: Model, clock: Clock, is_live: Callable[[Session], bool]
    ) -> None:
        self._db = db
        self._clock = clock
        self._classes = tuple(n for n in event_classes(model) if n in db.tables)
        self._rows_of = {
            n.lower(): db.tables[n].rows if n in db.tables else {} for n in model.classes
        }
        parser = SubscriptionParser(model)
        self._parse = parser.parse
        self._is_live = is_live
        self.old = OldStyleEvents(db, parser, clock, self._classes, _recorder(model))
        self._waiters = Waiters(clock, self._expire)
        self._class_sets: dict[Subscription, frozenset[str]] = {}
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

    def wait(
        self, session: Session, subscription: Subscription, since: int | None, timeout_s: float
    ) -> "Batch | Deferred[Batch]":
        """Give what changed after ``since``, waiting up to ``timeout_s`` for something.

        ``since`` None, or a generation from before this process started, gives
        every object as ``add`` at once.  Errors: SESSION_INVALID when the
        session ends meanwhile.
        """
        if since is not None and since < self._db.start_generation:
            since = None
        batch = self._collect(subscription, since)
        if batch.parts or since is None or timeout_s <= 0:
            return batch
        classes = self._classes_of(subscription)
        deadline = self._clock.seconds() + min(timeout_s, MAX_WAIT_S)
        return self._waiters.add(Waiter(session, subscription, classes, since, deadline))

    def _changed(self, classes: frozenset[str], generation: int) -> None:
        self._published = generation
        self._batches.clear()
        self.old.changed(self._is_live, generation)
        for waiter in self._waiters:
            if not waiter.subscription.everything and waiter.classes.isdisjoint(classes):
                continue
            batch = self._collect(waiter.subscription, waiter.since)
            if batch.parts:
                self._waiters.answer(waiter, batch)

    def _expire(self, waiter: Waiter) -> None:
        self._waiters.answer(waiter, self._collect(waiter.subscription, waiter.since))

    def _classes_of(self, subscription: Subscription) -> frozenset[str]:
        known = self._class_sets.get(subscription)
        if known is None:
            if len(self._class_sets) >= CACHED_CLASS_SETS:
                self._class_sets.clear()
            known = self._class_sets[subscription] = frozenset(subscription.names(self._classes))
        return known

    def _collect(self, subscription: Subscription, since: int | None) -> Batch:
        key = (subscription, since)
        batch = self._batches.get(key)
        if batch is None:
            parts = (
                self._snapshot(subscription) if since is None else self._since(subscription, since)
            )
            generation = self._told(subscription, since, parts)
            batch = Batch(parts, generation, self._counts(), {})
            if len(self._batches) >= CACHED_BATCHES:
                self._batches.clear()
            self._batches[key] = batch
        return batch

    def _told(self, subscription: Subscription, since: int | None, parts: tuple[Part, ...]) -> int:
        """Give the token: how far a client knows of changes now.

        With some classes only, that is the last change it is told of, so that
        with other classes it misses nothing.  Source: facts/traces, events-009
        and events-051.
        """
        if subscription.everything:
            return self._published
        told = self._db.start_generation if since is None else min(since, self._published)
        for part in parts:
            if part.rows:
                told = max(told, max(row.modified for row in part.rows))
            if part.gone:
                told = max(told, max(generation for _, generation in part.gone))
        return min(told, self._published)  # rows may have changed again since: they come again

    def _counts(self) -> dict[str, int]:
        return {name: len(rows) for name, rows in self._rows_of.items()}

    def _snapshot(self, subscription: Subscription) -> tuple[Part, ...]:
        found: list[Part] = []
        for name in subscription.names(self._classes):
            rows: Sequence[Row]
            if subscription.wants_class(name):
                rows = self._db.rows(name)
            else:
                refs = [ref for cls, ref in subscription.objects if cls == name]
                rows = [row for r in refs if (row := self._db.find(name, r)) is not None]
            found.append(Part(name, "add", self._known(rows)))
        return _ordered(found)

    def _known(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Leave out objects that are younger than the token.

        Their commits are not durable yet: told of now, they would come again as new, and one
        that goes before that would never be told to have gone.
        """
        if self._db.generation == self._published:
            return rows
        return [row for row in rows if row.created_generation <= self._published]

    def _since(self, subscription: Subscription, since: int) -> tuple[Part, ...]:
        adds: list[Part] = []
        mods: list[Part] = []
        dels: list[Part] = []
        for name in subscription.names(self._classes):
            changes = self._db.changes(name, since)
            added = self._known(changes.added)
            modified: Sequence[Row] = changes.modified
            gone = [
                (ref, at)
                for ref, at, created in changes.deleted
                if created <= since and at <= self._published
            ]
            if not subscription.wants_class(name):
                wanted = subscription.objects
                added = [row for row in added if (name, row.ref) in wanted]
                modified = [row for row in modified if (name, row.ref) in wanted]
                gone = [(ref, at) for ref, at in gone if (name, ref) in wanted]
            adds.append(Part(name, "add", added))
            mods.append(Part(name, "mod", modified))
            dels.append(Part(name, "del", gone=gone))
        return _ordered(adds + mods + dels)


def _ordered(parts: list[Part]) -> tuple[Part, ...]:
    """Messages first, then what was made, changed and removed.  Source: wire.md, Events."""
    found = [part for part in parts if part.rows or part.gone]
    messages = [part for part in found if part.cls == "message"]
    return (*messages, *(part for part in found if part.cls != "message"))


def _recorder(model: Model) -> Callable[[Row], dict[str, Any]]:
    """Make the function that copies a row's wire fields."""
    names = {n: tuple(f.name for f in c.wire_fields) for n, c in model.classes.items()}

    def record(row: Row) -> dict[str, Any]:
        return {n: _copied(getattr(row, n)) for n in names[row.api_class]}

    return record


def _copied(value: Any) -> Any:
    plain = isinstance(value, str | int | float | tuple | dict) or value is None
    return value if plain else tuple(value)

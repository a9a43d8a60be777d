"""The old way to hear of events: a queue for each session.

Unlike ``event.from`` every change is an event of its own, with the object as
it was then, and ``del`` carries the last state.  Sources: facts/wire.md,
Events; facts/traces, group events.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred

from xapi_py.base.names import Ref
from xapi_py.base.reactor import Clock
from xapi_py.datamodel import errors as err
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.event.subscription import SubscriptionParser
from xapi_py.session.sessions import Session

MAX_QUEUED = 20_000
"""A client further behind than this loses its queue and is told EVENTS_LOST."""


@dataclass(frozen=True, slots=True, eq=False)
class OldEvent:
    """One change; ``record`` holds the fields as they were."""

    generation: int
    timestamp: float
    cls: str
    operation: str
    ref: Ref
    record: dict[str, Any]
    snapshots: dict[object, bytes] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Queue:
    session: Session
    everything: bool = False
    classes: set[str] = field(default_factory=set)
    events: deque[OldEvent] = field(default_factory=deque)
    lost: bool = False
    waiters: list["Deferred[None]"] = field(default_factory=list)

    def wants(self, cls: str) -> bool:
        return self.everything or cls in self.classes


class OldStyleEvents:
    """The queues of all registered sessions; costs nothing while there are none."""

    def __init__(
        self,
        db: Database,
        parser: SubscriptionParser,
        clock: Clock,
        classes: tuple[str, ...],
        record: Callable[[Any], dict[str, Any]],
    ) -> None:
        self._db = db
        self._parse = parser.parse
        self._clock = clock
        self._classes = classes
        self._record = record
        self._queues: dict[Ref, _Queue] = {}
        # The rows there are; a deleted one keeps its last values.
        self._known: dict[str, dict[Ref, Row]] = {}
        self._seen = 0

    def is_registered(self, session: Session) -> bool:
        """Whether the session follows any class."""
        queue = self._queues.get(session.ref)
        return queue is not None and (queue.everything or bool(queue.classes))

    def register(self, session: Session, texts: tuple[str, ...]) -> None:
        """Follow more classes."""
        wanted = self._parse(texts)
        if not self._queues:
            self._seen = self._db.generation
            self._known.clear()
        queue = self._queues.setdefault(session.ref, _Queue(session))
        queue.everything = queue.everything or wanted.everything
        queue.classes |= wanted.classes
        queue.lost = False
        for name in self._classes if wanted.everything else wanted.classes:
            self._follow(name)

    def unregister(self, session: Session, texts: tuple[str, ...]) -> None:
        """Follow fewer classes."""
        queue = self._queues.get(session.ref)
        if queue is None:
            return
        unwanted = self._parse(texts)
        if unwanted.everything:
            queue.everything = False
            queue.classes.clear()
        queue.classes -= unwanted.classes

    async def next(self, session: Session) -> list[OldEvent]:
        """Give the queued events, waiting until there is one.

        Errors: EVENTS_LOST once after an overflow; SESSION_INVALID when the
        session ends.
        """
        queue = self._queues[session.ref]
        while not queue.events and not queue.lost:
            await _wait_in(queue)  # another call of the session may be faster
        if queue.lost:
            self._queues.pop(session.ref, None)
            raise err.EVENTS_LOST()
        events = list(queue.events)
        queue.events.clear()
        return events

    def changed(self, live: Callable[[Session], bool], generation: int) -> None:
        """Queue what changed up to ``generation`` for every registered session."""
        for ref, queue in list(self._queues.items()):
            if not live(queue.session):
                del self._queues[ref]
        if not self._queues:
            self._known.clear()  # not kept up to date while nobody listens
            return
        since, self._seen = self._seen, generation
        for event in self._events_since(since):
            for queue in self._queues.values():
                self._offer(queue, event)

    def _offer(self, queue: _Queue, event: OldEvent) -> None:
        if not queue.wants(event.cls) or queue.lost:
            return
        queue.events.append(event)
        if len(queue.events) > MAX_QUEUED:
            queue.events.clear()
            queue.lost = True
        waiting, queue.waiters = queue.waiters, []
        for waiter in waiting:
            waiter.callback(None)

    def _follow(self, name: str) -> None:
        """Keep hold of a class's objects, for the snapshots of ``del``."""
        if name not in self._known:
            self._known[name] = dict(self._db.tables[name].rows)

    def _events_since(self, since: int) -> list[OldEvent]:
        now = self._clock.seconds()
        found: list[OldEvent] = []
        for name in self._classes:
            known = self._known.get(name)
            if known is None:
                continue
            changes = self._db.changes(name, since)
            for operation, rows in (("add", changes.added), ("mod", changes.modified)):
                for row in rows:
                    known[row.ref] = row
                    record = self._record(row)
                    found.append(OldEvent(row.modified, now, name, operation, row.ref, record))
            for ref, deleted, _ in changes.deleted:
                last = known.pop(ref, None)
                if last is not None:
                    record = self._record(last)
                    found.append(OldEvent(deleted, now, name, "del", ref, record))
        found.sort(key=lambda event: event.generation)
        return found


async def _wait_in(queue: _Queue) -> None:
    """Wait until an event comes or the session ends.  Errors: SESSION_INVALID."""
    waiter: Deferred[None] = Deferred()
    queue.waiters.append(waiter)
    queue.session.blocked[waiter] = waiter.errback
    try:
        await waiter
    finally:
        queue.session.blocked.pop(waiter, None)
        if waiter in queue.waiters:
            queue.waiters.remove(waiter)

"""A feed of changed objects that a peer follows by long poll with a cursor."""

from collections import OrderedDict
from typing import Final

from twisted.internet.defer import Deferred

from xapi_py.base.reactor import Clock

DEFAULT_LIMIT: Final = 100_000

ObjectId = tuple[str, ...]
"""Kind first, then the parts of the id: ``("vm", uuid)``, ``("vbd", uuid, "xvda")``."""


class UpdateFeed:
    """Remember which objects changed, each once, at its latest position.

    A reader gets everything that changed after its cursor.  Positions only
    grow within one process; ``epoch`` tells processes apart, and a reader
    with a cursor of another epoch is told to read everything again.  ``first``
    is the position to begin after: one that grows from process to process (a
    time) makes cursors of earlier processes recognisable without an epoch.
    At most ``limit`` objects are remembered; a reader that has fallen behind
    what was forgotten is told to read everything again, too.
    """

    def __init__(
        self, reactor: Clock, epoch: str, first: int = 0, limit: int = DEFAULT_LIMIT
    ) -> None:
        self._reactor = reactor
        self._epoch = epoch
        self._position = first
        self._floor = first
        self._limit = limit
        self._changed: OrderedDict[ObjectId, int] = OrderedDict()
        self._waiting: list[Deferred[None]] = []
        self._wake_scheduled = False

    @property
    def epoch(self) -> str:
        """The name of this process's positions."""
        return self._epoch

    @property
    def cursor(self) -> int:
        """The position of the latest change."""
        return self._position

    def add(self, *identifier: str) -> int:
        """Note a change of an object and give its position."""
        self._position += 1
        self._changed[identifier] = self._position
        self._changed.move_to_end(identifier)
        if len(self._changed) > self._limit:
            _, self._floor = self._changed.popitem(last=False)
        if not self._wake_scheduled and self._waiting:
            self._wake_scheduled = True
            self._reactor.callLater(0, self._wake)
        return self._position

    def forget(self, *identifier: str) -> None:
        """Drop an object that no longer exists and that no reader needs."""
        self._changed.pop(identifier, None)

    async def get(self, epoch: str, cursor: int, timeout_s: float) -> dict[str, object]:
        """Wait for changes after ``cursor`` and give them.

        Answers ``{"epoch", "cursor", "updates": [[kind, id...], ...]}``, the
        list empty after ``timeout_s`` seconds, with ``"reset": true`` added
        when the reader must read everything again.  An empty ``epoch`` stands
        for the current one.
        """
        stale = epoch not in ("", self._epoch)
        if stale or not self._floor <= cursor <= self._position:
            return {"epoch": self._epoch, "cursor": self._position, "updates": [], "reset": True}
        if cursor == self._position and timeout_s > 0:
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            timer = self._reactor.callLater(timeout_s, self._expire, waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
                if timer.active():
                    timer.cancel()
        return {"epoch": self._epoch, "cursor": self._position, "updates": self._since(cursor)}

    def _since(self, cursor: int) -> list[list[str]]:
        found: list[list[str]] = []
        for identifier, position in reversed(self._changed.items()):
            if position <= cursor:
                break
            found.append(list(identifier))
        found.reverse()
        return found

    def _expire(self, waiter: "Deferred[None]") -> None:
        self._waiting.remove(waiter)
        waiter.callback(None)

    def _wake(self) -> None:
        self._wake_scheduled = False
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

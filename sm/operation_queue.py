"""Operations in the order they were asked for, some of them alone."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class OperationQueue:
    """Start operations in order: at most ``limit`` together, exclusive ones alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running = 0
        self._alone = False
        self._waiting: deque[tuple[Deferred[None], bool]] = deque()

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not self._running and not self._waiting

    async def run(self, work: Callable[[], Awaitable[T]], *, exclusive: bool = False) -> T:
        """Run ``work`` when its turn has come and give its result.

        An operation cancelled while it waits leaves the queue without running.
        """
        if self._waiting or not self._free(exclusive):
            turn: Deferred[None] = Deferred(self._leave)
            self._waiting.append((turn, exclusive))
            await turn
        else:
            self._take(exclusive)
        try:
            return await work()
        finally:
            self._running -= 1
            self._alone = False
            self._start_next()

    def _free(self, exclusive: bool) -> bool:
        if self._alone or self._running >= self._limit:
            return False
        return not exclusive or self._running == 0

    def _take(self, exclusive: bool) -> None:
        self._running += 1
        self._alone = exclusive

    def _leave(self, turn: "Deferred[None]") -> None:
        self._waiting = deque(entry for entry in self._waiting if entry[0] is not turn)

    def _start_next(self) -> None:
        while self._waiting and self._free(self._waiting[0][1]):
            turn, exclusive = self._waiting.popleft()
            self._take(exclusive)
            turn.callback(None)

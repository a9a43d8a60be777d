"""Long work in short turns, so that it never holds up the event loop."""

import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xapi_py.base.reactor import Clock

T = TypeVar("T")

Steps = Generator[None, None, T]
"""Work that yields wherever it may be interrupted, at least each millisecond or so."""

SLICE_S: Final = 0.004


class Slices:
    """Does several long works side by side, one slice in each turn of the loop.

    Between two slices everything that is due gets its turn, so the work must
    expect that objects change wherever it yields.
    """

    def __init__(self, clock: Clock, seconds: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._seconds = seconds
        self._waiting: deque[tuple[Steps[Any], Deferred[Any]]] = deque()

    def run(self, steps: Steps[T]) -> "T | Deferred[T]":
        """Do the work; gives its result, or a Deferred if one slice is not enough.

        Raises what the work raises.
        """
        if not self._waiting:
            done, result = self._advance(steps)
            if done:
                return result  # type: ignore[no-any-return]
            self._clock.callLater(0, self._turn)
        finished: Deferred[T] = Deferred()
        self._waiting.append((steps, finished))
        return finished

    def _advance(self, steps: Steps[T]) -> tuple[bool, Any]:
        end = self._seconds() + SLICE_S
        try:
            while self._seconds() < end:
                next(steps)
        except StopIteration as over:
            return True, over.value
        return False, None

    def _turn(self) -> None:
        steps, finished = self._waiting.popleft()
        try:
            done, result = self._advance(steps)
        except Exception:  # told to whoever waits for the work
            done, result = True, Failure()
        if not done:
            self._waiting.append((steps, finished))
        if self._waiting:
            self._clock.callLater(0, self._turn)
        if done:
            finished.callback(result)


async def finished(outcome: "T | Deferred[T]") -> T:
    """Give what ``Slices.run`` gives, once it is there."""
    return await outcome if isinstance(outcome, Deferred) else outcome

"""Waiting: for time, for several things at once, and without being cancelled."""

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from xapi_py.base.reactor import Clock

T = TypeVar("T")


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait; cancelling ends the wait at once."""
    waiter: Deferred[None] = Deferred()
    timer = clock.callLater(seconds, waiter.callback, None)
    try:
        await waiter
    finally:
        if timer.active():
            timer.cancel()


async def shielded(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end, whoever cancels; then report the cancellation.

    Gives the result of ``work`` when nobody cancelled; raises CancelledError
    after its end when somebody did and it succeeded.
    """
    # The outcome is kept aside: a Deferred whose callbacks are running, as it
    # is while it wakes us, cannot be awaited.
    outcome: list[Any] = []
    waiter: Deferred[None] | None = None

    def ended(result: object) -> None:
        outcome.append(result)
        if waiter is not None and not waiter.called:
            waiter.callback(None)

    Deferred.fromCoroutine(work).addBoth(ended)
    cancelled: CancelledError | None = None
    while not outcome:
        waiter = Deferred()
        try:
            await waiter
        except CancelledError as error:
            cancelled = error
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    if cancelled is not None:
        raise cancelled
    result: T = outcome[0]
    return result


async def gather(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all side by side and wait for all to end.

    The first failure cancels the others, and is raised once they have ended;
    being cancelled cancels all.
    """
    if len(works) == 1:
        await works[0]
        return
    group = _Group()
    group.start(works)
    cancelled: CancelledError | None = None
    while group.pending:
        group.changed = Deferred()
        try:
            await group.changed
        except CancelledError as error:
            cancelled = error
            group.cancel()
    if group.failure is not None:
        group.failure.raiseException()
    if cancelled is not None:
        raise cancelled


class _Group:
    def __init__(self) -> None:
        self.pending = 0
        self.failure: Failure | None = None
        self.changed: Deferred[None] | None = None
        self._running: list[Deferred[None]] = []

    def start(self, works: Sequence[Coroutine[Any, Any, None]]) -> None:
        self.pending = len(works)
        for work in works:
            running = Deferred.fromCoroutine(work)
            self._running.append(running)
            running.addBoth(self._ended)
            if self.failure is not None:
                running.cancel()

    def cancel(self) -> None:
        for running in self._running:
            running.cancel()

    def _ended(self, result: object) -> None:
        self.pending -= 1
        if isinstance(result, Failure) and self.failure is None:
            self.failure = result
            self.cancel()
        changed, self.changed = self.changed, None
        if self.pending == 0 and changed is not None and not changed.called:
            changed.callback(None)
        elif self.pending:
            self.changed = changed

"""Waiting: for time, and for several things at once."""

import logging
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from xapi_py.base.reactor import Clock

log = logging.getLogger(__name__)
T = TypeVar("T")


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait; cancelling ends the wait at once."""
    if seconds <= 0:
        return
    waiter: Deferred[None] = Deferred()
    timer = clock.callLater(seconds, waiter.callback, None)
    try:
        await waiter
    finally:
        if timer.active():
            timer.cancel()


async def all_of(works: Iterable[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
    """Run all side by side and wait for every one to end.

    Gives results in order, the exception in place of a result that failed.
    """
    running = [Deferred.fromCoroutine(work) for work in works]
    outcomes = await DeferredList(running, consumeErrors=True)
    return [value if fine else value.value for fine, value in outcomes]  # type: ignore[attr-defined]


async def at_most(clock: Clock, seconds: float, work: "Deferred[Any]") -> None:
    """Wait for something that goes on by itself, but not longer than ``seconds``."""
    waiter: Deferred[None] = Deferred()
    timer = clock.callLater(seconds, waiter.callback, None)

    def ended(result: Any) -> Any:
        if timer.active():
            timer.cancel()
            waiter.callback(None)
        return result

    work.addBoth(ended)
    await waiter


async def shielded(running: Deferred[T]) -> T:
    """Wait for work; who stops waiting does not stop it."""
    waiter: Deferred[T] = Deferred()

    def done(value: T) -> T:
        if not waiter.called:
            waiter.callback(value)
        return value

    def failed(failure: Failure) -> None:
        if not waiter.called:
            waiter.errback(failure)
        else:
            log.info("work nobody waits for failed: %s", failure.getErrorMessage())

    running.addCallbacks(done, failed)
    return await waiter

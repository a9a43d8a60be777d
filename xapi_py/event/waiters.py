"""Clients that wait for changes: one timer and one answer each serve them all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from xapi_py.base.reactor import Clock, Timer
from xapi_py.event.subscription import Subscription
from xapi_py.session.sessions import Session


@dataclass(slots=True, eq=False)
class Waiter:
    """A client that waits for changes of ``classes`` after ``since``."""

    session: Session
    subscription: Subscription
    classes: frozenset[str]
    since: int
    deadline: float


class Waiters:
    """All waiting clients, in the order they came.

    ``expired`` is called for each whose deadline has passed, and has to
    answer it.  A client that leaves or whose session ends is forgotten.
    """

    def __init__(self, clock: Clock, expired: Callable[[Waiter], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._answers: dict[Waiter, Deferred[Any]] = {}
        self._timer: Timer | None = None
        self._due = 0.0

    def __iter__(self) -> Iterator[Waiter]:
        return iter(tuple(self._answers))

    def add(self, waiter: Waiter) -> "Deferred[Any]":
        """Give what fires with the answer.  Errors: SESSION_INVALID."""

        def left(_: object) -> None:
            self._forget(waiter)

        answer = self._answers[waiter] = Deferred(left)
        waiter.session.blocked[waiter] = lambda error: self._forget(waiter).errback(error)
        if self._timer is None or waiter.deadline < self._due:
            self._arm(waiter.deadline)
        return answer

    def answer(self, waiter: Waiter, value: object) -> None:
        """Answer one of them; nothing if it left meanwhile."""
        if waiter in self._answers:
            self._forget(waiter).callback(value)

    def _forget(self, waiter: Waiter) -> "Deferred[Any]":
        waiter.session.blocked.pop(waiter, None)
        return self._answers.pop(waiter)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for waiter in self:
            if waiter.deadline <= now:
                self._expired(waiter)
        if self._answers:
            self._arm(min(waiter.deadline for waiter in self._answers))

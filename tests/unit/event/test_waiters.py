"""Clients that wait: deadlines by one timer, and those that leave."""

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.event.subscription import Subscription
from xapi_py.event.waiters import Waiter, Waiters
from xapi_py.session.sessions import Session


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.session = Session(ref=Ref("OpaqueRef:s"), user_name="root")
        self.waiters = Waiters(self.clock, lambda waiter: self.waiters.answer(waiter, "expired"))
        self.outcomes: dict[str, Any] = {}

    def wait(self, name: str, seconds: float) -> Any:
        deadline = self.clock.seconds() + seconds
        waiter = Waiter(self.session, Subscription(), frozenset(), 0, deadline)
        answer = self.waiters.add(waiter)
        answer.addBoth(lambda outcome: self.outcomes.__setitem__(name, outcome))
        return answer


def test_each_waits_as_long_as_it_asked_for_with_one_timer() -> None:
    world = World()
    for name, seconds in (("long", 9.0), ("short", 2.0), ("middle", 5.0)):
        world.wait(name, seconds)
    assert len(world.clock.getDelayedCalls()) == 1
    seen = []
    for _ in range(10):
        seen.append(sorted(world.outcomes))
        world.clock.advance(1.0)
    assert seen[2] == ["short"] and seen[1] == []
    assert seen[5] == ["middle", "short"] and seen[4] == ["short"]
    assert seen[9] == ["long", "middle", "short"] and seen[8] == ["middle", "short"]
    assert world.clock.getDelayedCalls() == [] and list(world.waiters) == []


def test_one_that_is_answered_is_not_answered_again() -> None:
    world = World()
    world.wait("a", 3.0)
    (waiter,) = world.waiters
    world.waiters.answer(waiter, "batch")
    world.waiters.answer(waiter, "again")
    world.clock.advance(10.0)
    assert world.outcomes == {"a": "batch"} and world.session.blocked == {}


def test_those_who_leave_and_those_whose_session_ends_are_forgotten() -> None:
    world = World()
    world.wait("left", 3.0).cancel()
    world.wait("ended", 3.0)
    (end,) = world.session.blocked.values()
    end(err.SESSION_INVALID(NULL_REF))
    assert world.outcomes["left"].check(CancelledError)
    assert world.outcomes["ended"].value.code == "SESSION_INVALID"
    assert list(world.waiters) == [] and world.session.blocked == {}

"""Turns on VMs."""

from twisted.internet.defer import Deferred

from xenops.queues import VmQueues


class Place:
    """Somebody who takes a turn, and works until ``end`` fires."""

    def __init__(self, queues: VmQueues) -> None:
        self.works = False
        self.end: Deferred[None] = Deferred()
        self.coroutine = self._work(queues)
        self.ended = Deferred.fromCoroutine(self.coroutine)

    async def _work(self, queues: VmQueues) -> None:
        async with queues.turn("vm"):
            self.works = True
            await self.end
        self.works = False


def test_turns_come_in_order_and_an_error_gives_its_turn_on() -> None:
    queues = VmQueues()
    first, second, third = Place(queues), Place(queues), Place(queues)
    assert [p.works for p in (first, second, third)] == [True, False, False]
    first.ended.addErrback(lambda failure: failure.trap(ValueError))
    first.end.errback(ValueError())
    assert [second.works, third.works] == [True, False]
    second.end.callback(None)
    assert [second.works, third.works] == [False, True]
    third.end.callback(None)
    assert not queues.busy("vm")


def test_who_leaves_the_queue_is_passed_over() -> None:
    queues = VmQueues()
    first, second, third = Place(queues), Place(queues), Place(queues)
    second.ended.addErrback(lambda failure: None)
    second.ended.cancel()
    first.end.callback(None)
    assert [second.works, third.works] == [False, True]


def test_nobody_goes_on_when_the_holder_is_collected() -> None:
    """As at the end of the process, when whoever goes on would touch the domains."""
    queues = VmQueues()
    first, second = Place(queues), Place(queues)
    first.coroutine.close()
    assert not second.works

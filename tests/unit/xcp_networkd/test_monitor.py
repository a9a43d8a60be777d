from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from xcp_networkd.contract import Link
from xcp_networkd.monitor import POLL_MAX_S, POLL_S, Monitor


class ReactorClock(Clock):
    def addReader(self, reader: object) -> None: ...

    def removeReader(self, reader: object) -> None: ...


class SlowBackend:
    """Devices that take a while to look at."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.takes_s = 0.0
        self.looks: list[float] = []

    async def links(self) -> dict[str, Link]:
        self.looks.append(self.clock.seconds())
        looked: Deferred[None] = Deferred()
        self.clock.callLater(self.takes_s, looked.callback, None)
        await looked
        return {}


@pytest.fixture
def bench() -> Iterator[SlowBackend]:
    clock = ReactorClock()
    backend = SlowBackend(clock)
    nothing: Any = None
    monitor = Monitor(backend, nothing, nothing, clock)  # type: ignore[arg-type]
    Deferred.fromCoroutine(monitor.start())
    clock.advance(0)
    yield backend
    monitor.stop()


@pytest.mark.parametrize("takes_s, pause_s", [(0.01, POLL_S), (0.25, 5.0), (3.0, POLL_MAX_S)])
def test_looks_that_take_long_are_made_less_often(
    bench: SlowBackend, takes_s: float, pause_s: float
) -> None:
    bench.takes_s = takes_s
    for _ in range(3000):
        bench.clock.advance(0.01)
    *_, before, last = bench.looks
    assert last - before == pytest.approx(pause_s, abs=0.05)

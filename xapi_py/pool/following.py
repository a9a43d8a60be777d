"""Following a daemon's update feed: the loop that all consumers share."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.errors import RpcError, RpcInternalError, RpcTimeout, RpcUnreachable
from xapi_py.base.waiting import sleep
from xapi_py.pool.gateway import Daemon

log = logging.getLogger(__name__)

POLL_S = 30.0
FIRST_RETRY_S = 0.05
LAST_RETRY_S = 2.0
TROUBLE = (RpcError, RpcInternalError, RpcTimeout, RpcUnreachable)


def result_of(answer: object) -> Any:
    """Take the result out of the envelope that tells how far updates must be read."""
    if isinstance(answer, dict) and "cursor" in answer and "result" in answer:
        return answer["result"]
    return answer


class Following(ABC):
    """The consumer of one daemon's update feed; ``start`` it once, ``stop`` it at the end.

    After a restart of either side, and when the daemon could not be reached,
    everything is read again.
    """

    asks: ClassVar[Mapping[str, Any]] = {}
    """What is asked of the feed besides its changes."""

    def __init__(self, name: str, daemon: Daemon, clock: Clock) -> None:
        self._name = name
        self._daemon = daemon
        self._clock = clock
        self._epoch = ""
        self._cursor = 0
        self._in_step = False
        self._running: Deferred[None] | None = None
        self._synced: list[Deferred[None]] = []

    @abstractmethod
    async def read_all(self) -> None:
        """Bring the database in step with everything the daemon knows."""

    @abstractmethod
    async def read_changed(self, answer: Mapping[str, Any]) -> None:
        """Bring the database in step with the objects named in ``answer["updates"]``."""

    def start(self) -> None:
        """Follow the daemon until ``stop``; lost connections are made again."""
        self._running = Deferred.fromCoroutine(self._follow())
        self._running.addErrback(ended_badly)

    def stop(self) -> None:
        """End following."""
        if self._running is not None:
            self._running.cancel()

    async def synced(self) -> None:
        """Wait until the database shows the daemon's state once."""
        if not self._in_step:
            waiter: Deferred[None] = Deferred()
            self._synced.append(waiter)
            await waiter

    async def _follow(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            try:
                await self.step()
                retry_s = FIRST_RETRY_S
                continue
            except CancelledError:
                raise
            except TROUBLE as problem:
                log.info("%s cannot be followed: %s", self._name, problem)
            except Exception:  # outermost: one bad report must not stop all others
                log.exception("a report of %s cannot be used", self._name)
            self._in_step = False
            self._daemon.restarted()
            await sleep(self._clock, retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)

    async def step(self) -> None:
        """Wait for one batch of changes and write it."""
        wait_s = POLL_S if self._in_step else 0.0
        params = {"epoch": self._epoch, "cursor": self._cursor, "timeout_s": wait_s, **self.asks}
        answer: Any = await self._daemon.updates(params, POLL_S)
        if answer.get("reset") or not self._in_step:
            await self.read_all()
            self._daemon.restarted()  # calls that wait for old cursors: their effects are here
            self._epoch = answer["epoch"]
        elif answer["updates"]:
            await self.read_changed(answer)
        self._cursor = answer["cursor"]
        self._daemon.processed(self._cursor)
        self._note_in_step()

    def _note_in_step(self) -> None:
        self._in_step = True
        waiting, self._synced = self._synced, []
        for waiter in waiting:
            waiter.callback(None)


def ended_badly(failure: Failure) -> None:
    """Log work of a consumer that failed; one that was cancelled is no failure."""
    if not failure.check(CancelledError):
        log.error("following a daemon ended\n%s", failure.getTraceback())

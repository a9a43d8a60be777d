"""Room for disks that grow while they are written to: made ahead, time and again."""

import logging
from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred

from xapi_py.base.rpc.errors import RpcError

log = logging.getLogger(__name__)


class Growth:
    """Calls ``look`` every ``every_s`` seconds while it says that disks are in use.

    ``every_s`` 0: never.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[int]],
        sleep: Callable[[float], Awaitable[None]],
        every_s: float,
    ) -> None:
        self._look = look
        self._sleep = sleep
        self._every_s = every_s
        self._running = False
        self.over = False

    def begin(self) -> None:
        """A disk is in use from now on."""
        if self._every_s and not self._running and not self.over:
            self._running = True
            running = Deferred.fromCoroutine(self._watch())
            running.addErrback(lambda failure: log.error("disks grow unwatched: %s", failure))

    async def _watch(self) -> None:
        try:
            watched = 1
            while watched:
                await self._sleep(self._every_s)
                if self.over:
                    return
                try:
                    watched = await self._look()
                except RpcError as problem:
                    log.warning("there may be no room for disks to grow: %s", problem)
        finally:
            self._running = False

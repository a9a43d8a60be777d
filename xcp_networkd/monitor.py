"""Notice what changes by itself: carrier, speed, addresses, bond members, devices that come."""

import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xapi_py.base.rpc.updates import UpdateFeed
from xcp_networkd import plan
from xcp_networkd.contract import Backend, Link
from xcp_networkd.desired import DesiredNetwork
from xcp_networkd.netlink import codec

log = logging.getLogger(__name__)

POLL_S: Final = 2.0
"""How often speed, duplex and LACP are looked at, which nothing announces."""
REST: Final = 20
"""A look is followed by a pause of so many times what it took: many devices, or a slow machine."""
POLL_MAX_S: Final = 10.0
_GROUPS: Final = 1 | 1 << 4 | 1 << 8  # links, IPv4 and IPv6 addresses
_RECEIVE_BYTES: Final = 1 << 17


class Monitor:
    """Compare the devices with what they were, when the kernel says so and now and then."""

    def __init__(
        self, backend: Backend, desired: DesiredNetwork, feed: UpdateFeed, reactor: Any
    ) -> None:
        self._backend = backend
        self._desired = desired
        self._feed = feed
        self._reactor = reactor
        self._known: dict[str, Link] = {}
        self._looking = False
        self._again = False
        self._began_s = 0.0
        self._took_s = 0.0
        self._timer: Any = None
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setblocking(False)
        self._socket.bind((0, _GROUPS))

    async def start(self) -> None:
        """Remember how everything is now and follow it from here on."""
        self._known = await self._backend.links()
        self._reactor.addReader(self)
        self._timer = self._reactor.callLater(POLL_S, self._tick)

    def stop(self) -> None:
        self._reactor.removeReader(self)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._socket.close()

    # What the reactor asks of a reader.
    def fileno(self) -> int:
        return self._socket.fileno()

    def connectionLost(self, reason: object) -> None:  # noqa: N802
        log.error("the kernel's notices ended: %s", reason)

    def logPrefix(self) -> str:  # noqa: N802
        return "network monitor"

    def doRead(self) -> None:  # noqa: N802
        """Drain the socket; what it says is found by looking, so a lost notice does no harm."""
        concerns = False
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                break
            except OSError:
                concerns = True
                break
            concerns = concerns or any(m.kind != codec.ERROR for m in codec.messages(data))
        if concerns:
            self._look()

    def _tick(self) -> None:
        pause_s = min(POLL_MAX_S, max(POLL_S, REST * self._took_s))
        self._timer = self._reactor.callLater(pause_s, self._tick)
        self._look()

    def _look(self) -> None:
        self._again = self._looking
        if not self._looking:
            self._looking = True
            self._began_s = self._reactor.seconds()
            Deferred.fromCoroutine(self._compare()).addBoth(self._looked)

    def _looked(self, outcome: object) -> None:
        self._looking = False
        self._took_s = self._reactor.seconds() - self._began_s
        if isinstance(outcome, Failure):
            log.warning("looking at the devices failed: %s", outcome.value)
        if self._again and self._timer is not None:
            self._look()

    async def _compare(self) -> None:
        found = await self._backend.links()
        names = changed(self._known, found)
        came = [n for n in found if n not in self._known and found[n].kind == "nic"]
        self._known = found
        for name in sorted({above for n in names for above in plan.above(self._desired.state, n)}):
            self._feed.add("interface", name)
        if any(plan.wants(self._desired.state, name) for name in came):
            await _logged(self._desired.change, lambda state: state)


async def _logged(work: Callable[..., Awaitable[None]], /, *arguments: object) -> None:
    try:
        await work(*arguments)
    except Exception as problem:
        log.warning("a device that came could not be set up: %s", problem)


def changed(before: dict[str, Link], after: dict[str, Link]) -> set[str]:
    """The devices that came, went or are different, but for those of virtual machines."""
    names = {n for n in {*before, *after} if before.get(n) != after.get(n)}
    return {
        n for n in names if any(n in links and links[n].kind != "vif" for links in (before, after))
    }

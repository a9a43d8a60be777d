"""The daemons of every host, behind one interface wherever the host is.

The master reaches its own daemons over their unix sockets; a member's through
that member's gateway.  Calls are the same.
"""

from collections.abc import Mapping
from typing import Protocol

from twisted.internet.defer import Deferred

from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err


class Caller(Protocol):
    """Something that calls a daemon's methods; ``xapi_py.base.rpc.client.RpcClient``."""

    async def call(
        self,
        method: str,
        params: dict[str, object] | None = None,
        *,
        dbg: str = "",
        deadline_s: float = 60.0,
    ) -> object: ...


class Daemon:
    """One daemon of one host.

    Calls that change something answer only once the daemon's updates caused by
    them have reached the database, so what a client reads next is current.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._reached = 0
        self._waiting: list[tuple[int, Deferred[None]]] = []

    async def call(
        self, method: str, params: Mapping[str, object], *, dbg: str = "", deadline_s: float = 60.0
    ) -> object:
        """Call a method and give its result.

        Errors: RpcError and the other exceptions of ``xapi_py.base.rpc.errors``.
        """
        answer = await self._caller.call(method, dict(params), dbg=dbg, deadline_s=deadline_s)
        if isinstance(answer, dict) and "cursor" in answer and "result" in answer:
            await self._wait_for(int(answer["cursor"]))
            return answer["result"]
        return answer

    async def read(self, method: str, params: Mapping[str, object], *, dbg: str = "") -> object:
        """Call a method that changes nothing."""
        return await self._caller.call(method, dict(params), dbg=dbg)

    async def updates(self, params: Mapping[str, object], timeout_s: float) -> object:
        """Wait for changes: one long poll of the daemon's update feed."""
        return await self._caller.call(
            "UPDATES.get", dict(params), dbg="updates", deadline_s=timeout_s + 30.0
        )

    def processed(self, cursor: int) -> None:
        """Note that updates up to ``cursor`` are in the database."""
        self._reached = cursor
        ready = [w for w in self._waiting if w[0] <= cursor]
        if ready:
            self._waiting = [w for w in self._waiting if w[0] > cursor]
            for _, waiter in ready:
                waiter.callback(None)

    def restarted(self) -> None:
        """Note that the daemon started afresh: its old cursors mean nothing."""
        self._reached = 0
        waiting, self._waiting = self._waiting, []
        for _, waiter in waiting:
            waiter.callback(None)

    async def _wait_for(self, cursor: int) -> None:
        if cursor <= self._reached:
            return
        entry: tuple[int, Deferred[None]]
        waiter: Deferred[None] = Deferred(lambda _: self._waiting.remove(entry))
        entry = (cursor, waiter)
        self._waiting.append(entry)
        await waiter


class HostGateway:
    """The daemons of one host."""

    def __init__(self, host: Ref, xenops: Daemon, sm: Daemon, networkd: Daemon) -> None:
        self.host = host
        self.xenops = xenops
        self.sm = sm
        self.networkd = networkd


class Hosts:
    """The gateways of all live hosts, by reference."""

    def __init__(self) -> None:
        self._gateways: dict[str, HostGateway] = {}

    def add(self, gateway: HostGateway) -> None:
        """Make a host reachable."""
        self._gateways[gateway.host] = gateway

    def remove(self, host: Ref) -> None:
        """Note that a host cannot be reached any more."""
        self._gateways.pop(host, None)

    def get(self, host: Ref) -> HostGateway:
        """Give the daemons of a host.  Errors: HOST_OFFLINE."""
        gateway = self._gateways.get(host)
        if gateway is None:
            raise err.HOST_OFFLINE(host)
        return gateway

    def live(self) -> list[HostGateway]:
        """Give the gateways of all live hosts."""
        return list(self._gateways.values())

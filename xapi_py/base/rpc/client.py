"""The calling side of the internal RPC."""

from typing import Any, Final, cast

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as TwistedProtocol

from xapi_py.base.reactor import ByteTransport, Clock, Timer
from xapi_py.base.rpc import framing
from xapi_py.base.rpc.errors import (
    DAEMON_ERROR,
    RpcError,
    RpcInternalError,
    RpcTimeout,
    RpcUnreachable,
)
from xapi_py.base.waiting import sleep

DEFAULT_DEADLINE_S: Final = 60.0
DEADLINE_GRACE_S: Final = 5.0
"""How much longer than the daemon the caller waits before it gives up."""

RETRY_S: Final = 0.1
"""Between two attempts to connect to a daemon that is not there."""


class _Call:
    """One call that waits for its answer."""

    __slots__ = ("result", "timer")

    def __init__(self, result: "Deferred[object]", timer: Timer) -> None:
        self.result = result
        self.timer = timer


class _ClientProtocol(TwistedProtocol):
    def __init__(self) -> None:
        self._decoder = framing.FrameDecoder()
        self.pending: dict[int, _Call] = {}

    @property
    def bytes_out(self) -> ByteTransport:
        return cast(ByteTransport, self.transport)

    def dataReceived(self, data: bytes) -> None:
        try:
            for message in self._decoder.feed(data):
                self._answer(message)
        except framing.FrameError:
            self.bytes_out.abortConnection()

    def _answer(self, message: object) -> None:
        if not isinstance(message, dict):
            return
        identifier = message.get("id")
        call = self.pending.pop(identifier, None) if isinstance(identifier, int) else None
        if call is None:
            return
        if call.timer.active():
            call.timer.cancel()
        problem = message.get("error")
        if problem is None:
            call.result.callback(message.get("result"))
        elif problem.get("code") == DAEMON_ERROR:
            call.result.errback(RpcError(problem["message"], *problem.get("data", ())))
        else:
            call.result.errback(RpcInternalError(problem.get("message", "unknown failure")))

    def connectionLost(self, reason: object = None) -> None:  # type: ignore[override]
        self.connected = 0  # Twisted leaves it set: the next call would wait for nobody
        pending, self.pending = self.pending, {}
        for call in pending.values():
            if call.timer.active():
                call.timer.cancel()
            call.result.errback(RpcUnreachable("connection lost before the answer"))


class RpcClient:
    """Call the methods of one daemon over its unix socket.

    The connection is made at the first call and again at the first call after
    it was lost.  Calls run side by side and may be answered in any order.
    A call made while the daemon is not there waits up to ``patience_s`` for
    it to come back; one that was sent is never sent again.
    """

    def __init__(self, reactor: Clock, path: str, patience_s: float = 0.0) -> None:
        self._reactor = reactor
        self._path = path
        self._patience_s = patience_s
        self._next_id = 0
        self._protocol: _ClientProtocol | None = None
        self._connecting: list[Deferred[_ClientProtocol]] | None = None

    async def call(
        self,
        method: str,
        params: dict[str, object] | None = None,
        *,
        dbg: str = "",
        deadline_s: float = DEFAULT_DEADLINE_S,
    ) -> object:
        """Call ``method`` with parameters by name and give its result.

        Errors: RpcError named by the daemon, RpcInternalError when it failed
        otherwise, RpcUnreachable, RpcTimeout after ``deadline_s`` (and some
        grace).  Cancelling the awaiting Deferred cancels the call in the daemon.
        """
        protocol = await self._connected()
        self._next_id += 1
        identifier = self._next_id
        result: Deferred[object] = Deferred(lambda _: self._cancel(protocol, identifier))
        timer = self._reactor.callLater(
            deadline_s + DEADLINE_GRACE_S, self._expire, protocol, identifier, method
        )
        protocol.pending[identifier] = _Call(result, timer)
        self._send(
            protocol,
            {
                "jsonrpc": "2.0",
                "id": identifier,
                "method": method,
                "params": params or {},
                "dbg": dbg,
                "deadline_s": deadline_s,
            },
        )
        return await result

    def close(self) -> None:
        """Drop the connection; calls under way fail with RpcUnreachable."""
        protocol, self._protocol = self._protocol, None
        if protocol is not None and protocol.connected:
            protocol.bytes_out.loseConnection()

    def _send(self, protocol: _ClientProtocol, message: dict[str, object]) -> None:
        protocol.bytes_out.write(framing.encode(message))

    def _cancel(self, protocol: _ClientProtocol, identifier: int) -> None:
        call = protocol.pending.pop(identifier, None)
        if call is None:
            return
        if call.timer.active():
            call.timer.cancel()
        self._send(protocol, {"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": identifier}})

    def _expire(self, protocol: _ClientProtocol, identifier: int, method: str) -> None:
        call = protocol.pending.pop(identifier, None)
        if call is not None:
            call.result.errback(RpcTimeout(method))

    async def _connected(self) -> _ClientProtocol:
        protocol = self._protocol
        if protocol is not None and protocol.connected:
            return protocol
        if self._connecting is not None:
            waiter: Deferred[_ClientProtocol] = Deferred()
            self._connecting.append(waiter)
            return await waiter
        self._connecting = []
        try:
            fresh = await self._connect()
        except CancelledError:
            self._release(RpcUnreachable(f"{self._path}: connecting was cancelled"))
            raise
        except error.ConnectError as problem:
            failure = RpcUnreachable(f"{self._path}: {problem}")
            self._release(failure)
            raise failure from problem
        self._protocol = fresh
        self._release(fresh)
        return fresh

    async def _connect(self) -> _ClientProtocol:
        """Connect, again and again while there is patience.  Errors: ConnectError."""
        endpoint = UNIXClientEndpoint(cast(Any, self._reactor), self._path)
        end = self._reactor.seconds() + self._patience_s
        while True:
            try:
                protocol: _ClientProtocol = await endpoint.connect(
                    Factory.forProtocol(_ClientProtocol)
                )
                return protocol
            except error.ConnectError:
                if self._reactor.seconds() >= end:
                    raise
            await sleep(self._reactor, RETRY_S)

    def _release(self, outcome: _ClientProtocol | RpcUnreachable) -> None:
        waiters, self._connecting = self._connecting or [], None
        for waiter in waiters:
            if isinstance(outcome, RpcUnreachable):
                waiter.errback(RpcUnreachable(*outcome.args))
            else:
                waiter.callback(outcome)

"""Bytes between a client's connection and a unix socket, with back-pressure both ways."""

import logging
from collections.abc import Callable
from typing import Any

from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

log = logging.getLogger(__name__)

Decode = Callable[[bytes], bytes]
"""Turns bytes as they came into bytes for the other side; may raise Finished."""


class Finished(Exception):
    """The peer said that it is done; ``last`` is still to be sent to it."""

    def __init__(self, last: bytes = b"") -> None:
        super().__init__()
        self.last = last


def _unchanged(data: bytes) -> bytes:
    return data


class _Far(Protocol):
    """The end on the unix socket."""

    def __init__(self, near: "Relay") -> None:
        self._near = near

    def connectionMade(self) -> None:
        self._near.far_connected(self)

    def dataReceived(self, data: bytes) -> None:
        self._near.from_far(data)

    def connectionLost(self, reason: object = None) -> None:  # type: ignore[override]
        self._near.close()


class Relay(Protocol):
    """Owns a client's connection and joins it to the unix socket at ``path``.

    What the client sends before the socket is connected is kept.  When either
    end closes, the other one is closed too.  ``from_client`` and ``to_client``
    translate between the two, for WebSocket frames.
    """

    def __init__(
        self,
        reactor: Any,
        path: str,
        from_client: Decode = _unchanged,
        to_client: Decode = _unchanged,
    ) -> None:
        self._reactor = reactor
        self._path = path
        self._from_client = from_client
        self._to_client = to_client
        self._far: Any = None
        self._early: list[bytes] = []
        self._closed = False

    def connectionMade(self) -> None:
        endpoint = UNIXClientEndpoint(self._reactor, self._path)
        endpoint.connect(Factory.forProtocol(lambda: _Far(self))).addErrback(self._unreachable)

    def far_connected(self, far: _Far) -> None:
        """Start relaying; what came early goes first."""
        self._far = far.transport
        if self._closed:
            self._far.loseConnection()
            return
        transport: Any = self.transport
        transport.registerProducer(self._far, True)
        self._far.registerProducer(transport, True)
        early, self._early = self._early, []
        for data in early:
            self._far.write(data)

    def dataReceived(self, data: bytes) -> None:
        try:
            decoded = self._from_client(data)
        except Finished as finished:
            self._write(finished.last)
            self.close()
            return
        if self._far is None:
            self._early.append(decoded)
        elif decoded:
            self._far.write(decoded)

    def from_far(self, data: bytes) -> None:
        """Pass on what the unix socket sent."""
        self._write(self._to_client(data))

    def connectionLost(self, reason: object = None) -> None:  # type: ignore[override]
        self.close()

    def close(self) -> None:
        """Close both ends."""
        if self._closed:
            return
        self._closed = True
        ends: tuple[Any, Any] = (self.transport, self._far)
        for transport in ends:
            if transport is not None:
                transport.unregisterProducer()
                transport.loseConnection()

    def _write(self, data: bytes) -> None:
        transport: Any = self.transport
        if data and not self._closed and transport is not None:
            transport.write(data)

    def _unreachable(self, failure: Failure) -> None:
        log.warning("a console cannot be reached: %s", failure.value)
        self.close()

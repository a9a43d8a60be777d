"""The factory of HTTP connections: limits, deadlines, shutdown."""

import logging
from typing import Final

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory

from xapi_py.base.reactor import Clock, Timer
from xapi_py.http.answering import Limits
from xapi_py.http.connection import HttpConnection
from xapi_py.http.routes import Routes

log = logging.getLogger(__name__)

_SWEEP_S: Final = 1.0


class HttpServer(ServerFactory):
    """Makes connections that serve ``routes``.

    ``kind`` says what its listener accepts: "tcp", "tls" or "unix".  Beyond
    ``limits.connections`` open ones a new connection is dropped at once.
    """

    noisy = False

    def __init__(
        self, routes: Routes, clock: Clock, limits: Limits | None = None, kind: str = "tcp"
    ) -> None:
        self.routes = routes
        self.limits = limits or Limits()
        self.kind = kind
        self._clock = clock
        self._connections: set[HttpConnection] = set()
        self._sweep: Timer | None = None
        self._refused = 0

    @property
    def open_connections(self) -> int:
        """The number of connections now open."""
        return len(self._connections)

    def buildProtocol(self, addr: IAddress | None) -> HttpConnection | None:
        if len(self._connections) >= self.limits.connections:
            self._refused += 1
            if self._refused % 100 == 1:
                log.warning("%d connections open: refused %d", self.open_connections, self._refused)
            return None
        connection = HttpConnection(self.routes, self.limits, self._clock.seconds, self.kind)
        connection.on_closed = self._connections.discard
        self._connections.add(connection)
        if self._sweep is None or not self._sweep.active():
            self._sweep = self._clock.callLater(_SWEEP_S, self._check)
        return connection

    def stopFactory(self) -> None:
        if self._sweep is not None and self._sweep.active():
            self._sweep.cancel()

    def close_all(self) -> None:
        """Drop every connection."""
        for connection in tuple(self._connections):
            connection.abort()

    def _check(self) -> None:
        now = self._clock.seconds()
        for connection in tuple(self._connections):
            connection.check_deadline(now)
        if self._connections:
            self._sweep = self._clock.callLater(_SWEEP_S, self._check)

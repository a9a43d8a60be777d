"""Consoles of simulated guests, on unix sockets made when somebody wants to look."""

import logging
from pathlib import Path
from typing import Any, Literal, cast

from twisted.internet.protocol import Factory, Protocol

from xapi_py.base.reactor import ByteTransport
from xenops.backends.simulator.screen import GradientScreen
from xenops.console.rfb import RfbError, RfbServer

log = logging.getLogger(__name__)

ConsoleProtocol = Literal["rfb", "vt100"]
SUFFIX = {"rfb": "vnc", "vt100": "tty"}


class _Vnc(Protocol):
    def __init__(self, name: str) -> None:
        self._server = RfbServer(name, GradientScreen())

    def connectionMade(self) -> None:
        cast(ByteTransport, self.transport).write(self._server.greeting())

    def dataReceived(self, data: bytes) -> None:
        transport = cast(ByteTransport, self.transport)
        try:
            transport.write(self._server.feed(data))
        except RfbError as error:
            log.info("closing a console: %s", error)
            transport.abortConnection()


class _Text(Protocol):
    def __init__(self, name: str) -> None:
        self._prompt = f"\r\n{name} login: ".encode()

    def connectionMade(self) -> None:
        cast(ByteTransport, self.transport).write(self._prompt)

    def dataReceived(self, data: bytes) -> None:
        echo = data.replace(b"\r", b"\r\n").replace(b"\x1b", b"")
        ended = data.endswith((b"\r", b"\n"))
        cast(ByteTransport, self.transport).write(echo + (self._prompt if ended else b""))


class _Server(Factory):
    noisy = False

    def __init__(self, protocol: ConsoleProtocol, name: str) -> None:
        self._kind = _Vnc if protocol == "rfb" else _Text
        self._name = name

    def buildProtocol(self, addr: object) -> Protocol:
        return self._kind(self._name)


class Consoles:
    """The sockets that are open, by domain.

    ``folder`` should have a short path: socket paths end at 107 bytes.
    """

    def __init__(self, reactor: Any, folder: Path) -> None:
        self._reactor = reactor
        self._folder = folder
        self._open: dict[int, dict[str, Any]] = {}

    def path(self, domid: int, protocol: ConsoleProtocol) -> str:
        """Give where a console is, once opened."""
        return str(self._folder / f"console-{domid}.{SUFFIX[protocol]}")

    def open(self, domid: int, protocol: ConsoleProtocol, name: str) -> str:
        """Make sure that somebody listens and give the path."""
        ports = self._open.setdefault(domid, {})
        path = self.path(domid, protocol)
        if protocol not in ports:
            Path(path).unlink(missing_ok=True)
            ports[protocol] = self._reactor.listenUNIX(path, _Server(protocol, name), mode=0o600)
        return path

    def close(self, domid: int) -> None:
        """Listen no longer; open connections stay until their ends close them."""
        for port in self._open.pop(domid, {}).values():
            port.stopListening()

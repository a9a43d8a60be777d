"""Consoles of guests: a text terminal from xenconsoled, or the screen of the emulator.

Each is served on a unix socket that is made when somebody wants to look.  A
text console is read from the start, so that what the guest wrote at boot can
still be seen; it is served as it is (vt100) and as a picture (rfb).
"""

import contextlib
import logging
import os
import termios
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, cast

from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

from xapi_py.base.reactor import ByteTransport
from xenops import errors
from xenops.backends.contract import Console
from xenops.backends.xen import paths
from xenops.backends.xen.device_model import DeviceModel
from xenops.backends.xen.devices.surroundings import Domain, Domains, Host
from xenops.console.key_translation import KeyTranslation
from xenops.console.rfb import RfbError, RfbServer
from xenops.console.text_screen import TextScreen
from xenops.metadata import VmMetadata
from xenops.xenstore.client import Watch

log = logging.getLogger(__name__)

ConsoleProtocol = Literal["rfb", "vt100"]
SUFFIX: Final = {"rfb": "vnc", "vt100": "tty"}
KEPT: Final = 64 * 1024
"""Bytes of a text console that are shown to who connects later."""

READ_SIZE: Final = 16 * 1024
MAX_UNREAD: Final = 1024 * 1024
"""A viewer that reads so much slower than its guest writes is hung up on."""


class TextConsole:
    """A guest's terminal: what it has written, and who looks."""

    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor = reactor
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(termios.error):
            tty.setraw(self._fd)
        self._kept = b""
        self._viewers: list[Callable[[bytes], None]] = []
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:  # noqa: N802
        return "console"

    def doRead(self) -> None:  # noqa: N802
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # the other end of a pseudo terminal is gone
        if not data:
            self.close()
            return
        self._kept = (self._kept + data)[-KEPT:]
        for viewer in list(self._viewers):
            viewer(data)

    def connectionLost(self, reason: object) -> None:  # noqa: N802
        """The reactor stops."""

    def look(self, viewer: Callable[[bytes], None]) -> Callable[[], None]:
        """Show what was written and what will be; gives how to stop that."""
        viewer(self._kept)
        self._viewers.append(viewer)
        return lambda: self._viewers.remove(viewer) if viewer in self._viewers else None

    def type(self, data: bytes) -> None:
        """Send keys; what the guest does not take at once is lost."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.write(self._fd, data)

    def close(self) -> None:
        """Let the terminal go."""
        if self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1


class _Viewer(Protocol):
    """Somebody who looks at a text console as it is."""

    def __init__(self, console: TextConsole) -> None:
        self._console = console
        self._stop: Callable[[], None] = lambda: None

    def connectionMade(self) -> None:
        self._stop = self._console.look(self._show)

    def _show(self, data: bytes) -> None:
        send(cast(ByteTransport, self.transport), data)

    def dataReceived(self, data: bytes) -> None:
        self._console.type(data)

    def connectionLost(self, reason: object = None) -> None:
        self._stop()


class _VncViewer(Protocol):
    """Somebody who looks at a text console as a picture."""

    def __init__(self, console: TextConsole, name: str) -> None:
        self._console = console
        self._screen = TextScreen(console.type)
        self._server = RfbServer(name, self._screen)
        self._stop: Callable[[], None] = lambda: None

    def connectionMade(self) -> None:
        cast(ByteTransport, self.transport).write(self._server.greeting())
        self._stop = self._console.look(self._show)

    def _show(self, data: bytes) -> None:
        self._screen.feed(data)
        more = self._server.more()
        if more:
            cast(ByteTransport, self.transport).write(more)

    def dataReceived(self, data: bytes) -> None:
        transport = cast(ByteTransport, self.transport)
        try:
            transport.write(self._server.feed(data))
        except RfbError as problem:
            log.info("closing a console: %s", problem)
            transport.abortConnection()

    def connectionLost(self, reason: object = None) -> None:
        self._stop()


class _Emulated(Protocol):
    """The emulator's end of a relayed screen."""

    def __init__(self, viewer: "_Relay") -> None:
        self._viewer = viewer

    def dataReceived(self, data: bytes) -> None:
        send(cast(ByteTransport, self._viewer.transport), data)

    def connectionLost(self, reason: object = None) -> None:
        cast(ByteTransport, self._viewer.transport).loseConnection()


class _Relay(Protocol):
    """Somebody who looks at the emulator's screen; the client's keys are translated."""

    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor = reactor
        self._path = path
        self._translation = KeyTranslation()
        self._other: _Emulated | None = None
        self._early = b""
        self._lost = False

    def connectionMade(self) -> None:
        endpoint = UNIXClientEndpoint(self._reactor, self._path)
        connecting = connectProtocol(endpoint, _Emulated(self))
        connecting.addCallbacks(self._connected, self._refused)

    def _connected(self, other: _Emulated) -> None:
        self._other = other
        if self._lost:
            cast(ByteTransport, other.transport).loseConnection()
            return
        early, self._early = self._early, b""
        cast(ByteTransport, other.transport).write(early)

    def _refused(self, failure: object) -> None:
        log.info("closing a console: %s", failure)
        cast(ByteTransport, self.transport).abortConnection()

    def dataReceived(self, data: bytes) -> None:
        try:
            passed = self._translation.feed(data)
        except RfbError as problem:
            log.info("closing a console: %s", problem)
            cast(ByteTransport, self.transport).abortConnection()
            return
        if self._other is None:
            self._early += passed
        else:
            cast(ByteTransport, self._other.transport).write(passed)

    def connectionLost(self, reason: object = None) -> None:
        self._lost = True
        if self._other is not None:
            cast(ByteTransport, self._other.transport).loseConnection()


def send(transport: Any, data: bytes) -> None:
    """Send to a viewer, or hang up when it reads too slowly."""
    unread = getattr(transport, "dataBuffer", b"")
    waiting = sum(map(len, getattr(transport, "_tempDataBuffer", ())))
    if len(unread) + waiting > MAX_UNREAD:
        transport.abortConnection()
    else:
        transport.write(data)


class _Factory(Factory):
    noisy = False

    def __init__(self, make: Callable[[], Protocol]) -> None:
        self._make = make

    def buildProtocol(self, addr: object) -> Protocol:
        return self._make()


class Consoles:
    """The consoles of all domains."""

    def __init__(self, host: Host, domains: Domains, model: DeviceModel) -> None:
        self._host = host
        self._domains = domains
        self._model = model
        self._texts: dict[int, TextConsole] = {}
        self._watches: dict[int, Watch] = {}
        self._ports: dict[int, dict[ConsoleProtocol, Any]] = {}
        self._started: set[int] = set()

    def path(self, domid: int, protocol: ConsoleProtocol) -> str:
        """Give where a console is, once opened."""
        return str(self._host.run_folder / f"console-{domid}.{SUFFIX[protocol]}")

    async def recover(self, domid: int) -> None:
        """Follow the terminal of a domain again; what it wrote before is not seen again."""
        if await self._host.store.read_or(f"{paths.mirror(domid)}/consoles") is not None:
            self._follow(self._domains.get(domid))

    async def start(self, domid: int, md: VmMetadata) -> None:
        """Begin to read a domain's text console, as soon as there is one."""
        await self._host.store.write(f"{paths.mirror(domid)}/consoles", "1")
        self._follow(self._domains.get(domid))

    def _follow(self, domain: Domain) -> None:
        domid = domain.domid
        self._started.add(domid)
        if domain.hvm or domid in self._watches:
            return
        path = f"{paths.home(domid)}/console/tty"

        def look(changed: str) -> None:
            self._host.store.read_or(path).addCallbacks(found, lambda failure: None)

        def found(terminal: str | None) -> None:
            if terminal and domid in self._started and domid not in self._texts:
                self._open_text(domid, terminal)

        self._watches[domid] = self._host.store.watch(path, look)

    def _open_text(self, domid: int, path: str) -> None:
        # The path is xenconsoled's; a guest that has changed it must not lead us elsewhere.
        if not path.startswith("/dev/pts/") or not path.removeprefix("/dev/pts/").isdecimal():
            log.error("domain %d: %s is no terminal", domid, path)
            return
        try:
            self._texts[domid] = TextConsole(self._host.reactor, path)
        except OSError as problem:
            log.error("text console of domain %d: %s", domid, problem)

    def stat(self, domid: int) -> list[Console]:
        """Give the consoles a domain has."""
        if domid not in self._started:
            return []
        consoles = [Console("rfb", path=self.path(domid, "rfb"))]
        if not self._domains.get(domid).hvm:
            consoles.append(Console("vt100", path=self.path(domid, "vt100")))
        return consoles

    async def open(self, domid: int, protocol: ConsoleProtocol) -> Console:
        """Give a console that somebody listens on.  Errors: Does_not_exist."""
        for console in self.stat(domid):
            if console.protocol == protocol:
                self._listen(self._domains.get(domid), protocol)
                return console
        raise errors.does_not_exist("console", protocol)

    def _listen(self, domain: Domain, protocol: ConsoleProtocol) -> None:
        ports = self._ports.setdefault(domain.domid, {})
        if protocol in ports:
            return
        make = self._viewer(domain, protocol)
        path = self.path(domain.domid, protocol)
        Path(path).unlink(missing_ok=True)
        ports[protocol] = self._host.reactor.listenUNIX(path, _Factory(make), mode=0o600)

    def _viewer(self, domain: Domain, protocol: ConsoleProtocol) -> Callable[[], Protocol]:
        if domain.hvm:
            screen = str(self._model.vnc_path(domain.domid))
            return lambda: _Relay(self._host.reactor, screen)
        console = self._texts.get(domain.domid)
        if console is None:
            raise errors.does_not_exist("console", protocol)
        if protocol == "vt100":
            return lambda: _Viewer(console)
        return lambda: _VncViewer(console, domain.vm)

    async def stop(self, domid: int) -> None:
        """Listen no longer, and let the terminal go; open connections stay until they end."""
        self.forget(domid)
        for protocol in SUFFIX:
            path = self.path(domid, "rfb" if protocol == "rfb" else "vt100")
            Path(path).unlink(missing_ok=True)
        await self._host.store.remove(f"{paths.mirror(domid)}/consoles")

    def forget(self, domid: int) -> None:
        """Know nothing of a domain's consoles any more."""
        self._started.discard(domid)
        watch = self._watches.pop(domid, None)
        if watch is not None:
            watch.stop()
        for port in self._ports.pop(domid, {}).values():
            port.stopListening()
        text = self._texts.pop(domid, None)
        if text is not None:
            text.close()

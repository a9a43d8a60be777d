"""Ways to reach xenstored: its unix socket, or the kernel's device."""

import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure

from xenops.xenstore.errors import StoreLost

SOCKET: Final = "/run/xenstored/socket"
DEVICE: Final = "/dev/xen/xenbus"
_READ_SIZE: Final = 65536
_CONNECT_TRIES: Final = 500
_CONNECT_RETRY_S: Final = 0.01


class Receiver(Protocol):
    """Who gets what a connection brings."""

    def received(self, data: bytes) -> None: ...

    def lost(self, reason: str) -> None: ...


class Connection(Protocol):
    """An open way to xenstored."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


Dial = Callable[[Receiver], Awaitable[Connection]]


def default_address() -> str:
    """Give where xenstored is on this machine."""
    return SOCKET if Path(SOCKET).exists() or not Path(DEVICE).exists() else DEVICE


def dial(reactor: Any, address: str) -> Dial:
    """Give how to connect to a socket or character device.  Errors: StoreLost."""

    async def connect(receiver: Receiver) -> Connection:
        if Path(address).is_char_device():
            return DeviceConnection(reactor, address, receiver)
        with await _connected(reactor, address) as plain:
            factory = _Factory(receiver)
            reactor.adoptStreamConnection(plain.fileno(), socket.AF_UNIX, factory)
        if factory.opened is None:
            raise StoreLost("closed at once")
        return factory.opened

    return connect


async def _connected(reactor: Any, address: str) -> socket.socket:
    """Connect to a socket whose queue of one is full for moments at a time."""
    plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        for _ in range(_CONNECT_TRIES):
            try:
                plain.connect(address)
                return plain
            except BlockingIOError:
                await _pause(reactor)
            except OSError as error:
                raise StoreLost(f"{address}: {error.strerror}") from error
        raise StoreLost(f"{address}: nobody takes the connection")
    except BaseException:
        plain.close()
        raise


def _pause(reactor: Any) -> "Deferred[None]":
    over: Deferred[None] = Deferred()
    reactor.callLater(_CONNECT_RETRY_S, over.callback, None)
    return over


class _SocketConnection(TwistedProtocol):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._receiver.received(data)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: N802, B008
        self._receiver.lost(reason.getErrorMessage())

    def write(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(data)

    def close(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()


class _Factory(ServerFactory):
    noisy = False

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.opened: _SocketConnection | None = None

    def buildProtocol(self, addr: object) -> _SocketConnection:  # noqa: N802
        self.opened = _SocketConnection(self._receiver)
        return self.opened


class DeviceConnection:
    """The kernel's own connection, for control domains without the daemon.

    The kernel takes a whole message a write and keeps it, so writes need no
    buffer here.
    """

    def __init__(self, reactor: Any, address: str, receiver: Receiver) -> None:
        self._reactor = reactor
        self._receiver = receiver
        try:
            self._descriptor = os.open(address, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise StoreLost(str(error)) from error
        self._open = True
        reactor.addReader(self)

    def write(self, data: bytes) -> None:
        """Send one message."""
        try:
            while data and self._open:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            self._end(str(error))

    def close(self) -> None:
        """Let go of the device."""
        self._end("closed")

    def fileno(self) -> int:
        """The descriptor, for the reactor."""
        return self._descriptor if self._open else -1

    def doRead(self) -> None:  # noqa: N802
        """Take what the kernel has for us."""
        try:
            data = os.read(self._descriptor, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(str(error))
            return
        if data:
            self._receiver.received(data)
        else:
            self._end("end of file")

    def connectionLost(self, reason: Failure = Failure(ConnectionLost())) -> None:  # noqa: N802, B008
        """The reactor gives up on the descriptor."""
        self._end(reason.getErrorMessage())

    def logPrefix(self) -> str:  # noqa: N802
        """Name this for the reactor's log."""
        return "xenbus"

    def _end(self, reason: str) -> None:
        if self._open:
            self._open = False
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._reactor.callLater(0, self._receiver.lost, reason)

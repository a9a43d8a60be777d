"""A QMP client: commands, events, and the end of the other side."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from xapi_py.base.reactor import ByteTransport, Clock
from xenops.qmp.codec import Event, Greeting, QmpDecoder, QmpProtocolError, command

log = logging.getLogger(__name__)

COMMAND_TIMEOUT_S: Final = 60.0
GREETING_TIMEOUT_S: Final = 300.0


class QmpError(Exception):
    """QEMU refuses a command; ``kind`` is its class of errors."""

    def __init__(self, command: str, kind: str, text: str) -> None:
        super().__init__(f"{command}: {text}")
        self.command = command
        self.kind = kind


class QmpLost(Exception):
    """There is no QEMU at the other end any more, or it does not answer."""


class Qmp(Protocol):
    """One connection; made by ``connect``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._decoder = QmpDecoder()
        self._waiting: dict[int, Deferred[Any]] = {}
        self._names: dict[int, str] = {}
        self._last = 0
        self._lost: QmpLost | None = None
        self._greeted: Deferred[None] = Deferred()
        self.on_event: Callable[[Event], None] = lambda event: None
        self.on_lost: Callable[[], None] = lambda: None

    async def ready(self, timeout_s: float) -> None:
        """Wait for QEMU's greeting and begin.  Errors: QmpLost."""
        timer = self._clock.callLater(timeout_s, self._greeted.cancel)
        try:
            await self._greeted
        except CancelledError:
            self.close()
            if timer.active():
                raise
            raise QmpLost(f"no greeting in {timeout_s:g} s") from None
        finally:
            if timer.active():
                timer.cancel()
        await self.call("qmp_capabilities")

    async def call(
        self, name: str, arguments: Mapping[str, object] | None = None, **more: object
    ) -> Any:
        """Have QEMU do something and give its answer.  Errors: QmpError, QmpLost."""
        if self._lost is not None:
            raise self._lost
        self._last += 1
        id = self._last
        waiter: Deferred[Any] = Deferred()
        self._waiting[id], self._names[id] = waiter, name
        timer = self._clock.callLater(COMMAND_TIMEOUT_S, self._silent, id)
        cast(ByteTransport, self.transport).write(command(id, name, {**(arguments or {}), **more}))
        try:
            return await waiter
        finally:
            self._waiting.pop(id, None)
            self._names.pop(id, None)
            if timer.active():
                timer.cancel()

    def _silent(self, id: int) -> None:
        name = self._names.get(id, "")
        waiter = self._waiting.pop(id, None)
        if waiter is not None:
            waiter.errback(Failure(QmpLost(f"{name}: no answer in {COMMAND_TIMEOUT_S:g} s")))

    def close(self) -> None:
        """Hang up; QEMU goes on."""
        self.on_lost = lambda: None
        if self.transport is not None:
            cast(ByteTransport, self.transport).abortConnection()

    def dataReceived(self, data: bytes) -> None:
        try:
            messages = self._decoder.feed(data)
        except QmpProtocolError as error:
            log.error("closing QMP: %s", error)
            cast(ByteTransport, self.transport).abortConnection()
            return
        for message in messages:
            if isinstance(message, Greeting):
                if not self._greeted.called:
                    self._greeted.callback(None)
            elif isinstance(message, Event):
                self.on_event(message)
            else:
                waiter = self._waiting.pop(message.id, None)
                if waiter is None:
                    continue
                if message.error:
                    name = self._names.get(message.id, "")
                    waiter.errback(Failure(QmpError(name, message.error, message.text)))
                else:
                    waiter.callback(message.result)

    def connectionLost(self, reason: Failure = Failure(QmpLost("closed"))) -> None:  # noqa: B008
        self._lost = QmpLost(str(reason.value))
        if not self._greeted.called:
            self._greeted.errback(Failure(self._lost))
        for waiter in list(self._waiting.values()):
            waiter.errback(Failure(self._lost))
        self._waiting.clear()
        self.on_lost()


async def connect(reactor: Any, path: str, timeout_s: float = GREETING_TIMEOUT_S) -> Qmp:
    """Connect to a QEMU that listens, or will as soon as it has started.

    Errors: QmpLost when it ends, or says nothing in time.
    """
    qmp = Qmp(reactor)
    try:
        await connectProtocol(UNIXClientEndpoint(reactor, path), qmp)
    except ConnectError as problem:
        raise QmpLost(str(problem)) from problem
    await qmp.ready(timeout_s)
    return qmp

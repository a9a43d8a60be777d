"""Work in child processes, with deadlines: a server that hangs takes only its own child."""

import logging
import os
import re
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from typing import Protocol as Interface

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol, connectionDone
from twisted.python.failure import Failure

from sm import errors
from sm.files import qemu
from xapi_py.base.reactor import Timer
from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.rpc.framing import FrameDecoder, encode

log = logging.getLogger(__name__)

_PERCENT: Final = re.compile(rb"\((\d+\.\d+)/100%\)")
_SPAWNER: Final = (sys.executable, "-m", "sm.files.spawner")


class Children(Interface):
    """What gives children: real ones, or those of tests that live in the same process."""

    def worker(self, hello: Mapping[str, object]) -> "Caller": ...

    def tool(self, command: Sequence[str], idle_s: float) -> "Tool": ...

    async def sleep(self, seconds: float) -> None: ...


class Caller(Interface):
    """A worker: calls are carried out in order."""

    notes: Callable[[Sequence[str]], object]

    @property
    def gone(self) -> bool: ...

    async def call(
        self, method: str, params: Mapping[str, object], deadline_s: float, crash: str = ""
    ) -> Any: ...

    def end(self) -> None: ...


class Tool(Interface):
    """A command that is running, ``progress`` 0..1."""

    progress: float

    async def ended(self) -> None: ...

    def kill(self) -> None: ...


@dataclass(slots=True)
class _Waiting:
    answer: "Deferred[Any]"
    deadline_s: float


class WorkerProcess(Protocol):
    """A worker in a process.  One that misses a deadline is killed, with all its calls."""

    transport: Any

    def __init__(self, reactor: Any, hello: Mapping[str, object]) -> None:
        self.notes: Callable[[Sequence[str]], object] = lambda _: None
        self._reactor = reactor
        self._hello = hello
        self._decoder = FrameDecoder()
        self._waiting: deque[_Waiting] = deque()
        self._timer: Timer | None = None
        self._dead = False
        self._process = -1

    @property
    def gone(self) -> bool:
        """Whether it answers no more."""
        return self._dead

    def connectionMade(self) -> None:  # noqa: N802
        self.transport.write(encode(self._hello))

    async def call(
        self, method: str, params: Mapping[str, object], deadline_s: float, crash: str = ""
    ) -> Any:
        """Have a call carried out.

        Errors: RpcError; SR_BACKEND_FAILURE_47 when the process ended or the
        deadline, counted from when the call's turn came, passed.
        """
        if self._dead:
            raise errors.backend_failure(errors.SR_UNAVAILABLE, "its driver has ended")
        waiting = _Waiting(Deferred(), deadline_s)
        self._waiting.append(waiting)
        message = {"method": method, "params": params}
        self.transport.write(encode({**message, "crash": crash} if crash else message))
        if len(self._waiting) == 1:
            self._arm()
        return await waiting.answer

    def _arm(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._waiting:
            seconds = self._waiting[0].deadline_s
            self._timer = self._reactor.callLater(seconds, self._late, seconds)

    def _late(self, seconds: float) -> None:
        log.error("a storage driver did not answer within %s s: it is killed", seconds)
        self._fail(f"the storage did not answer within {seconds:g} s")
        if self._process >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
        self.transport.loseConnection()

    def _fail(self, why: str) -> None:
        self._dead = True
        waiting, self._waiting = self._waiting, deque()
        self._arm()
        for entry in waiting:
            entry.answer.errback(Failure(errors.backend_failure(errors.SR_UNAVAILABLE, why)))

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        for message in self._decoder.feed(data):
            assert isinstance(message, dict)
            if "pid" in message:
                with suppress(ProcessLookupError):
                    self._process = os.pidfd_open(message["pid"])
                continue
            if not self._waiting:
                continue
            entry = self._waiting.popleft()
            self._arm()
            for note in message["notes"]:
                self.notes(note)
            if "error" in message:
                entry.answer.errback(Failure(RpcError(*message["error"])))
            else:
                entry.answer.callback(message["result"])

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        self._fail("its driver has ended")
        if self._process >= 0:
            os.close(self._process)
            self._process = -1

    def end(self) -> None:
        """Let the process end once it is idle."""
        self._dead = True
        self.transport.loseWriteConnection()


class SpawnerProcess(ProcessProtocol):
    """The process that workers are forked from."""

    def __init__(self, reactor: Any) -> None:
        self.ended = False
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            reactor.spawnProcess(
                self, _SPAWNER[0], _SPAWNER, env=None, childFDs={0: theirs.fileno(), 1: 2, 2: 2}
            )

    def fork(self, connection: socket.socket) -> None:
        """Start a worker that is called at a connection.  Errors: OSError."""
        socket.send_fds(self._orders, [b"w"], [connection.fileno()])

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        self.ended = True
        self._orders.close()


class ToolProcess(ProcessProtocol):
    """A command; killed when it shows no progress for ``idle_s``."""

    def __init__(self, reactor: Any, command: Sequence[str], idle_s: float) -> None:
        self.progress = 0.0
        self._reactor = reactor
        self._idle_s = idle_s
        self._errors = b""
        self._why = ""
        self._done: Deferred[None] = Deferred()
        self._over = False
        self._timer: Timer = reactor.callLater(idle_s, self._idle)
        self._process = reactor.spawnProcess(self, command[0], command, env=None)

    def outReceived(self, data: bytes) -> None:  # noqa: N802
        found = _PERCENT.findall(data)
        if found and float(found[-1]) / 100 > self.progress:
            self.progress = float(found[-1]) / 100
            self._timer.reset(self._idle_s)  # type: ignore[attr-defined]

    def errReceived(self, data: bytes) -> None:  # noqa: N802
        self._errors = (self._errors + data)[-4096:]

    def _idle(self) -> None:
        self._why = f"no progress for {self._idle_s:g} s"
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        if not self._over and self._process.pid:
            os.kill(self._process.pid, signal.SIGKILL)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        self._over = True
        if self._timer.active():
            self._timer.cancel()
        if self._done.called:
            return  # nobody waits any more
        if getattr(reason.value, "exitCode", None) == 0:
            self._done.callback(None)
        elif self._why:
            self._done.errback(Failure(errors.backend_failure(errors.EIO, self._why)))
        else:
            text = self._errors.decode(errors="replace") or str(reason.value)
            self._done.errback(Failure(qemu.failure(text)))

    async def ended(self) -> None:
        """Wait for it; who gives up waiting ends it.

        Errors: those of ``sm.files.qemu.failure``, 200 without progress.
        """
        try:
            await self._done
        except CancelledError:
            self.kill()
            raise


class RealChildren:
    """Children as processes of a reactor."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._spawner: SpawnerProcess | None = None

    def worker(self, hello: Mapping[str, object]) -> Caller:
        """Start a worker; one that cannot be had fails its calls."""
        if self._spawner is None or self._spawner.ended:
            self._spawner = SpawnerProcess(self._reactor)
        worker = WorkerProcess(self._reactor, hello)
        factory = Factory.forProtocol(lambda: worker)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
            with suppress(OSError):
                self._spawner.fork(theirs)
        return worker

    def tool(self, command: Sequence[str], idle_s: float) -> Tool:
        return ToolProcess(self._reactor, command, idle_s)

    async def sleep(self, seconds: float) -> None:
        done: Deferred[None] = Deferred()
        self._reactor.callLater(seconds, done.callback, None)
        await done

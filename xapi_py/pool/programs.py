"""Programs of the host that API calls run: plugins, extensions, shutdown."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

MAX_OUTPUT = 16 << 20
"""A program that writes more than this many bytes is killed."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended; ``status`` is None when a signal ended it."""

    status: int | None
    output: str
    errors: str


class Programs(Protocol):
    """Something that runs programs."""

    async def run(self, path: Path, arguments: Sequence[str], text: str = "") -> Finished:
        """Run a program with ``text`` as its input and wait for its end."""
        ...


class NoPrograms:
    """Runs nothing: for servers without a host."""

    async def run(self, path: Path, arguments: Sequence[str], text: str = "") -> Finished:
        return Finished(None, "", f"{path}: programs do not run here")


class ReactorPrograms:
    """Runs programs as children of this process.

    A cancelled wait kills the program.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    async def run(self, path: Path, arguments: Sequence[str], text: str = "") -> Finished:
        protocol = _Child(text)
        argv = [str(path), *arguments]
        transport = self._reactor.spawnProcess(protocol, str(path), argv, env=None)
        try:
            return await protocol.ended
        except CancelledError:
            kill(transport)
            raise


def kill(transport: Any) -> None:
    """Kill a program; one that has ended while its children still write is no error."""
    with suppress(ProcessExitedAlready):
        transport.signalProcess("KILL")


class _Child(ProcessProtocol):
    def __init__(self, text: str) -> None:
        self._text = text
        self._out: list[bytes] = []
        self._errors: list[bytes] = []
        self._size = 0
        self.ended: Deferred[Finished] = Deferred()

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self._text.encode())
        transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self._keep(self._out, data)

    def errReceived(self, data: bytes) -> None:
        self._keep(self._errors, data)

    def _keep(self, chunks: list[bytes], data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_OUTPUT:
            kill(self.transport)
        else:
            chunks.append(data)

    def processEnded(self, reason: Failure) -> None:
        status: int | None = None
        problem = reason.value
        if isinstance(problem, ProcessDone | ProcessTerminated):
            status = problem.exitCode
        if not self.ended.called:
            out, errors = (
                b"".join(c).decode("utf-8", "replace") for c in (self._out, self._errors)
            )
            self.ended.callback(Finished(status, out, errors))

"""Running a driver's program once, with a deadline."""

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

MAX_OUTPUT: Final = 32 << 20
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: ``status`` None when a signal or the deadline ended it."""

    status: int | None
    output: str
    errors: str
    signal: int = 0
    late: bool = False


class _Process(ProcessProtocol):
    def __init__(self, stdin: str, done: "Deferred[Ended]") -> None:
        self._stdin = stdin
        self._done = done
        self._output = bytearray()
        self._errors = bytearray()
        self.late = False

    def connectionMade(self) -> None:  # noqa: N802
        process: Any = self.transport
        if self._stdin:
            process.write(self._stdin.encode())
        process.closeStdin()

    def outReceived(self, data: bytes) -> None:  # noqa: N802
        self._output += data[: MAX_OUTPUT - len(self._output)]

    def errReceived(self, data: bytes) -> None:  # noqa: N802
        self._errors = (self._errors + data)[-65536:]

    def kill(self) -> None:
        """End it and what it started."""
        self.late = True
        process: Any = self.transport
        if process is not None and process.pid:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except OSError:
                process.signalProcess("KILL")

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        status = getattr(reason.value, "exitCode", None)
        number = getattr(reason.value, "signal", None) or 0
        texts = [bytes(b).decode(errors="replace") for b in (self._output, self._errors)]
        self._done.callback(Ended(status, texts[0], texts[1], number, self.late))


class Programs:
    """Runs programs; each is the leader of a process group of its own."""

    def __init__(self, reactor: Any, environment: Mapping[str, str]) -> None:
        self._reactor = reactor
        self._environment = {"PATH": PATH, "LANG": "C.UTF-8", **environment}

    async def run(
        self, path: Path, arguments: Sequence[str], deadline_s: float, stdin: str = ""
    ) -> Ended:
        """Run a program to its end, or kill it at its deadline.  Errors: OSError."""
        done: Deferred[Ended] = Deferred()
        process = _Process(stdin, done)
        words = [str(path), *arguments]
        command = ["/usr/bin/setsid", "--wait", *words]
        self._reactor.spawnProcess(process, command[0], command, env=self._environment)
        timer = self._reactor.callLater(deadline_s, process.kill)
        try:
            return await done
        finally:
            if timer.active():
                timer.cancel()

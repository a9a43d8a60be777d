"""Processes for work that blocks, may crash or has to be killed; one is kept ready."""

import json
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from xenops.backends.xen.host import XenHost

log = logging.getLogger(__name__)

OnLine = Callable[[Mapping[str, Any]], Any]
"""Gives the answer to what the work asks, or a coroutine of it."""

_TOP: Final = Path(__file__).parents[3]
_KEPT_ERRORS: Final = 4000


class WorkerError(Exception):
    """The work failed; the text says why, ``number`` is an errno or 0."""

    def __init__(self, text: str, number: int = 0) -> None:
        super().__init__(text)
        self.number = number


class Workers:
    """Runs functions of ``worker_main`` in processes, one at a time in each."""

    def __init__(self, host: XenHost, module: str = "xenops.backends.xen.worker_main") -> None:
        self._host = host
        self._module = module
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()

    def warm_up(self) -> None:
        """Have one process ready before it is needed."""
        if not self._idle:
            self._idle.append(self._spawn())

    def close(self) -> None:
        """End the processes that wait; those at work see the end of their input later."""
        for process in (*self._idle, *self._busy):
            process.end()
        self._idle.clear()

    async def run(
        self, name: str, request: Mapping[str, Any], on_line: OnLine | None = None
    ) -> Mapping[str, Any]:
        """Run a function and give its result; cancelling kills the process.

        ``on_line`` gets what the function says and gives what it is answered.
        Errors: WorkerError.
        """
        process = self._idle.pop() if self._idle else self._spawn()
        self._busy.add(process)
        good = False
        try:
            result = await process.ask({**request, "function": name}, on_line)
            good = True
        except WorkerError:
            good = process.alive
            raise
        finally:
            self._busy.discard(process)
            if good and not self._idle:
                self._idle.append(process)
            elif good:
                process.end()
            else:
                process.kill()
        return result

    def _spawn(self) -> "_Process":
        process = _Process(self._ended)
        environment = {**os.environ, "PYTHONPATH": str(_TOP)}
        command = [sys.executable, "-u", "-m", self._module]
        self._host.reactor.spawnProcess(process, sys.executable, command, environment, str(_TOP))
        return process

    def _ended(self, process: "_Process") -> None:
        if process in self._idle:
            self._idle.remove(process)


class _Process(ProcessProtocol):
    def __init__(self, ended: Callable[["_Process"], object]) -> None:
        self._ended = ended
        self._buffer = b""
        self._errors = b""
        self._answer: Deferred[Mapping[str, Any]] | None = None
        self._on_line: OnLine | None = None
        self.alive = True

    async def ask(self, request: Mapping[str, Any], on_line: OnLine | None) -> Mapping[str, Any]:
        if not self.alive:
            raise WorkerError(self._last_words())
        self._on_line = on_line
        self._answer = Deferred()
        self._send(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def end(self) -> None:
        """Let the process end once it has nothing to do."""
        transport: Any = self.transport
        if self.alive and transport is not None:
            transport.closeStdin()

    def kill(self) -> None:
        """End the process now."""
        transport: Any = self.transport
        if self.alive and transport is not None:
            transport.signalProcess("KILL")

    def outReceived(self, data: bytes) -> None:  # noqa: N802
        self._buffer += data
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            self._line(json.loads(line))

    def errReceived(self, data: bytes) -> None:  # noqa: N802
        self._errors = (self._errors + data)[-_KEPT_ERRORS:]
        for line in data.decode("utf-8", "replace").splitlines():
            log.info("worker: %s", line)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        self.alive = False
        self._ended(self)
        if self._answer is not None and not self._answer.called:
            self._answer.errback(WorkerError(self._last_words(reason)))

    def _last_words(self, reason: Failure | None = None) -> str:
        words = self._errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
        if reason is None or reason.check(ProcessDone):
            return words or "the process ended"
        return f"{reason.getErrorMessage()} {words}".strip()

    def _line(self, message: Mapping[str, Any]) -> None:
        answer = self._answer
        if "says" in message:
            self._reply(self._on_line(message["says"]) if self._on_line else None)
        elif "error" in message:
            if answer is not None and not answer.called:
                answer.errback(WorkerError(message["error"], message["number"]))
            else:
                self._errors += message["error"].encode()
        elif "result" in message and answer is not None and not answer.called:
            answer.callback(message["result"])

    def _reply(self, reply: Any) -> None:
        """Answer what the work asked, now or when the answer is there."""
        if not isinstance(reply, Coroutine):
            self._send(reply)
            return

        def failed(failure: Failure) -> None:
            # Nothing can be answered: the work ends, and its caller is told why.
            answer = self._answer
            if answer is not None and not answer.called:
                answer.errback(failure)

        Deferred.fromCoroutine(reply).addCallbacks(self._send, failed)

    def _send(self, message: Any) -> None:
        transport: Any = self.transport
        transport.write(json.dumps(message).encode() + b"\n")

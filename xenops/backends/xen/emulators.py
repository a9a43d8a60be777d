"""Processes that emulate hardware: started with sockets we listen on, and watched.

They outlive this daemon.  A process is known by its number and by its first
argument, which names the domain, so that a number used again is not mistaken.
"""

import contextlib
import fcntl
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred

TERMINATE_S: Final = 10.0
"""A process that is asked to end and does not is killed after this."""

LOG_TAIL: Final = 2000


def spawn(
    program: str, name: str, arguments: Sequence[str], fds: Mapping[int, int], output: Path
) -> int:
    """Start a process in a session of its own and give its number; blocks for the start.

    ``fds`` gives it our descriptors under other numbers.  What it writes goes
    to ``output``.  Errors: OSError.
    """
    kept = sorted(fds)
    with contextlib.ExitStack() as stack:
        moved = _renumbered(fds, stack)
        with open(output, "wb") as sink, open(os.devnull, "rb") as nothing:
            actions = [
                (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, sink.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, sink.fileno(), 2),
                *((os.POSIX_SPAWN_DUP2, moved[number], number) for number in kept),
            ]
            return os.posix_spawn(
                program,
                [name, *arguments],
                os.environ,
                file_actions=actions,
                setsid=True,
                setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM],
            )


def _renumbered(fds: Mapping[int, int], stack: contextlib.ExitStack) -> dict[int, int]:
    """Copy descriptors out of the range of their new numbers; copies close on exec."""
    moved = {}
    for number, fd in fds.items():
        copy = _dup_above(fd, max(fds) + 1)
        stack.callback(os.close, copy)
        moved[number] = copy
    return moved


def _dup_above(fd: int, least: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least)


class Emulator:
    """A running process; ``on_end`` is called once, with ``exit:N`` or ``signal:N``."""

    def __init__(self, reactor: Any, pid: int) -> None:
        self.pid = pid
        self.outcome: str | None = None
        self.on_end: Callable[[str], None] = lambda outcome: None
        self._reactor = reactor
        self._fd = os.pidfd_open(pid)
        self._waiting: list[Deferred[None]] = []
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:  # noqa: N802
        return "emulator"

    def doRead(self) -> None:  # noqa: N802
        self._reactor.removeReader(self)
        os.close(self._fd)
        self.outcome = _outcome(self.pid)
        for waiter in self._waiting:
            waiter.callback(None)
        self._waiting.clear()
        self.on_end(self.outcome)

    def connectionLost(self, reason: object) -> None:  # noqa: N802
        """The reactor stops; the process goes on."""

    def signal(self, number: int) -> None:
        """Send a signal; nothing to do when it has ended."""
        if self.outcome is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fd, number)

    async def ended(self) -> None:
        """Wait for the end."""
        if self.outcome is None:
            waiter: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(waiter)
            await waiter

    async def stop(self) -> None:
        """End it, by force if need be; ``on_end`` is not called."""
        self.on_end = lambda outcome: None
        self.signal(signal.SIGTERM)
        timer = self._reactor.callLater(TERMINATE_S, self.signal, signal.SIGKILL)
        try:
            await self.ended()
        finally:
            if timer.active():
                timer.cancel()


def adopt(reactor: Any, pid: int, name: str) -> Emulator | None:
    """Find a process of an earlier life of this daemon; None when it has ended."""
    try:
        found = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
        if found.decode(errors="replace") != name:
            return None
        return Emulator(reactor, pid)
    except OSError:
        return None


def tail(path: Path) -> str:
    """Give the end of what a process has written."""
    try:
        return path.read_bytes()[-LOG_TAIL:].decode(errors="replace").strip()
    except OSError:
        return ""


def _outcome(pid: int) -> str:
    """Reap a child; how somebody else's child ended is unknown."""
    try:
        _, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return "exit:unknown"
    code = os.waitstatus_to_exitcode(status)
    return f"signal:{-code}" if code < 0 else f"exit:{code}"

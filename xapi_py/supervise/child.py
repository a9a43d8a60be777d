"""One running process of a daemon: start, readiness, end, and what it wrote."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from xapi_py.supervise.layout import Answer, DaemonSpec

LOG_KEPT_BYTES: Final = 10 * 2**20
TAIL_BYTES: Final = 4096
TAIL_LINES: Final = 25


class Child:
    """A process, from its start to its end.

    It leads a session of its own (a terminal's Ctrl-C reaches the supervisor
    only), dies with the supervisor, and keeps the descriptors ``kept`` open.
    Standard output and error go to the end of the daemon's log file.
    Errors: OSError or SubprocessError when it cannot be started.
    """

    def __init__(
        self,
        spec: DaemonSpec,
        previous: Answer,
        kept: tuple[int, ...],
        tie: Callable[[], None],
        environment: dict[str, str],
    ) -> None:
        self.spec = spec
        self._log_start = _turn_log(spec.log)
        self.ready_end, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._received = b""
        try:
            with spec.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [*spec.command(previous), "--ready-fd", str(theirs)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(theirs, *kept),
                    start_new_session=True,
                    preexec_fn=tie,
                    env=environment,
                )
        except BaseException:
            os.close(self.ready_end)
            raise
        finally:
            os.close(theirs)
        self.pid = self._process.pid

    def read_ready(self) -> Answer | None:
        """Read the ready pipe: the announcement once it is complete, else None.

        Errors: EOFError when the pipe was closed without one.
        """
        try:
            piece = os.read(self.ready_end, 65536)
        except BlockingIOError:
            return None
        self._received += piece
        line, newline, _ = self._received.partition(b"\n")
        if not piece and not newline:
            raise EOFError
        if not newline:
            return None
        try:
            answer = json.loads(line)
        except ValueError:
            answer = {}
        return answer if isinstance(answer, dict) else {}

    def close_ready(self) -> None:
        """Close the ready pipe; again is harmless."""
        if self.ready_end >= 0:
            os.close(self.ready_end)
            self.ready_end = -1

    def ended(self) -> str | None:
        """Tell how the process ended, None while it runs.

        Processes it left behind in its process group are killed first, while
        its number cannot belong to anybody else.
        """
        gone = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if gone is None:
            return None
        self.kill()
        status = self._process.wait()
        if status < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-status).name}"
        return f"exit status {status}"

    def terminate(self) -> None:
        """Ask the process to end."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill the process and all of its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def tail(self) -> str:
        """Give the last lines this process wrote to its log."""
        try:
            with self.spec.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - TAIL_BYTES))
                text = log.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.rstrip().splitlines()[-TAIL_LINES:])


def _turn_log(path: Path) -> int:
    """Put a long log aside and give the size of what a new process appends to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    if size > LOG_KEPT_BYTES:
        os.replace(path, path.with_name(path.name + ".1"))
        return 0
    return size

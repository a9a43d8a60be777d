"""--detach and --stop: a supervisor without a terminal."""

import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Final

from xapi_py.supervise import state_folder

STOP_S: Final = 60.0
"""How long --stop waits: more than all stages of stopping together."""


class Announcer:
    """Where the supervisor's one message for the user goes: a terminal or a waiting parent."""

    def __init__(self, pipe: int | None = None) -> None:
        self._pipe = pipe

    def tell(self, text: str, failed: bool = False) -> None:
        """Print a message, or hand it to the parent that waits for it, once."""
        if self._pipe is None:
            try:
                print(text, file=sys.stderr if failed else sys.stdout, flush=True)
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        pipe, self._pipe = self._pipe, None
        message = json.dumps({"failed": failed, "text": text})
        try:
            with os.fdopen(pipe, "w", encoding="utf-8") as out:
                out.write(message)
        except BrokenPipeError:
            print(text, file=sys.stderr)


def detach(log: Path) -> Announcer:
    """Go on in the background; the foreground prints the first message and exits.

    Returns in the background process only, with its output in ``log``.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    ours, theirs = os.pipe()
    child = os.fork()
    if child:
        os.close(theirs)
        os._exit(_relay(ours, child))
    os.close(ours)
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(null)
    os.close(output)
    return Announcer(theirs)


def _relay(pipe: int, child: int) -> int:
    """Wait for the background's message, print it and give the exit status."""
    try:
        with os.fdopen(pipe, encoding="utf-8") as source:
            text = source.read()
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        return 130
    if not text:
        print("the supervisor ended before it could say why", file=sys.stderr)
        return 1
    message = json.loads(text)
    print(message["text"], file=sys.stderr if message["failed"] else sys.stdout, flush=True)
    return 1 if message["failed"] else 0


def stop(folder: Path) -> int:
    """Stop the supervisor that runs on a state folder and wait for its end.

    Gives the exit status: 0 when nothing runs there any more.
    """
    process = state_folder.owner(folder)
    if process is None:
        print(f"nothing runs on {folder}")
        return 0
    try:
        watched = os.pidfd_open(process)
        os.kill(process, signal.SIGTERM)
    except ProcessLookupError:
        print(f"nothing runs on {folder}")
        return 0
    except PermissionError:
        print(f"process {process} belongs to another user", file=sys.stderr)
        return 1
    gone, _, _ = select.select([watched], [], [], STOP_S)
    os.close(watched)
    if not gone:
        print(f"process {process} did not end within {STOP_S:g} s", file=sys.stderr)
        return 1
    print(f"stopped what ran on {folder}")
    return 0

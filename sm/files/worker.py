"""The process that does a file SR's blocking work, forked by ``sm.files.spawner``.

Reads calls from a connection and answers on it, in frames of JSON; it ends
when nobody can call any more.  It says {"pid"} first, and is told what it is:
{"type", "run_folder", "host", "smb_licensed"}.  A call is {"method", "params",
"crash"}: an answer {"result"} or {"error": [name, ...]}, with "notes" on what
changed.  ``crash`` names the step to die at, for tests.
"""

import os
import signal
import traceback
from pathlib import Path
from typing import Any, NoReturn

from sm.files.calls import Worker
from sm.files.kinds import Host
from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.rpc.framing import FrameDecoder, encode


class _Steps:
    """Dies at the step it was told."""

    def __init__(self) -> None:
        self.crash = ""
        self.count = 0

    def __call__(self, step: str) -> None:
        name, _, number = self.crash.partition(":")
        if name != step:
            return
        self.count += 1
        if self.count >= int(number or 1):
            os.kill(os.getpid(), signal.SIGKILL)


def answer(worker: Worker, message: dict[str, Any]) -> dict[str, Any]:
    """Carry out a call."""
    try:
        return {"result": worker.call(message["method"], message["params"])}
    except RpcError as problem:
        return {"error": [problem.name, *problem.params]}
    except Exception as problem:
        traceback.print_exc()
        text = f"{type(problem).__name__}: {problem}"
        return {"error": ["Storage_backend_error", "SR_BACKEND_FAILURE_1200", "", text, ""]}


def run(connection: int) -> NoReturn:
    """Be a worker at a connection, and end the process."""
    status = 1
    try:
        os.set_inheritable(connection, False)
        _serve(connection)
        status = 0
    except (KeyboardInterrupt, ConnectionError):
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _serve(connection: int) -> None:
    """Serve until the input ends."""
    decoder, steps, notes = FrameDecoder(), _Steps(), list[list[str]]()
    worker: Worker | None = None
    _send(connection, {"pid": os.getpid()})
    while data := os.read(connection, 1 << 20):
        for message in decoder.feed(data):
            assert isinstance(message, dict)
            if worker is None:
                folder = Path(message["run_folder"])
                host = Host(folder, message["host"], message["smb_licensed"])
                note = lambda *identifier: notes.append(list(identifier))  # noqa: E731
                worker = Worker(message["type"], host, note, steps)
                continue
            steps.crash, steps.count = message.get("crash", ""), 0
            reply = answer(worker, message)
            reply["notes"], notes[:] = [*notes], []
            _send(connection, reply)
    if worker is not None:
        worker.end()


def _send(connection: int, message: dict[str, Any]) -> None:
    frame = encode(message)
    while frame:
        frame = frame[os.write(connection, frame) :]

"""Start a daemon of this project as a process and talk to it, from plain code."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from xapi_py.base.rpc.errors import RpcError

ANSWER_TIMEOUT_S = 30.0


class ConnectionGone(Exception):
    """The process ended before it answered."""


class DaemonProcess:
    """A running daemon; ``kill`` is SIGKILL, ``start`` runs it again on the same state."""

    def __init__(
        self,
        module: str,
        folder: Path,
        config: dict[str, object] | None = None,
        host: int = 1,
        backend: str = "simulator",
    ) -> None:
        self._backend = backend
        self._module = module
        self._state = folder / f"{module}-{host}"
        self.socket_path = folder / f"{module}-{host}.sock"
        self._config = folder / f"{module}-{host}.yaml"
        self._config.write_text(yaml.safe_dump(config or {}), encoding="utf-8")
        self._host = host
        self._next_id = 0
        self.start()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        readable, writable = os.pipe()
        arguments = [sys.executable, "-m", self._module, "--socket", str(self.socket_path)]
        arguments += ["--state", str(self._state), "--config", str(self._config)]
        arguments += ["--backend", self._backend, "--host", str(self._host)]
        arguments += ["--ready-fd", str(writable)]
        self.process = subprocess.Popen(arguments, pass_fds=[writable])
        os.close(writable)
        with os.fdopen(readable) as pipe:
            line = pipe.readline()
        assert line, f"{self._module} did not start"
        json.loads(line)
        self._socket = self.connect()

    def connect(self) -> socket.socket:
        """Open one more connection."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(ANSWER_TIMEOUT_S)
        connection.connect(str(self.socket_path))
        return connection

    def kill(self) -> None:
        """End the process at once."""
        self.process.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        self.process.wait(ANSWER_TIMEOUT_S)
        self._socket.close()

    def stop(self) -> None:
        """End the process in order."""
        self.process.terminate()
        self.wait()

    def send(self, connection: socket.socket, method: str, /, **params: object) -> None:
        """Send a call without waiting for its answer."""
        self._next_id += 1
        message = {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params}
        body = json.dumps(message).encode()
        connection.sendall(struct.pack(">I", len(body)) + body)

    def answer(self, method: str, /, **params: object) -> Any:
        """Call a method and give its whole answer; ConnectionGone, RpcError."""
        try:
            self.send(self._socket, method, **params)
            message = json.loads(_frame(self._socket))
        except OSError as problem:
            raise ConnectionGone(method) from problem
        if "error" in message:
            problem = message["error"]
            raise RpcError(problem["message"], *problem.get("data", ()))
        return message["result"]

    def call(self, method: str, /, **params: object) -> Any:
        """Call a method and give the result inside its envelope."""
        return self.answer(method, **params)["result"]


def _frame(connection: socket.socket) -> bytes:
    (length,) = struct.unpack(">I", _exactly(connection, 4))
    return _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionGone("end of stream")
        data += piece
    return data

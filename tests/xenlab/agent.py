"""Talks to the agent inside a lab machine: see machine_files/agent.py for the protocol."""

import json
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Sequence

from tests.xenlab.errors import LabError

SLACK_S = 20.0  # a loaded emulator answers late
HEADER = struct.Struct(">cI")
Command = str | Sequence[str]


class Agent:
    """Commands and files of one machine; every call makes a connection of its own."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self.port = port
        self.address = address

    def answers(self, timeout: float) -> bool:
        """Whether the machine's agent answers within ``timeout`` seconds."""
        try:
            return self._request({"op": "ping"}, b"", timeout)[1] == b"pong"
        except (OSError, LabError):
            return False

    def wait(self, timeout: float, alive: Callable[[], bool] = lambda: True) -> None:
        """Wait until it answers, as long as ``alive()``."""
        until = time.monotonic() + timeout
        while not self.answers(2.0):
            if not alive():
                raise LabError("the machine stopped")
            if time.monotonic() > until:
                raise LabError(f"the machine does not answer after {timeout:.0f} s")
            time.sleep(0.05)

    def run(
        self, command: Command, input: bytes | str | None = None, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command (shell text, or words) as root; exit code 124 when it took too long."""
        data = input.encode() if isinstance(input, str) else input or b""
        words = command if isinstance(command, str) else list(command)
        request: dict[str, object] = {"op": "run", "command": words}
        request |= {"input": len(data), "timeout": timeout}
        code, output, errors = self._request(request, data, timeout + SLACK_S)
        return subprocess.CompletedProcess(
            words, code, output.decode(errors="replace"), errors.decode(errors="replace")
        )

    def put(self, path: str, data: bytes, mode: int = 0o644, timeout: float = 120.0) -> None:
        """Write a file; its folder is made."""
        request: dict[str, object] = {"op": "put", "path": path, "mode": mode, "input": len(data)}
        self._checked(request, data, timeout)

    def get(self, path: str, timeout: float = 120.0) -> bytes:
        """Read a file."""
        return self._checked({"op": "get", "path": path}, b"", timeout)

    def _checked(self, request: dict[str, object], data: bytes, timeout: float) -> bytes:
        code, output, errors = self._request(request, data, timeout)
        if code:
            raise LabError(errors.decode(errors="replace").strip())
        return output

    def _request(
        self, request: dict[str, object], data: bytes, timeout: float
    ) -> tuple[int, bytes, bytes]:
        until = time.monotonic() + timeout
        pieces: dict[bytes, list[bytes]] = {b"o": [], b"e": []}
        with socket.create_connection((self.address, self.port), timeout) as connection:
            connection.sendall(json.dumps(request).encode() + b"\n" + data)
            while True:
                kind, length = HEADER.unpack(_exactly(connection, HEADER.size, until))
                content = _exactly(connection, length, until)
                if kind == b"x":
                    return int(content), b"".join(pieces[b"o"]), b"".join(pieces[b"e"])
                pieces[kind].append(content)


def _exactly(connection: socket.socket, size: int, until: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the machine took too long")
        connection.settimeout(left)
        piece = connection.recv(size - len(data))
        if not piece:
            raise LabError("the machine closed the connection")
        data += piece
    return bytes(data)

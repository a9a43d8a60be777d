"""The program xe for tests, and servers that misbehave."""

import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

from ocaml_compat import thin_cli

ROOT = Path(__file__).parents[2]
RESET = struct.pack("ii", 1, 0)
"""Linger option that ends a connection with a reset."""


class Xe:
    """Runs xe in a folder of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
        self.environment |= {"HOME": str(folder), "XE_SOCKET": ""} | environment

    def run(self, *words: str, typed: str = "", **how: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "xe", *words],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            input=typed,
            timeout=60,
            **how,  # type: ignore[call-overload]
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Run xe and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "xe", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment,
        )


class Scripted:
    """A server that answers the first connection by a script and the next with half a file.

    It then lets go of both, or with ``stalls`` of neither.  Of an upload it takes ``body``
    bytes of what comes, if ``takes`` is set.
    """

    def __init__(
        self,
        frames: list[bytes],
        body: bytes = b"",
        raw: bytes | None = None,
        *,
        stalls: bool = False,
        takes: bool = False,
    ) -> None:
        self._stalls, self._takes = stalls, takes
        self._over = threading.Event()
        self._sent = thin_cli.greeting() + b"".join(frames) if raw is None else raw
        self._body = body
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Scripted":
        self._thread.start()
        return self

    def __exit__(self, *why: object) -> None:
        self._over.set()
        self._listening.close()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(self._sent)
            if self._body:
                transfer, _ = self._listening.accept()
                with transfer:
                    transfer.recv(65536)
                    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
                    if self._takes:
                        transfer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                        transfer.recv(len(self._body))
                        transfer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    else:
                        transfer.sendall(head + self._body)
                    if self._stalls:
                        self._over.wait(60)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

"""The conversation between the two ends of a live migration; blocks.

Messages are JSON with a length in front; between them, at one agreed place,
travels the guest's memory.  See ``doc/daemons/xenopsd.md`` for their order.
"""

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

MAX_MESSAGE: Final = 16 * 1024 * 1024
TIMEOUT_S: Final = 120.0
_LENGTH: Final = struct.Struct(">I")


class LinkLost(OSError):
    """The other end is gone, or does not keep to the protocol."""


class Link:
    """One connection."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.settimeout(TIMEOUT_S)

    @property
    def fd(self) -> int:
        """The descriptor for the guest's memory; blocking."""
        return self._socket.fileno()

    def for_memory(self) -> int:
        """Give the descriptor as libxc wants it: without a timeout of ours."""
        self._socket.settimeout(None)
        seconds = struct.pack("ll", int(TIMEOUT_S), 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        return self._socket.fileno()

    def for_messages(self) -> None:
        """Go back to messages."""
        self._socket.settimeout(TIMEOUT_S)

    def send(self, message: Mapping[str, Any]) -> None:
        """Errors: LinkLost."""
        data = json.dumps(message).encode()
        try:
            self._socket.sendall(_LENGTH.pack(len(data)) + data)
        except OSError as problem:
            raise LinkLost(problem.errno or 0, str(problem)) from problem

    def receive(self, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """Errors: LinkLost."""
        try:
            self._socket.settimeout(timeout_s)
            (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
            if length > MAX_MESSAGE:
                raise LinkLost(0, "a message is too long")
            found = json.loads(self._exactly(length))
        except (OSError, ValueError) as problem:
            raise LinkLost(0, str(problem)) from problem
        if not isinstance(found, dict):
            raise LinkLost(0, "not a message")
        return found

    def expect(self, kind: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """Receive a message of a kind.  Errors: LinkLost; OSError with the other end's words."""
        message = self.receive(timeout_s)
        if message.get("kind") == "failed":
            raise OSError(0, str(message.get("text", "the other host failed")))
        if message.get("kind") != kind:
            raise LinkLost(0, f"expected {kind}, got {message.get('kind')}")
        return message

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise LinkLost(0, "the other host hung up")
            data += part
        return bytes(data)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def connect(address: str) -> Link:
    """Connect to ``unix:PATH`` or ``tcp:HOST:PORT``.  Errors: OSError."""
    kind, _, where = address.partition(":")
    if kind == "unix":
        connected = socket.socket(socket.AF_UNIX)
        try:
            connected.settimeout(TIMEOUT_S)
            connected.connect(where)
        except OSError:
            connected.close()
            raise
        return Link(connected)
    if kind == "tcp":
        host, _, port = where.rpartition(":")
        made = socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Link(made)
    raise OSError(22, f"no address: {address}")

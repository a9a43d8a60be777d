"""A viewer of a guest's screen: connects through the API's console address and presses keys."""

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator


class Screen:
    """An RFB 3.3 connection after its greeting; ``size`` is width and height."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        assert self._read(8) == b"RFB 003."
        self._read(4)
        link.sendall(b"RFB 003.003\n")
        (security,) = struct.unpack(">I", self._read(4))
        assert security == 1, f"security {security}"
        link.sendall(b"\x01")
        width, height = struct.unpack(">HH16x", self._read(20))
        (length,) = struct.unpack(">I", self._read(4))
        self.title = self._read(length).decode()
        self.size = (width, height)

    def press(self, key: str) -> None:
        """Press and release a key."""
        for down in (1, 0):
            self._link.sendall(struct.pack(">BBxxI", 4, down, ord(key)))

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._link.recv(size - len(data))
            assert part, "the console was closed"
            data += part
        return data


@contextlib.contextmanager
def connected(port: int, location: str, session: str) -> Iterator[Screen]:
    """Look at the console of an address ``https://host/console?...`` through a local TLS port."""
    path = "/" + location.split("/", 3)[3]
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), 120) as plain,
        context.wrap_socket(plain) as link,
    ):
        lines = (f"CONNECT {path} HTTP/1.0", f"Cookie: session_id={session}", "", "")
        link.sendall("\r\n".join(lines).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += link.recv(1)
        assert b" 200 " in answer.split(b"\r\n", 1)[0], answer
        yield Screen(link)

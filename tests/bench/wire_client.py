"""A client that costs little: prepared requests over one kept connection."""

import socket
import xmlrpc.client
from pathlib import Path
from typing import Any


def request(method: str, *params: object) -> bytes:
    """Give the whole HTTP request of an XML-RPC call."""
    body = xmlrpc.client.dumps(params, method, allow_none=True).encode()
    head = "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class WireClient:
    """One connection.  ``post`` sends a prepared request and gives the body of the answer."""

    def __init__(self, address: tuple[str, int] | Path, timeout_s: float = 300.0) -> None:
        if isinstance(address, Path):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(timeout_s)
            self._socket.connect(str(address))
        else:
            self._socket = socket.create_connection(address, timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._session = ""
        self._rest = b""

    def login(self, password: str) -> str:
        """Log in; ``call`` then sends the session first."""
        answer = self.post(request("session.login_with_password", "root", password, "2.6", "bench"))
        self._session = str(value(answer))
        return self._session

    def call(self, method: str, *params: object) -> Any:
        """Call with the session and give the value of the answer."""
        return value(self.post(request(method, self._session, *params)))

    def post(self, prepared: bytes) -> bytes:
        """Send a request and wait for its answer."""
        self.send(prepared)
        return self.receive()

    def send(self, prepared: bytes) -> None:
        self._socket.sendall(prepared)

    def receive(self) -> bytes:
        """Read one answer and give its body."""
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head = data[:end].lower()
        at = head.index(b"content-length:") + 15
        length = int(head[at:].split(b"\r", 1)[0])
        pieces, missing = [data[end + 4 :]], length - (len(data) - end - 4)
        while missing > 0:
            pieces.append(self._more())
            missing -= len(pieces[-1])
        body = b"".join(pieces)
        self._rest = body[length:]
        return body[:length]

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def _more(self) -> bytes:
        data = self._socket.recv(1 << 20)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


def value(answer: bytes) -> Any:
    """Read the value of an answer; RuntimeError with the ErrorDescription of a failure."""
    (envelope,), _ = xmlrpc.client.loads(answer.decode())
    if isinstance(envelope, dict) and envelope.get("Status") == "Failure":
        raise RuntimeError(str(envelope["ErrorDescription"]))
    return envelope["Value"] if isinstance(envelope, dict) and "Value" in envelope else envelope

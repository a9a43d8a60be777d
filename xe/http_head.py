"""Requests and answer heads of transfers: HTTP/1.0, a new connection for each."""

from typing import Any

from xe.failures import ClientError

HEAD_LIMIT_BYTES = 64 * 1024


class Head:
    """Status line and headers (names in lower case) of an answer."""

    __slots__ = ("status_line", "status", "headers", "rest")

    def __init__(self, status_line: str, headers: dict[str, str], rest: bytes) -> None:
        words = status_line.split()
        self.status_line = status_line
        self.status = int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0
        self.headers = headers
        self.rest = rest


def split_url(url: str) -> tuple[str, str]:
    """Give (host, path with query) of a transfer's address; "" is the same server."""
    for scheme in ("https://", "http://"):
        if url.startswith(scheme):
            host, _, path = url[len(scheme) :].partition("/")
            name, colon, port = host.rpartition(":")
            if colon and port.isdecimal() and "]" not in port:
                host = name
            return host.strip("[]"), "/" + path
    return "", url if url.startswith("/") else "/" + url


def ask(connection: Any, method: str, path: str, length: int | None = None) -> None:
    """Send a request's head."""
    size = "" if length is None else f"Content-length: {length}\r\n"
    connection.sendall(f"{method} {path} HTTP/1.0\r\n{size}\r\n".encode())


def read_head(connection: Any) -> Head:
    """Read the head of an answer.  Errors: ClientError when there is none."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(16384)
        if not more or len(data) > HEAD_LIMIT_BYTES:
            raise ClientError("The server ended the transfer before it began")
        data += more
    head, rest = data.split(b"\r\n\r\n", 1)
    status_line, *lines = head.decode("utf-8", "replace").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Head(status_line, {n.strip().lower(): v.strip() for n, _, v in pairs}, rest)

"""A server with one connection in memory, and what came out of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from xapi_py.http.answering import Limits
from xapi_py.http.routes import Routes
from xapi_py.http.rpc import Rpc, add_rpc_routes
from xapi_py.http.server import HttpServer
from xapi_py.wire.xmlrpc import XMLRPC


@dataclass(frozen=True)
class Answered:
    """One answer found in the bytes that came out."""

    status: int
    headers: dict[str, str]
    body: bytes


def echo_method(request: Any, dialect: Any, call: Any) -> list[bytes]:
    """An RPC entry that answers the name of the method."""
    return dialect.success([dialect.text(call.method)], call.id)


class Served:
    """A connection to a server with the given routes and RPC entry."""

    def __init__(
        self,
        *,
        rpc: Rpc = echo_method,
        routes: Callable[[Routes], None] = lambda routes: None,
        limits: Limits | None = None,
        profile: str = "newest",
    ) -> None:
        self.clock = Clock()
        self.routes = Routes()
        add_rpc_routes(self.routes, rpc, profile)
        routes(self.routes)
        self.server = HttpServer(self.routes, self.clock, limits)
        self.connect()

    def connect(self) -> None:
        self.connection = self.server.buildProtocol(None)
        assert self.connection is not None
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.7", 4000))
        self.connection.makeConnection(self.transport)

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.connection.dataReceived(part)

    @property
    def closed(self) -> bool:
        return self.transport.disconnecting or self.transport.disconnected

    def take(self) -> bytes:
        out = self.transport.value()
        self.transport.clear()
        return out

    def answers(self) -> list[Answered]:
        return parse_answers(self.take())


def parse_answers(data: bytes) -> list[Answered]:
    """Split a byte stream into answers; one without length takes the rest."""
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        length = int(headers.get("content-length", len(rest)))
        found.append(Answered(int(first.split()[1]), headers, rest[:length]))
        data = rest[length:]
    return found


def xml_call(method: str = "host.get_all") -> bytes:
    return (
        f'<?xml version="1.0"?><methodCall><methodName>{method}</methodName><params>'
        "<param><value><string>s</string></value></param></params></methodCall>"
    ).encode()


def post(
    body: bytes, path: str = "/", extra: str = "", version: str = "1.1", length: int | None = None
) -> bytes:
    size = len(body) if length is None else length
    head = f"POST {path} HTTP/{version}\r\nHost: x\r\n{extra}Content-Length: {size}\r\n\r\n"
    return head.encode() + body


def ok_xml(text: str) -> bytes:
    return b"".join(XMLRPC.success([XMLRPC.text(text)]))

"""Requests and responses as the handlers see them."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import unquote, unquote_plus

from twisted.internet.protocol import Protocol as ByteProtocol

from xapi_py.http.bodies import BodyStream
from xapi_py.http.peers import Peer

REASONS: Final = {
    101: "Switching Protocols",
    200: "OK",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Found",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorised",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    416: "Range Not Satisfiable",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Method Not Implemented",
    503: "Service Unavailable",
}

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer; ``close`` ends the connection after it."""

    status: int = 200
    body: Sequence[bytes] = ()
    headers: Headers = ()
    close: bool = False


@dataclass(frozen=True, slots=True)
class StreamingResponse:
    """An answer whose body is made while it is sent.

    With ``length`` None the end of the body is the end of the connection: the
    clients of this API do not read chunked bodies.  With ``completes_task`` the
    body itself completes the task of the request when it is closed.
    """

    body: AsyncIterator[bytes]
    status: int = 200
    headers: Headers = ()
    length: int | None = None
    completes_task: bool = False


NO_HEAD: Final = 0
"""The status of a Takeover before which nothing is written."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """An answer after which ``protocol`` owns the connection.

    The status line and headers are written first, unless the status is
    ``NO_HEAD``; the protocol then gets the transport and every byte that came
    after the request's headers or its collected body.
    """

    protocol: ByteProtocol
    status: int = 200
    headers: Headers = ()


Answer = Response | StreamingResponse | Takeover | None
"""None: the handler has answered through ``Request.answer_early``."""


class HttpError(Exception):
    """Ends a request with an error page of this status."""

    def __init__(self, status: int, detail: str = "", headers: Headers = ()) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class Connection(Protocol):
    """What a request needs of the connection it came on."""

    def write_early(self, status: int, headers: Headers) -> None: ...

    def abort(self) -> None: ...

    def on_disconnect(self, call: Callable[[], None]) -> None: ...


@dataclass(slots=True)
class Request:
    """One request.

    ``headers`` have lower-case names; of a repeated header the last counts.
    ``content`` is the whole body where the route collects it (RPC); the
    others read ``body``.
    """

    method: str
    target: str
    version: str
    headers: Mapping[str, str]
    peer: Peer
    connection: Connection
    body: BodyStream
    content: bytes = b""
    _path: str | None = None
    _query: dict[str, str] | None = None
    _cookies: dict[str, str] | None = None
    answered_early: bool = False

    @property
    def path(self) -> str:
        """The path without query, unquoted."""
        if self._path is None:
            self._path = path_of(self.target)
        return self._path

    @property
    def query(self) -> dict[str, str]:
        """The query arguments; of a repeated one the first counts."""
        if self._query is None:
            self._query = _pairs(self.target.partition("?")[2], "&", unquote_plus)
        return self._query

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies; of a repeated one the first counts."""
        if self._cookies is None:
            self._cookies = _pairs(self.headers.get("cookie", ""), ";", unquote)
        return self._cookies

    def argument(self, name: str) -> str | None:
        """Give a query argument, else the cookie of that name."""
        found = self.query.get(name)
        return self.cookies.get(name) if found is None else found

    @property
    def task_id(self) -> str | None:
        """The task this request is to complete."""
        return self.argument("task_id")

    @property
    def subtask_of(self) -> str | None:
        """The parent of the task this request is to make."""
        return self.argument("subtask_of")

    def answer_early(self, status: int = 200, headers: Headers = ()) -> None:
        """Send status line and headers now, before the body is read.

        Uploading clients wait for this before they send.  The handler then
        returns None and the connection is closed.
        """
        self.answered_early = True
        self.connection.write_early(status, headers)

    def invite(self) -> None:
        """Have a client that completes a task begin to send its body.

        Such clients (xe) wait for the head of the answer first, and learn
        from the task how it ended.
        """
        if self.task_id and not self.answered_early:
            self.answer_early()

    def on_disconnect(self, call: Callable[[], None]) -> None:
        """Have ``call`` called if the client leaves before the answer."""
        self.connection.on_disconnect(call)


def path_of(target: str) -> str:
    """Give the unquoted path of a request target, also of an absolute one."""
    path = target.partition("?")[0]
    if not path.startswith("/") and "://" in path:
        path = "/" + path.partition("://")[2].partition("/")[2]
    return unquote(path) if "%" in path else path


def _pairs(text: str, separator: str, decode: Callable[[str], str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in text.split(separator):
        name, _, value = item.strip().partition("=")
        if name:
            found.setdefault(decode(name), decode(value))
    return found

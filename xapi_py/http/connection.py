"""One HTTP/1.1 connection: heads, bodies, answers, deadlines."""

from collections.abc import Callable
from typing import Final, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from xapi_py.http import pages
from xapi_py.http.answering import AnsweringConnection, Limits, State
from xapi_py.http.bodies import NO_BODY, BodyStream
from xapi_py.http.heads import ChunkedBody, Head, parse_head
from xapi_py.http.messages import HttpError, Request
from xapi_py.http.peers import Peer, peer_of
from xapi_py.http.routes import Route, Routes

_PIPELINE_LIMIT_BYTES: Final = 512 * 1024
_UNTIL_CLOSE: Final = -1
_METHODS: Final = frozenset({"GET", "POST", "PUT", "OPTIONS", "CONNECT"})


class HttpConnection(AnsweringConnection):
    """Serves the requests of one connection, one after the other."""

    def __init__(
        self, routes: Routes, limits: Limits, seconds: Callable[[], float], peer_kind: str = "tcp"
    ) -> None:
        super().__init__(limits, seconds, peer_kind)
        self._routes = routes
        self._peer: Peer | None = None
        self._advancing = False
        self._route: Route | None = None
        self._missing = 0
        self._content: list[bytes] = []
        self._chunked: ChunkedBody | None = None
        self._in_head = False
        self.on_closed: Callable[[HttpConnection], None] | None = None

    def connectionMade(self) -> None:
        self._open = True
        self._deadline = self._seconds() + self._limits.header_s

    def dataReceived(self, data: bytes) -> None:
        state = self._state
        if state is State.TAKEN:
            cast(Protocol, self._taker).dataReceived(data)
        elif state is State.STREAM:
            self._deadline = self._seconds() + self._limits.stall_s
            self._stream(data)
        elif state is not State.LINGER:
            self._buffer = self._buffer + data if self._buffer else data
            if state is not State.BUSY:
                self._advance()
            elif len(self._buffer) > _PIPELINE_LIMIT_BYTES:
                self._pause()

    def connectionLost(self, reason: Failure | None = None) -> None:  # type: ignore[override]
        self._open = False
        self._buffer = b""
        if self.on_closed is not None:
            self.on_closed(self)
        if self._taker is not None:
            self._taker.connectionLost(reason or Failure(ConnectionDone()))
        request, self._request = self._request, None
        if request is not None:
            request.body.finish(cut_short=self._missing != _UNTIL_CLOSE)
        if self._sender is not None:
            self._sender.stopProducing()
        gone, self._gone = self._gone, []
        for call in gone:
            call()

    def check_deadline(self, now: float) -> None:
        """Close the connection if the client has been too slow."""
        if self._deadline and now >= self._deadline:
            self._deadline = 0.0
            if self._state is State.STREAM and self._reading_paused:
                return
            self._out.abortConnection()

    def _next_request(self) -> None:
        self._route = None
        if self._buffer:
            self._advance()

    def _advance(self) -> None:
        """Serve what is in the buffer, as far as it goes."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._open and self._buffer:
                if self._state is State.HEAD:
                    if not self._take_head():
                        return
                elif self._state is State.CONTENT:
                    if not self._take_content():
                        return
                else:
                    return
        finally:
            self._advancing = False

    def _take_head(self) -> bool:
        buffer = self._buffer
        limit = self._limits.header_bytes
        while buffer.startswith(b"\r\n"):
            buffer = self._buffer = buffer[2:]
        end = buffer.find(b"\r\n\r\n", 0, limit + 4)
        if end < 0:
            if len(buffer) > limit:
                self._fail(431)
            elif buffer and not self._in_head:
                # armed once: further bytes must not move it
                self._in_head = True
                self._deadline = self._seconds() + self._limits.header_s
            return False
        self._in_head = False
        self._deadline = 0.0
        self._buffer = buffer[end + 4 :]
        try:
            head = parse_head(buffer[: end + 4], self._limits.header_count)
        except HttpError as error:
            self._fail(error.status, error.detail)
            return False
        self._dispatch(head)
        return True

    def _dispatch(self, head: Head) -> None:
        method = head.method
        self._keep_alive = head.keep_alive
        if method not in _METHODS:
            self._fail(501, f"{method} is not supported", send_body=method != "HEAD")
            return
        if method == "OPTIONS":
            self._state = State.BUSY
            wanted = head.headers.get("access-control-request-headers", "")
            self._respond(pages.preflight(wanted))
            return
        route = self._route = self._routes.find(method, head.path)
        if route is None:
            self._fail(403)
            return
        collected = route.content is not None
        body = NO_BODY if collected else BodyStream(self._pause, self._resume)
        self._request = Request(
            method, head.target, head.version, head.headers, self._find_peer(), self, body
        )
        if route.content is not None:
            self._begin_content(self._request, route.content.limit_bytes)
        else:
            self._begin_stream(self._request, head)

    def _begin_content(self, request: Request, limit_bytes: int) -> None:
        length = request.headers.get("content-length")
        if length is None or "transfer-encoding" in request.headers:
            self._fail(500, "a Content-Length header is required")
            return
        self._missing = int(length)
        if self._missing > limit_bytes:
            self._fail(500, f"more than {limit_bytes} bytes")
            return
        self._content = []
        self._state = State.CONTENT
        self._deadline = self._seconds() + self._limits.body_s
        if self._missing == 0:
            self._have_content(b"")

    def _take_content(self) -> bool:
        buffer = self._buffer
        missing = self._missing
        if len(buffer) < missing:
            self._content.append(buffer)
            self._missing -= len(buffer)
            self._buffer = b""
            return False
        if self._content:
            self._content.append(buffer[:missing])
            content = b"".join(self._content)
            self._content = []
        else:
            content = buffer[:missing]
        self._buffer = buffer[missing:]
        self._have_content(content)
        return True

    def _have_content(self, content: bytes) -> None:
        request = self._request
        route = self._route
        assert request is not None and route is not None and route.content is not None
        request.content = content
        self._state = State.BUSY
        self._deadline = 0.0
        self._run(route.content.answer, request)

    def _begin_stream(self, request: Request, head: Head) -> None:
        """Start a handler that reads its body, if any, while it arrives."""
        headers = request.headers
        leftover, self._buffer = self._buffer, b""
        self._state = State.STREAM
        self._deadline = self._seconds() + self._limits.stall_s
        self._missing = 0
        if "chunked" in headers.get("transfer-encoding", "").lower():
            self._keep_alive = False
            self._chunked = head.chunks(request.body.feed)
        elif "content-length" in headers:
            self._missing = int(headers["content-length"])
        elif request.method == "PUT" and not head.upgrade:
            # its end is the end of the connection
            self._missing = _UNTIL_CLOSE
            self._keep_alive = False
        if self._missing == 0 and self._chunked is None:
            self._end_body(leftover)
        elif leftover:
            self._stream(leftover)
        route = self._route
        assert route is not None and route.handler is not None
        self._run(route.handler, request)

    def _stream(self, data: bytes) -> None:
        request = self._request
        if request is None:
            return
        if self._chunked is not None:
            try:
                if self._chunked.feed(data):
                    self._end_body(b"")
            except HttpError:
                self._end_body(b"", cut_short=True)
        elif self._missing == _UNTIL_CLOSE:
            request.body.feed(data)
        elif len(data) < self._missing:
            self._missing -= len(data)
            request.body.feed(data)
        else:
            mine, rest = data[: self._missing], data[self._missing :]
            request.body.feed(mine)
            self._end_body(rest)

    def _end_body(self, rest: bytes, *, cut_short: bool = False) -> None:
        self._chunked = None
        self._missing = 0
        self._buffer = rest
        self._state = State.BUSY
        self._deadline = 0.0
        if self._request is not None:
            self._request.body.finish(cut_short=cut_short)

    def _find_peer(self) -> Peer:
        if self._peer is None:
            self._peer = peer_of(self._out, self._peer_kind)
        return self._peer

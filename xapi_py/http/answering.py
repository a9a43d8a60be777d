"""The answering half of an HTTP connection: answers, closing, deadlines."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from xapi_py.base.names import new_uuid
from xapi_py.http import pages
from xapi_py.http.bodies import BodyCutShort
from xapi_py.http.messages import (
    NO_HEAD,
    Answer,
    Headers,
    HttpError,
    Request,
    Response,
    StreamingResponse,
    Takeover,
    path_of,
)
from xapi_py.http.sending import ChunkSender, StreamSender, abandon

log = logging.getLogger(__name__)

_LONG_ANSWER_BYTES: Final = 256 * 1024
_UPLOAD_READ_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask of a connection; times in seconds."""

    header_bytes: int = 8192
    header_count: int = 100
    header_s: float = 10.0
    body_s: float = 60.0
    stall_s: float = 600.0
    idle_s: float = 600.0
    linger_s: float = 2.0
    connections: int = 1024


class State(Enum):
    """What the bytes that arrive are."""

    HEAD = auto()
    CONTENT = auto()  # a body that is collected
    STREAM = auto()  # a body that is handed on
    BUSY = auto()  # nothing yet: the next request waits for this answer
    TAKEN = auto()  # not ours
    LINGER = auto()  # nobody's: the connection is about to close


class AnsweringConnection(Protocol):
    """Sends the answers of one connection and decides when it ends.

    The reading half says what comes after an answer in ``_next_request``.
    """

    def __init__(self, limits: Limits, seconds: Callable[[], float], peer_kind: str) -> None:
        self._limits = limits
        self._seconds = seconds
        self._peer_kind = peer_kind
        self._state = State.HEAD
        self._buffer = b""
        self._deadline = 0.0
        self._request: Request | None = None
        self._keep_alive = False
        self._sender: ChunkSender | StreamSender | None = None
        self._taker: Protocol | None = None
        self._gone: list[Callable[[], None]] = []
        self._open = False
        self._reading_paused = False

    def _next_request(self) -> None:
        raise NotImplementedError

    @property
    def _out(self) -> Any:
        return self.transport

    def abort(self) -> None:
        """Drop the connection."""
        if self._open:
            self._out.abortConnection()

    def on_disconnect(self, call: Callable[[], None]) -> None:
        """Have ``call`` called if the client leaves before the answer."""
        if self._open:
            self._gone.append(call)
        else:
            call()

    def write_early(self, status: int, headers: Headers) -> None:
        """Write a head before the body of the request is read."""
        self._out.bufferSize = _UPLOAD_READ_BYTES
        self._keep_alive = False
        if self._open:
            self._out.write(pages.head(status, headers, keep_alive=False, length=None))

    def _run(
        self, handler: Callable[[Request], Awaitable[Answer] | Answer], request: Request
    ) -> None:
        try:
            answer = handler(request)
        except Exception:
            self._failed(Failure(), request)
            return
        if type(answer) is Response:
            self._respond(answer)
        elif isinstance(answer, Deferred):
            answer.addCallbacks(self._answered, self._failed, errbackArgs=(request,))
        elif answer is not None and isinstance(answer, Awaitable):
            waiting: Deferred[Answer] = Deferred.fromCoroutine(answer)  # type: ignore[arg-type]
            waiting.addCallbacks(self._answered, self._failed, errbackArgs=(request,))
        else:
            self._answered(answer)

    def _answered(self, answer: Any) -> None:
        if not self._open:
            if isinstance(answer, StreamingResponse):
                abandon(answer.body)
        elif type(answer) is Response:
            self._respond(answer)
        elif answer is None:
            self._close()
        elif isinstance(answer, StreamingResponse):
            self._respond_streaming(answer)
        else:
            self._hand_over(answer)

    def _failed(self, failure: Failure, request: Request) -> None:
        problem = failure.value
        if not self._open:
            if not isinstance(problem, BodyCutShort | CancelledError | HttpError):
                log.error("%s %s failed\n%s", request.method, path_of(request.target), failure)
            return
        if request.answered_early:
            log.info("%s %s failed: %r", request.method, path_of(request.target), problem)
            self._close()
        elif isinstance(problem, HttpError):
            self._respond(pages.error_page(problem.status, problem.detail, problem.headers))
        else:
            log_id = new_uuid()
            trace = failure.getTraceback()
            log.error("%s %s [%s]\n%s", request.method, path_of(request.target), log_id, trace)
            self._respond(pages.error_page(500, f"{type(problem).__name__} [{log_id}]"))

    def _fail(self, status: int, detail: str = "", *, send_body: bool = True) -> None:
        """Answer what never became a request, and close."""
        page = pages.error_page(status, detail)
        body = page.body if send_body else ()
        length = sum(map(len, page.body))
        head = pages.head(status, page.headers, keep_alive=False, length=length)
        self._out.write(b"".join((head, *body)))
        self._close(unread=True)

    def _respond(self, response: Response) -> None:
        if not self._open:
            return
        body = response.body
        length = sum(map(len, body))
        body_left = self._state is State.STREAM
        keep_alive = self._keep_alive and not response.close and not body_left
        try:
            head = pages.head(
                response.status, response.headers, keep_alive=keep_alive, length=length
            )
        except ValueError as error:
            log.error("answer not sent: %s", error)
            self._fail(500)
            return
        self._keep_alive = keep_alive
        if length <= _LONG_ANSWER_BYTES:
            self._out.write(b"".join((head, *body)))
            self._sent()
        else:
            self._out.write(head)
            self._sender = ChunkSender(self._out, body, self._sent, self._progress)
            self._sender.start()

    def _respond_streaming(self, answer: StreamingResponse) -> None:
        self._keep_alive = (
            self._keep_alive and answer.length is not None and self._state is State.BUSY
        )
        head = pages.head(
            answer.status, answer.headers, keep_alive=self._keep_alive, length=answer.length
        )
        self._out.write(head)
        self._sender = StreamSender(
            self._out, answer.body, answer.length, self._stream_sent, self._progress
        )
        self._sender.start()

    def _progress(self) -> None:
        self._deadline = self._seconds() + self._limits.stall_s

    def _stream_sent(self, complete: bool) -> None:
        if complete:
            self._sent()
        elif self._open:
            # the client must see that the body is not whole
            self._out.abortConnection()

    def _sent(self) -> None:
        """Go on to the next request, or close."""
        self._sender = None
        self._gone.clear()
        if not self._keep_alive:
            self._close()
            return
        self._request = None
        self._state = State.HEAD
        self._deadline = self._seconds() + self._limits.idle_s
        self._resume()
        self._next_request()

    def _hand_over(self, takeover: Takeover) -> None:
        if takeover.status != NO_HEAD:
            self._out.write(pages.takeover_head(takeover.status, takeover.headers))
        leftover, self._buffer = self._buffer, b""
        self._state = State.TAKEN
        self._deadline = 0.0
        self._gone.clear()
        self._resume()
        self._taker = takeover.protocol
        takeover.protocol.makeConnection(self._out)
        if leftover:
            takeover.protocol.dataReceived(leftover)

    def _close(self, *, unread: bool = False) -> None:
        """Close so that the client can read the answer.

        With a body still on its way, ``unread``, it is read and dropped for a
        moment: closing a socket with unread data would reset the connection
        and lose the answer.
        """
        unread = unread or self._state is State.STREAM
        request, self._request = self._request, None
        self._state = State.LINGER
        self._buffer = b""
        if request is not None:
            request.body.finish(cut_short=True)
            request.body.discard()
        if not self._open:
            return
        half_close = getattr(self._out, "loseWriteConnection", None)
        if unread and half_close is not None and self._peer_kind != "tls":
            self._deadline = self._seconds() + self._limits.linger_s
            half_close()
        else:
            self._deadline = self._seconds() + self._limits.stall_s
            self._out.loseConnection()

    def _pause(self) -> None:
        if self._open and not self._reading_paused:
            self._reading_paused = True
            self._out.pauseProducing()

    def _resume(self) -> None:
        if self._open and self._reading_paused:
            self._reading_paused = False
            self._out.resumeProducing()

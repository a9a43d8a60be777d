"""One connection: heads, bodies, answers in order, deadlines, limits."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol

from tests.unit.http.served import Served, echo_method, ok_xml, parse_answers, post, xml_call
from xapi_py.http.answering import Limits
from xapi_py.http.messages import (
    HttpError,
    Request,
    Response,
    StreamingResponse,
    Takeover,
)
from xapi_py.http.routes import Routes


def test_a_call_is_answered_and_the_connection_kept() -> None:
    served = Served()
    served.send(post(xml_call("VM.get_all")))
    (answer,) = served.answers()
    assert (answer.status, answer.body) == (200, ok_xml("VM.get_all"))
    assert answer.headers["content-type"] == "text/xml"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["connection"] == "keep-alive"
    assert not served.closed


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_a_request_may_come_in_any_pieces(size: int) -> None:
    served = Served()
    data = post(xml_call("a.b")) + post(xml_call("c.d"))
    served.send(*(data[i : i + size] for i in range(0, len(data), size)))
    assert [a.body for a in served.answers()] == [ok_xml("a.b"), ok_xml("c.d")]


def test_pipelined_requests_are_answered_in_order() -> None:
    waiting: list[Deferred[list[bytes]]] = []

    def rpc(request: object, dialect: object, call: object) -> Deferred[list[bytes]]:
        waiting.append(Deferred())
        return waiting[-1]

    served = Served(rpc=rpc)
    served.send(post(xml_call()) * 3)
    assert len(waiting) == 1
    for text in (b"1", b"2", b"3"):
        waiting[-1].callback([text])
    assert [a.body for a in served.answers()] == [b"1", b"2", b"3"]


def test_a_thousand_pipelined_requests_do_not_recurse() -> None:
    served = Served()
    served.send(post(xml_call()) * 1000)
    assert len(served.answers()) == 1000


@pytest.mark.parametrize(
    ("version", "extra", "closed"),
    [
        ("1.1", "", False),
        ("1.0", "", True),
        ("1.0", "Connection: keep-alive\r\n", False),
        ("1.1", "Connection: close\r\n", True),
    ],
)
def test_keep_alive_follows_version_and_header(version: str, extra: str, closed: bool) -> None:
    served = Served()
    served.send(post(xml_call(), version=version, extra=extra))
    (answer,) = served.answers()
    assert answer.headers["connection"] == ("close" if closed else "keep-alive")
    assert served.closed is closed


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /nosuch HTTP/1.1\r\n\r\n", 403),
        (b"PUT /nosuch HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 403),
        (b"DELETE / HTTP/1.1\r\n\r\n", 501),
        (b"HEAD / HTTP/1.1\r\n\r\n", 501),
        (b"post / HTTP/1.1\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\n\r\n", 500),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 500),
        (b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 500),
        (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 500),
        (b"POST / HTTP/1.1\r\nContent-Length: abc\r\n\r\n", 500),
        (b"POST / HTTP/1.1\r\nContent-Length: 307201\r\n\r\nx", 500),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nx", 500),
        (b"PUT /nosuch HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\nx", 403),
        (b"POST / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nX: " + b"a" * 9000, 431),
        (b"POST / HTTP/1.1\r\n" + b"X: v\r\n" * 150 + b"\r\n", 431),
        (b"garbage\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(data: bytes, status: int) -> None:
    served = Served()
    served.send(data)
    (answer,) = served.answers()
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "text/html"
    assert served.closed


def test_options_answers_the_preflight_of_any_path() -> None:
    served = Served()
    served.send(b"OPTIONS /nosuch HTTP/1.1\r\nAccess-Control-Request-Headers: content-type\r\n\r\n")
    (answer,) = served.answers()
    assert answer.status == 200
    assert answer.headers["access-control-allow-headers"] == "content-type, X-Requested-With"
    assert answer.headers["access-control-allow-methods"] == "PUT"
    assert not served.closed


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/RPC2", 200),
        ("/RPC2/", 200),
        ("/xmlrpc", 200),
        ("/foo/bar", 200),
        ("/?a=b", 200),
        ("/json", 200),
        ("http://x/", 200),
        ("/jsonrpc", 500),
        ("/jsonrpc/", 500),
        ("/jsonrpc?x=1", 500),
    ],
)
def test_xml_rpc_answers_post_to_every_path_but_json_rpc(path: str, status: int) -> None:
    served = Served()
    served.send(post(xml_call(), path=path))
    assert [a.status for a in served.answers()] == [status]


def test_a_body_at_the_limit_is_taken() -> None:
    served = Served()
    call = xml_call()
    served.send(post(call + b" " * (307200 - len(call))))
    assert [a.status for a in served.answers()] == [200]


def test_a_slow_head_is_cut_off_however_steadily_it_drips() -> None:
    served = Served()
    for byte in b"POST / HTT":
        served.send(bytes((byte,)))
        served.clock.advance(0.9)
    assert not served.transport.disconnected
    served.clock.advance(2.5)
    assert served.transport.disconnected


def test_a_connection_that_never_speaks_is_dropped() -> None:
    served = Served()
    served.clock.advance(12)
    assert served.transport.disconnected


def test_a_slow_body_is_cut_off() -> None:
    served = Served()
    served.send(post(b"", length=100))
    served.clock.advance(59)
    assert not served.transport.disconnected
    served.send(b"x")
    served.clock.advance(3)
    assert served.transport.disconnected


def test_a_waiting_call_has_no_deadline() -> None:
    served = Served(rpc=lambda request, dialect, call: Deferred())
    served.send(post(xml_call()))
    for _ in range(100):
        served.clock.advance(60)
    assert not served.transport.disconnected


def test_connections_beyond_the_limit_are_refused() -> None:
    served = Served(limits=Limits(connections=2))
    first = served.connection
    served.connect()
    assert served.server.buildProtocol(None) is None
    first.connectionLost()
    assert served.server.buildProtocol(None) is not None


def test_an_exception_of_the_rpc_entry_is_an_internal_error() -> None:
    def rpc(request: object, dialect: object, call: object) -> list[bytes]:
        raise KeyError("secret detail")

    served = Served(rpc=rpc)
    served.send(post(xml_call()))
    (answer,) = served.answers()
    assert answer.status == 200
    assert b"<value>INTERNAL_ERROR</value>" in answer.body
    assert b"secret detail" not in answer.body


def test_leaving_before_the_answer_is_told_and_the_answer_dropped() -> None:
    left: list[int] = []
    waiting: Deferred[list[bytes]] = Deferred()

    def rpc(request: Request, dialect: object, call: object) -> Deferred[list[bytes]]:
        request.on_disconnect(lambda: left.append(1))
        return waiting

    served = Served(rpc=rpc)
    served.send(post(xml_call()))
    served.connection.connectionLost()
    assert left == [1]
    waiting.callback([b"x"])
    assert served.take() == b""


def test_a_long_answer_is_sent_at_the_pace_of_the_client() -> None:
    chunks = [b"%07d " % i * 1000 for i in range(100)]
    served = Served(rpc=lambda request, dialect, call: chunks)
    served.send(post(xml_call()), post(xml_call()))
    assert len(served.transport.value()) < 1000
    sent = b""
    while served.transport.producer is not None and len(sent) < 2_000_000:
        served.transport.producer.resumeProducing()
        sent = served.transport.value()
    assert [a.body for a in parse_answers(sent)] == [b"".join(chunks)] * 2


class Upload:
    """A handler that answers early and keeps what it is sent."""

    def __init__(self, *, early: bool = True, wait: Deferred[None] | None = None) -> None:
        self.got: list[bytes] = []
        self.outcome = ""
        self._early = early
        self._wait = wait

    async def __call__(self, request: Request) -> Response | None:
        if self._early:
            request.answer_early()
        if self._wait is not None:
            await self._wait
        try:
            async for piece in request.body:
                self.got.append(piece)
            self.outcome = "whole"
        except Exception as error:
            self.outcome = type(error).__name__
            raise
        return None if self._early else Response(200, (b"done",))


PUT = b"PUT /import?task_id=t HTTP/1.1\r\nHost: x\r\n"


def uploading(upload: Upload, *parts: bytes) -> Served:
    served = Served(routes=lambda routes: routes.add("PUT", "/import", upload))
    served.send(*parts)
    return served


def test_an_upload_is_answered_before_its_body_is_read() -> None:
    upload = Upload()
    served = uploading(upload, PUT + b"Content-Length: 6\r\n\r\n")
    assert served.take().startswith(b"HTTP/1.1 200 OK\r\n")
    served.send(b"abc", b"def")
    assert (b"".join(upload.got), upload.outcome) == (b"abcdef", "whole")
    assert served.closed


def test_an_upload_cut_short_is_told_from_a_whole_one() -> None:
    upload = Upload()
    served = uploading(upload, PUT + b"Content-Length: 1125899906842624\r\n\r\nabc")
    served.connection.connectionLost()
    assert (b"".join(upload.got), upload.outcome) == (b"abc", "BodyCutShort")


def test_an_upload_without_length_ends_with_the_connection() -> None:
    upload = Upload()
    served = uploading(upload, b"PUT /import HTTP/1.0\r\n\r\nabc", b"GET / HTTP/1.0\r\n\r\n")
    served.connection.connectionLost()
    assert (b"".join(upload.got), upload.outcome) == (b"abcGET / HTTP/1.0\r\n\r\n", "whole")


def test_a_chunked_upload_is_taken_apart() -> None:
    upload = Upload(early=False)
    data = b"3\r\nabc\r\n", b"2\r\nde", b"\r\n0\r\n\r\nPUT / HTTP/1.1\r\n"
    served = uploading(upload, PUT + b"Transfer-Encoding: chunked\r\n\r\n", *data)
    assert (b"".join(upload.got), upload.outcome) == (b"abcde", "whole")
    assert [a.body for a in served.answers()] == [b"done"]
    assert served.closed


def test_an_upload_on_a_kept_connection_is_followed_by_the_next_request() -> None:
    upload = Upload(early=False)
    served = uploading(upload, PUT + b"Content-Length: 3\r\n\r\nabc" + post(xml_call()))
    assert [a.status for a in served.answers()] == [200, 200]


def test_a_client_that_uploads_faster_than_it_is_read_is_stopped() -> None:
    wait: Deferred[None] = Deferred()
    upload = Upload(wait=wait)
    served = uploading(upload, PUT + b"Content-Length: 10000000\r\n\r\n")
    for _ in range(100):
        served.send(b"x" * 65536)
        if served.transport.producerState == "paused":
            break
    assert served.transport.producerState == "paused"
    wait.callback(None)
    assert served.transport.producerState == "producing"
    served.send(b"x" * (10000000 - sum(map(len, upload.got))))
    assert upload.outcome == "whole"


def test_a_refused_upload_is_answered_although_its_body_still_comes() -> None:
    async def refuse(request: Request) -> Response:
        raise HttpError(401, headers=(("WWW-Authenticate", 'Basic realm="put_import"'),))

    served = Served(routes=lambda routes: routes.add("PUT", "/import", refuse))
    served.send(PUT + b"Content-Length: 1000\r\n\r\nabc")
    (answer,) = served.answers()
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="put_import"'
    served.send(b"more")
    assert served.take() == b""


def test_a_download_waits_for_the_client() -> None:
    made: list[int] = []

    async def pieces():
        for i in range(5):
            made.append(i)
            yield b"%d" % i

    async def export(request: Request) -> StreamingResponse:
        return StreamingResponse(pieces())

    served = Served(routes=lambda routes: routes.add("GET", "/export", export))
    original = served.transport.registerProducer

    def register(producer: object, streaming: bool) -> None:
        original(producer, streaming)
        producer.pauseProducing()  # type: ignore[attr-defined]

    served.transport.registerProducer = register  # type: ignore[method-assign]
    served.send(b"GET /export?uuid=x HTTP/1.0\r\n\r\n")
    assert made == [0]
    served.transport.producer.resumeProducing()
    (answer,) = served.answers()
    assert (answer.body, answer.headers.get("content-length")) == (b"01234", None)
    assert served.closed


def test_leaving_during_a_download_closes_its_source() -> None:
    closed: list[str] = []

    async def pieces():
        try:
            yield b"x"
            await Deferred()
        finally:
            closed.append("closed")

    def export(request: Request) -> StreamingResponse:
        return StreamingResponse(pieces())

    served = Served(routes=lambda routes: routes.add("GET", "/export", export))
    served.send(b"GET /export HTTP/1.1\r\n\r\n")
    served.connection.connectionLost()
    assert closed == ["closed"]


def test_a_download_shorter_than_announced_breaks_the_connection() -> None:
    async def pieces():
        yield b"abc"

    def export(request: Request) -> StreamingResponse:
        return StreamingResponse(pieces(), length=10)

    served = Served(routes=lambda routes: routes.add("GET", "/export", export))
    served.send(b"GET /export HTTP/1.1\r\n\r\n")
    assert served.transport.disconnected


def test_a_folded_header_is_one_line() -> None:
    seen: list[str] = []

    def show(request: Request) -> Response:
        seen.append(request.headers["x-a"])
        return Response()

    served = Served(routes=lambda routes: routes.add("GET", "/x", show))
    served.send(b"GET /x HTTP/1.1\r\nX-A: b\r\n\t c\r\n\r\n")
    assert seen == ["b c"]


class Recorder(Protocol):
    """Takes a connection over and keeps what arrives."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.lost = False

    def connectionMade(self) -> None:
        self.transport.write(b"RFB 003.008\n")  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.got.append(data)

    def connectionLost(self, reason: object = None) -> None:  # type: ignore[override]
        self.lost = True


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"CONNECT /console?uuid=x HTTP/1.0\r\nCookie: session_id=s\r\n\r\n", 200),
        (b"GET /console HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 101),
    ],
)
def test_a_handler_may_take_the_connection_over(head: bytes, status: int) -> None:
    taker = Recorder()

    def console(routes: Routes) -> None:
        for method in ("GET", "CONNECT"):
            routes.add(method, "/console", lambda request: Takeover(taker, status))

    served = Served(routes=console)
    served.send(head + b"early", b"GET / HTTP/1.1\r\n\r\n")
    assert taker.got == [b"early", b"GET / HTTP/1.1\r\n\r\n"]
    out = served.take()
    assert out.startswith(b"HTTP/1.1 %d " % status)
    assert out.endswith(b"\r\n\r\nRFB 003.008\n")
    for _ in range(100):
        served.clock.advance(60)
    assert not served.transport.disconnected
    served.connection.connectionLost()
    assert taker.lost


def test_header_values_cannot_add_headers() -> None:
    def redirect(request: Request) -> Response:
        return Response(302, (), (("Location", "/x\r\nSet-Cookie: a=b"),))

    served = Served(routes=lambda routes: routes.add("GET", "/x", redirect))
    served.send(b"GET /x HTTP/1.1\r\n\r\n")
    assert [a.status for a in served.answers()] == [500]


def test_the_echo_entry_is_what_it_says() -> None:
    served = Served(rpc=echo_method)
    served.send(post(b'{"method":"a.b","params":[],"id":"q"}', path="/jsonrpc"))
    assert served.answers()[0].body == b'{"result":"a.b","error":null,"id":"q"}'

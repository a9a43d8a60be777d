"""Any bytes on a connection end in answers, a refusal or a deadline."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.http.served import Served, parse_answers, post, xml_call
from xapi_py.http.messages import Request, Response, StreamingResponse
from xapi_py.http.routes import Routes

SEEDS = (
    post(xml_call()),
    post(b'{"method":"a.b","params":[],"id":1}', path="/jsonrpc"),
    b"GET /export?uuid=x&session_id=OpaqueRef%3Ay HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\n\r\n",
    b"PUT /import HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789" + post(xml_call()),
    b"PUT /import HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"CONNECT /console?uuid=x HTTP/1.0\r\nCookie: session_id=s\r\n\r\nRFB",
    b"OPTIONS / HTTP/1.1\r\nAccess-Control-Request-Headers: x\r\n\r\n",
    b"GET /export HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x80",
)
TOKENS = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\0", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n",
    b"HTTP/1.1", b"HTTP/9.9", b"%", b"%00", b"%ff", b"?", b"=", b" ", b":", b"ffffffffffffffff\r\n",
)  # fmt: skip


def add_routes(routes: Routes) -> None:
    async def pieces():
        for _ in range(3):
            yield b"x"

    async def upload(request: Request) -> Response | None:
        if "early" in request.query:
            request.answer_early()
        size = sum([len(piece) async for piece in request.body])
        return None if request.answered_early else Response(200, (b"%d" % size,))

    routes.add("GET", "/export", lambda request: StreamingResponse(pieces()))
    routes.add("PUT", "/import", upload)
    routes.add(
        "CONNECT", "/console", lambda request: Response(200, (request.task_id or "").encode())
    )


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["set", "cut", "insert", "token"])):
            case "set" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(0, 30))]
            case "insert":
                data[at:at] = draw(st.binary(max_size=6))
            case _:
                data[at:at] = draw(st.sampled_from(TOKENS))
    return bytes(data)


@settings(max_examples=150, deadline=2000)
@given(streams() | st.binary(max_size=100), st.sampled_from([1, 5, 40, 100_000]), st.booleans())
def test_any_bytes_end_well(data: bytes, size: int, leave: bool) -> None:
    served = Served(routes=add_routes)
    for i in range(0, len(data), size):
        served.send(data[i : i + size])
    out = served.transport.value()
    if leave:
        served.connection.connectionLost()
    else:
        for _ in range(800):
            served.clock.advance(1)
        assert served.transport.disconnected or served.transport.disconnecting
        served.connection.connectionLost()
    assert served.server.open_connections == 0
    assert out == b"" or out.startswith(b"HTTP/1.1 ")
    assert all(a.status in (200, 400, 403, 431, 500, 501) for a in parse_answers(out))


@settings(max_examples=100, deadline=2000)
@given(st.lists(st.sampled_from(SEEDS[:2]), min_size=1, max_size=5), st.data())
def test_cutting_a_stream_elsewhere_changes_nothing(
    parts: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    whole, cut = Served(), Served()
    whole.send(stream)
    cut.send(*(stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)))
    assert whole.take() == cut.take()

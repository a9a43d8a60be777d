"""The internal RPC: frames, calls, failures, cancellation, deadlines."""

from typing import Any

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from xapi_py.base.rpc import framing
from xapi_py.base.rpc.client import RpcClient
from xapi_py.base.rpc.errors import RpcError, RpcUnreachable
from xapi_py.base.rpc.server import CallContext, RpcServer
from xapi_py.base.rpc.updates import UpdateFeed


def test_frames_survive_any_cut() -> None:
    messages = [{"a": "ü" * 300}, [1, 2], "x"]
    stream = b"".join(framing.encode(m) for m in messages)
    for size in (1, 3, 7, 1000):
        decoder = framing.FrameDecoder()
        got = [m for i in range(0, len(stream), size) for m in decoder.feed(stream[i : i + size])]
        assert got == messages


def test_an_oversized_frame_is_refused_before_its_body_arrives() -> None:
    decoder = framing.FrameDecoder(max_frame_bytes=10)
    with pytest.raises(framing.FrameError):
        list(decoder.feed(b"\x00\x00\x00\x0b"))


def test_a_frame_that_is_not_json_is_refused() -> None:
    with pytest.raises(framing.FrameError):
        list(framing.FrameDecoder().feed(b"\x00\x00\x00\x02{]"))


class Served:
    """A server with one connection in memory."""

    def __init__(self, **methods: object) -> None:
        self.clock = Clock()
        server = RpcServer({k.replace("_", "."): v for k, v in methods.items()}, self.clock)  # type: ignore[misc]
        self.protocol = server.buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def send(self, **message: object) -> None:
        self.protocol.dataReceived(framing.encode({"jsonrpc": "2.0", **message}))

    @property
    def answers(self) -> list[dict[str, object]]:
        return list(framing.FrameDecoder().feed(self.transport.value()))  # type: ignore[arg-type]


def test_a_call_is_answered_with_its_id() -> None:
    served = Served(add_up=lambda context, a, b: a + b)
    served.send(id=7, method="add.up", params={"a": 1, "b": 2})
    assert served.answers == [{"jsonrpc": "2.0", "id": 7, "result": 3}]


def test_a_named_error_keeps_its_parameters() -> None:
    def fail(context: CallContext) -> None:
        raise RpcError("Bad_power_state", "Halted", "Running")

    served = Served(vm_start=fail)
    served.send(id=1, method="vm.start", params={})
    assert served.answers[0]["error"] == {
        "code": -32000,
        "message": "Bad_power_state",
        "data": ["Halted", "Running"],
    }


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"id": 1, "method": "none.such", "params": {}}, -32601),
        ({"id": 1, "method": "echo", "params": []}, -32600),
        ({"id": 1, "method": "echo", "params": {"no": 1}}, -32602),
        ({"id": 1}, -32600),
    ],
)
def test_a_bad_request_gets_its_json_rpc_code(message: dict[str, object], code: int) -> None:
    served = Served(echo=lambda context: None)
    served.send(**message)
    assert served.answers[0]["error"]["code"] == code  # type: ignore[index]


def test_cancel_reaches_the_method() -> None:
    seen: list[str] = []

    async def wait(context: CallContext) -> None:
        try:
            await Deferred()
        except CancelledError:
            seen.append("cancelled")
            raise

    served = Served(wait=wait)
    served.send(id=3, method="wait", params={}, dbg="task 1")
    served.send(method="$/cancel", params={"id": 3})
    assert seen == ["cancelled"]
    assert served.answers[0]["error"]["message"] == "Cancelled"  # type: ignore[index]


def test_the_deadline_ends_a_method() -> None:
    async def wait(context: CallContext) -> None:
        await Deferred()

    served = Served(wait=wait)
    served.send(id=3, method="wait", params={}, deadline_s=2.0)
    served.clock.advance(2.1)
    assert served.answers[0]["error"]["message"] == "Cancelled"  # type: ignore[index]


def read(feed: UpdateFeed, epoch: str, cursor: int, timeout_s: float) -> "Deferred[object]":
    return Deferred.fromCoroutine(feed.get(epoch, cursor, timeout_s))


def test_the_feed_gives_each_changed_object_once_at_its_latest_place() -> None:
    clock = Clock()
    feed = UpdateFeed(clock, "e")
    for name in ("a", "b", "a"):
        feed.add("vm", name)
    got = read(feed, "e", 0, 0)
    assert got.result == {"epoch": "e", "cursor": 3, "updates": [["vm", "b"], ["vm", "a"]]}


def test_the_feed_wakes_a_reader_once_for_all_changes_of_a_turn() -> None:
    clock = Clock()
    feed = UpdateFeed(clock, "e")
    got = read(feed, "e", 0, 30)
    feed.add("vm", "a")
    feed.add("vm", "b")
    assert not got.called
    clock.advance(0)
    assert got.result["updates"] == [["vm", "a"], ["vm", "b"]]


def test_the_feed_answers_empty_after_its_timeout() -> None:
    clock = Clock()
    got = read(UpdateFeed(clock, "e"), "e", 0, 30)
    clock.advance(31)
    assert got.result == {"epoch": "e", "cursor": 0, "updates": []}


def test_a_reader_of_an_earlier_process_is_told_to_start_again() -> None:
    got = read(UpdateFeed(Clock(), "new"), "old", 5, 30)
    assert got.result["reset"] is True


def test_a_call_after_a_lost_connection_makes_a_new_one() -> None:
    reactor = MemoryReactorClock()
    client = RpcClient(reactor, "daemon.sock")
    transports: list[StringTransport] = []

    def accept() -> Any:
        factory = reactor.unixClients[-1][1]
        protocol = factory.buildProtocol(UNIXAddress(b"daemon.sock"))
        transports.append(StringTransport())
        protocol.makeConnection(transports[-1])
        return protocol

    first = Deferred.fromCoroutine(client.call("Echo"))
    connection = accept()
    assert transports[0].value()
    connection.connectionLost(Failure(ConnectionDone()))
    failed: list[Any] = []
    first.addErrback(lambda failure: failed.append(failure.type))
    assert failed == [RpcUnreachable]
    Deferred.fromCoroutine(client.call("Echo"))
    assert len(reactor.unixClients) == 2
    accept()
    assert transports[1].value()


def test_a_call_waits_for_a_daemon_that_comes_back() -> None:
    reactor = MemoryReactorClock()
    client = RpcClient(reactor, "daemon.sock", patience_s=10.0)
    outcomes: list[Any] = []
    Deferred.fromCoroutine(client.call("Echo")).addErrback(lambda f: outcomes.append(f.type))

    def refuse() -> None:
        reactor.unixClients[-1][1].clientConnectionFailed(None, Failure(ConnectionRefusedError()))

    refuse()
    reactor.advance(5.0)
    assert len(reactor.unixClients) == 2 and not outcomes
    reactor.advance(5.0)
    refuse()
    assert outcomes == [RpcUnreachable]

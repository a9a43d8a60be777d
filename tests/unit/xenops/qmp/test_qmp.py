"""QMP: the protocol, and a client that outlives nothing."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.unit.xenops.factories import begun, outcome
from xenops.qmp import codec
from xenops.qmp.client import Qmp, QmpError, QmpLost
from xenops.qmp.codec import Event, Greeting, QmpDecoder, QmpProtocolError, Reply

GREETING = b'{"QMP": {"version": {"qemu": {"micro": 1, "minor": 2, "major": 7}}}}\r\n'


def test_what_travels() -> None:
    lines = (
        GREETING
        + b'{"return": {"a": 1}, "id": 3}\r\n'
        + b'{"id": 4, "error": {"class": "GenericError", "desc": "no such thing"}}\r\n'
        + b'{"event": "RTC_CHANGE", "data": {"offset": 9}, "timestamp": {}}\r\n'
        + b'{"something": "new"}\r\n'
    )
    assert QmpDecoder().feed(lines) == [
        Greeting("7.2.1"),
        Reply(3, {"a": 1}),
        Reply(4, None, "GenericError", "no such thing"),
        Event("RTC_CHANGE", {"offset": 9}),
    ]


@given(st.lists(st.integers(1, 50), max_size=20))
def test_messages_may_come_in_pieces(cuts: list[int]) -> None:
    stream = GREETING + b'{"return": "\xc3\xa4\\n", "id": 1}\n' + b'{"event": "STOP"}\n'
    decoder, found = QmpDecoder(), []
    for cut in cuts:
        found += decoder.feed(stream[:cut])
        stream = stream[cut:]
    found += decoder.feed(stream)
    assert found == [Greeting("7.2.1"), Reply(1, "ä\n"), Event("STOP")]


@pytest.mark.parametrize("line", [b"RFB 003.008\n", b"[1]\n", b"x" * (codec.MAX_LINE + 1)])
def test_another_protocol_is_refused(line: bytes) -> None:
    with pytest.raises(QmpProtocolError):
        QmpDecoder().feed(line)


class Line:
    """A client whose other end is the test."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.transport = StringTransport()
        self.qmp = Qmp(self.clock)
        self.qmp.makeConnection(self.transport)

    def sent(self) -> list[dict[str, object]]:
        lines = self.transport.value().splitlines()
        self.transport.clear()
        return [orjson.loads(line) for line in lines]

    def begin(self) -> None:
        ready = begun(self.qmp.ready(10))
        self.qmp.dataReceived(GREETING)
        (asked,) = self.sent()
        assert asked["execute"] == "qmp_capabilities"
        self.qmp.dataReceived(orjson.dumps({"return": {}, "id": asked["id"]}) + b"\n")
        assert outcome(ready) is None


def test_answers_find_their_commands_in_any_order() -> None:
    line = Line()
    line.begin()
    first, second = begun(line.qmp.call("stop")), begun(line.qmp.call("query-status", x=1))
    one, two = line.sent()
    assert two == {"execute": "query-status", "id": two["id"], "arguments": {"x": 1}}
    line.qmp.dataReceived(orjson.dumps({"return": "b", "id": two["id"]}) + b"\n")
    line.qmp.dataReceived(
        orjson.dumps({"error": {"class": "GenericError", "desc": "no"}, "id": one["id"]}) + b"\n"
    )
    assert outcome(second) == "b"
    with pytest.raises(QmpError, match="stop: no"):
        outcome(first)


def test_events_are_told() -> None:
    line, seen = Line(), []
    line.begin()
    line.qmp.on_event = seen.append
    line.qmp.dataReceived(b'{"event": "SHUTDOWN"}\n')
    assert seen == [Event("SHUTDOWN")]


def test_the_end_of_qemu_ends_all_that_waits() -> None:
    line, seen = Line(), []
    line.begin()
    line.qmp.on_lost = lambda: seen.append("lost")
    waiting = begun(line.qmp.call("stop"))
    line.qmp.connectionLost(Failure(ConnectionError("gone")))
    for work in (waiting, begun(line.qmp.call("cont"))):
        with pytest.raises(QmpLost, match="gone"):
            outcome(work)
    assert seen == ["lost"]


def test_a_qemu_that_never_greets_is_given_up() -> None:
    line = Line()
    ready = begun(line.qmp.ready(10))
    line.clock.advance(11)
    with pytest.raises(QmpLost, match="no greeting"):
        outcome(ready)
    assert line.transport.disconnected


def test_a_qemu_that_does_not_answer_is_given_up() -> None:
    line = Line()
    line.begin()
    waiting = begun(line.qmp.call("stop"))
    line.clock.advance(61)
    with pytest.raises(QmpLost, match="stop: no answer"):
        outcome(waiting)


def test_a_late_answer_is_nobodys() -> None:
    line = Line()
    line.begin()
    begun(line.qmp.call("stop")).addErrback(lambda failure: None).cancel()
    line.qmp.dataReceived(b'{"return": {}, "id": 2}\n')
    assert not line.clock.getDelayedCalls()

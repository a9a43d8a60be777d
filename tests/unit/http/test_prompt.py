"""What is sent at once and what waits for the socket."""

import pytest
from twisted.internet.error import ConnectionLost

from xapi_py.http.prompt import _Prompt


class Waiting:
    """A transport that keeps what is written, as Twisted's do."""

    def __init__(self, room: int | ConnectionLost) -> None:
        self.room = room
        self.sent = b""
        self.dataBuffer = b""
        self.offset = 0
        self._tempDataBuffer: list[bytes] = []
        self.connected = True
        self.producer: object | None = None
        self.streamingProducer = False
        self.waiting = False
        self._writeDisconnected = False

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        if isinstance(self.room, ConnectionLost):
            return self.room
        taken = data[: self.room]
        self.sent += taken
        return len(taken)

    def write(self, data: bytes) -> None:
        self._tempDataBuffer.append(data)
        self.waiting = True

    def startWriting(self) -> None:
        self.waiting = True

    def _maybePauseProducer(self) -> None:
        """There is none, or little is kept."""

    @property
    def kept(self) -> bytes:
        """What the loop sends when the socket is ready."""
        return self.dataBuffer[self.offset :] + b"".join(self._tempDataBuffer)


class Prompt(_Prompt, Waiting):
    """The mixture under test."""


@pytest.mark.parametrize(
    ("room", "sent", "kept"), [(100, b"answer", b""), (2, b"an", b"swer"), (0, b"", b"answer")]
)
def test_what_the_socket_takes_is_sent_and_the_rest_waits(
    room: int, sent: bytes, kept: bytes
) -> None:
    transport = Prompt(room)
    transport.write(b"answer")
    assert (transport.sent, transport.kept, transport.waiting) == (sent, kept, bool(kept))


def test_bytes_stay_in_order(room: int = 2) -> None:
    transport = Prompt(room)
    transport.write(b"first")
    transport.room = 100
    transport.write(b"second")
    assert transport.sent + transport.kept == b"firstsecond"


def test_a_producer_is_asked_for_more_by_the_loop_only() -> None:
    transport = Prompt(100)
    transport.producer = object()
    transport.write(b"piece")
    assert (transport.sent, transport.kept) == (b"", b"piece")


def test_a_producer_that_pushes_is_sent_at_once() -> None:
    transport = Prompt(100)
    transport.producer, transport.streamingProducer = object(), True
    transport.write(b"piece")
    assert (transport.sent, transport.kept) == (b"piece", b"")


def test_a_lost_connection_is_left_to_the_loop() -> None:
    transport = Prompt(ConnectionLost())
    transport.write(b"answer")
    assert transport.kept == b"answer"

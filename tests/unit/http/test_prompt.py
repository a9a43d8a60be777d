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
        self._tempDataBuffer: list[bytes] = []
        self.connected = True
        self.producer: object | None = None
        self._writeDisconnected = False

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        if isinstance(self.room, ConnectionLost):
            return self.room
        taken = data[: self.room]
        self.sent += taken
        return len(taken)

    def write(self, data: bytes) -> None:
        self._tempDataBuffer.append(data)


class Prompt(_Prompt, Waiting):
    """The mixture under test."""


@pytest.mark.parametrize(
    ("room", "sent", "kept"), [(100, b"answer", []), (2, b"an", [b"swer"]), (0, b"", [b"answer"])]
)
def test_what_the_socket_takes_is_sent_and_the_rest_waits(
    room: int, sent: bytes, kept: list[bytes]
) -> None:
    transport = Prompt(room)
    transport.write(b"answer")
    assert (transport.sent, transport._tempDataBuffer) == (sent, kept)


def test_bytes_stay_in_order(room: int = 2) -> None:
    transport = Prompt(room)
    transport.write(b"first")
    transport.room = 100
    transport.write(b"second")
    assert transport.sent + b"".join(transport._tempDataBuffer) == b"firstsecond"


def test_a_producer_is_asked_for_more_by_the_loop_only() -> None:
    transport = Prompt(100)
    transport.producer = object()
    transport.write(b"piece")
    assert (transport.sent, transport._tempDataBuffer) == (b"", [b"piece"])


def test_a_lost_connection_is_left_to_the_loop() -> None:
    transport = Prompt(ConnectionLost())
    transport.write(b"answer")
    assert transport._tempDataBuffer == [b"answer"]

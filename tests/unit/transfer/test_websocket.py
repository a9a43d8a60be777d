"""WebSockets that carry bytes: handshake, frames, the end."""

import pytest
from wsproto.frame_protocol import CloseReason, FrameProtocol

from xapi_py.transfer.relay import Finished
from xapi_py.transfer.websocket import BinaryFrames


def client() -> FrameProtocol:
    return FrameProtocol(client=True, extensions=[])


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_bytes_come_through_however_they_are_cut(size: int) -> None:
    data = bytes(i % 251 for i in range(size))
    sent = client().send_data(data, fin=True)
    frames, got = BinaryFrames(), b""
    for start in range(0, len(sent), 1000):
        got += frames.decode(sent[start : start + 1000])
    assert got == data


def test_our_frames_are_read_by_a_client() -> None:
    other = client()
    other.receive_bytes(BinaryFrames().encode(b"RFB 003.008\n"))
    assert [bytes(f.payload) for f in other.received_frames()] == [b"RFB 003.008\n"]


def test_a_close_frame_is_answered_and_ends_the_connection() -> None:
    with pytest.raises(Finished) as caught:
        BinaryFrames().decode(client().close(CloseReason.NORMAL_CLOSURE))
    assert caught.value.last


def test_rubbish_ends_the_connection() -> None:
    with pytest.raises(Finished):
        BinaryFrames().decode(b"\xff\xff\xff\xff\xff\xff\xff")

"""The simulated guest's screen over RFB."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenops.backends.simulator.screen import HEIGHT, WIDTH, GradientScreen
from xenops.console.rfb import PixelFormat, RfbError, RfbServer

FULL_UPDATE = struct.pack(">BBHHHH", 3, 0, 0, 0, WIDTH, HEIGHT)
INCREMENTAL = struct.pack(">BBHHHH", 3, 1, 0, 0, WIDTH, HEIGHT)
KEY_DOWN = struct.pack(">BBxxI", 4, 1, 0x61)
SCAN_CODE_DOWN = struct.pack(">BBxxI", 254, 1, 0x1E)
FRAME_BYTES = 16 + WIDTH * HEIGHT * 4


def connected() -> RfbServer:
    server = RfbServer("vm one", GradientScreen())
    assert server.feed(b"RFB 003.008\n") == b"\x01\x01"
    assert server.feed(b"\x01") == b"\0\0\0\0"
    init = server.feed(b"\x01")
    assert struct.unpack_from(">HH", init) == (WIDTH, HEIGHT)
    assert init.endswith(b"\0\0\0\x06vm one")
    return server


def test_an_old_client_is_not_asked_for_security() -> None:
    server = RfbServer("old", GradientScreen())
    assert server.feed(b"RFB 003.003\n") == b"\0\0\0\x01"
    assert server.feed(b"\x01").endswith(b"old")


def test_a_screen_in_the_format_the_client_wants() -> None:
    server = connected()
    assert len(server.feed(FULL_UPDATE)) == FRAME_BYTES
    form = PixelFormat(16, 16, 0, 1, (31, 63, 31), (11, 5, 0))
    assert server.feed(b"\0\0\0\0" + form.pack()) == b""
    assert len(server.feed(FULL_UPDATE)) == 16 + WIDTH * HEIGHT * 2


@pytest.mark.parametrize("key", [KEY_DOWN, SCAN_CODE_DOWN])
def test_a_key_changes_the_screen_for_who_waits(key: bytes) -> None:
    server = connected()
    first = server.feed(FULL_UPDATE)
    assert server.feed(INCREMENTAL) == b""
    second = server.feed(key)
    assert len(second) == FRAME_BYTES
    assert second != first


def test_messages_may_come_in_pieces() -> None:
    server = connected()
    message = b"\x06\0\0\0\0\0\0\x03abc" + b"\x02\0\0\x01\0\0\0\0" + FULL_UPDATE
    answers = [server.feed(message[i : i + 1]) for i in range(len(message))]
    assert len(b"".join(answers)) == FRAME_BYTES


@pytest.mark.parametrize("data", [b"GET / HTTP/1.", b"RFB 004.000\n"])
def test_others_are_turned_away(data: bytes) -> None:
    with pytest.raises(RfbError):
        RfbServer("x", GradientScreen()).feed(data)


@given(st.binary(max_size=200))
def test_rubbish_never_breaks_the_server(data: bytes) -> None:
    with contextlib.suppress(RfbError):
        connected().feed(data)

"""A text console as a picture."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenops.console.glyphs import GLYPHS, index
from xenops.console.rfb import PixelFormat, RfbServer
from xenops.console.text_screen import TextScreen

FORM = PixelFormat()
INCREMENTAL = struct.pack(">BBHHHH", 3, 1, 0, 0, 640, 384)


def screen(*written: bytes) -> tuple[TextScreen, list[bytes]]:
    typed: list[bytes] = []
    made = TextScreen(typed.append)
    for data in written:
        made.feed(data)
    return made, typed


def test_text_and_escape_sequences() -> None:
    made, _ = screen(b"login: \x1b[31mred\x1b[0m\r\nsecond", b" line\x1b[1;1H")
    assert made.lines()[:2] == ["login: red", "second line"]


def test_only_lines_that_changed_are_sent() -> None:
    made, _ = screen(b"one\r\n")
    since = made.generation
    assert made.changed_rows(since) == (0, 0)
    made.feed(b"two")
    assert made.changed_rows(since) == (16, 32)
    assert made.changed_rows(-1) == (0, 384)


def test_pixels_have_the_size_and_the_colours_of_the_format() -> None:
    made, _ = screen(b"\x1b[41m \x1b[?25l")
    assert len(made.pixels(FORM, 0, 384)) == 640 * 384 * 4
    assert made.pixels(FORM, 0, 1)[:4] == bytes([0, 0, 0xAA, 0])
    small = PixelFormat(16, 16, 1, 1, (31, 63, 31), (11, 5, 0))
    assert made.pixels(small, 0, 1)[:2] == struct.pack(">H", (0xAA * 31 // 255) << 11)


def test_letters_differ_and_unknown_ones_are_a_box() -> None:
    assert len({glyph.tobytes() for glyph in GLYPHS}) == len(GLYPHS)
    assert index("é") == index("語") == len(GLYPHS) - 1


@pytest.mark.parametrize(
    ("symbol", "text"),
    [(0x61, b"a"), (0xFF0D, b"\r"), (0xFF52, b"\x1b[A"), (0xE9, "é".encode()),
     (0x010020AC, "€".encode()), (0xFFFF, b"\x1b[3~")],
)  # fmt: skip
def test_keys(symbol: int, text: bytes) -> None:
    made, typed = screen()
    made.key(symbol)
    assert typed == [text]


def test_the_control_key() -> None:
    made, typed = screen()
    for press in (0xFFE3, 0x63):
        made.key(press)
    made.key_up(0xFFE3)
    made.key(0x63)
    assert typed == [b"\x03", b"c"]


def test_a_client_that_waits_is_sent_what_the_guest_writes() -> None:
    made, typed = screen(b"one\r\n")
    server = RfbServer("vm", made)
    server.feed(b"RFB 003.003\n\x01")
    assert len(server.feed(INCREMENTAL)) == 16 + 640 * 384 * 4
    assert server.feed(INCREMENTAL) == b""
    made.feed(b"x")
    update = server.more()
    assert struct.unpack_from(">xxHHHHH", update) == (1, 0, 16, 640, 16)
    assert server.more() == b""
    server.feed(struct.pack(">BBxxI", 4, 1, 0x61))
    assert typed == [b"a"]


def test_what_comes_after_a_sequence_that_no_terminal_has() -> None:
    made, _ = screen(b"a\x1b[?5C\x1b[1;2;3;4;5rb", b"c")
    assert made.lines()[0].startswith("a")
    assert "c" in made.lines()[0]


PIECES = st.sampled_from([b"\x1b[", b"\x1b[?", b"\x1b]", b"\x1b(", b";", b"5", b"9999999", b"\n"])


@given(st.lists(PIECES | st.binary(max_size=2), max_size=30).map(b"".join))
def test_nothing_a_guest_writes_breaks_the_screen(data: bytes) -> None:
    made, _ = screen(data)
    assert len(made.pixels(FORM, 0, 384)) == 640 * 384 * 4

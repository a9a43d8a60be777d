"""The thin CLI codec: known bytes, round trips, and hostile input."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaml_compat import thin_cli
from ocaml_compat.thin_cli import (
    Chunk,
    Debug,
    Decoder,
    End,
    Exit,
    Failed,
    Failure,
    HttpConnect,
    HttpGet,
    HttpPut,
    Load,
    Ok,
    Print,
    PrintError,
    Prompt,
    ProtocolError,
    Wait,
)

texts = st.text(st.characters(codec="utf-8"))
integers = st.integers(-(2**31), 2**31 - 1)
messages = st.one_of(
    *(st.builds(kind, texts) for kind in (Print, PrintError, Debug, Load, HttpConnect)),
    *(st.builds(kind, texts, texts) for kind in (HttpGet, HttpPut)),
    *(st.builds(kind) for kind in (Prompt, Ok, Failed, Wait, End)),
    st.builds(Exit, integers),
    st.builds(Failure, texts, st.lists(texts, max_size=5).map(tuple)),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(p % (len(data) + 1) for p in places)
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


@pytest.mark.parametrize(
    ("message", "frame"),
    [
        (Print("hi"), "0e000000 09000000 00000000 02000000 6869"),
        (Exit(0), "0c000000 09000000 04000000 00000000"),
        (Prompt(), "08000000 09000000 03000000"),
        (Wait(), "08000000 0a000000 12000000"),
        (Chunk(5), "0c000000 0b000000 07000000 05000000"),
        (
            Failure("E", ("a", "b")),
            "1f000000 09000000 0e000000 01000000 45 02000000 01000000 61 01000000 62",
        ),
    ],
)
def test_known_frames(message, frame):
    wanted = bytes.fromhex(frame)
    if isinstance(message, Failure):
        wanted = struct.pack("<i", len(wanted) - 4) + wanted[4:]
    assert thin_cli.encode(message) == wanted
    assert Decoder().feed(wanted) == [message]


@given(st.lists(messages, max_size=6), st.lists(st.integers(0, 10**6), max_size=8))
def test_frames_survive_any_cut(sent, places):
    decoder = Decoder()
    data = b"".join(map(thin_cli.encode, sent))
    assert [m for part in cut(data, places) for m in decoder.feed(part)] == sent


@given(st.binary(max_size=200), st.lists(st.integers(0, 10**6), max_size=5))
def test_raw_data_after_a_chunk_is_not_read_as_frames(data, places):
    decoder = Decoder()
    wire = thin_cli.encode(Chunk(len(data))) + data + thin_cli.encode(End())
    first, *rest = [m for part in cut(wire, places) for m in decoder.feed(part)]
    assert first == Chunk(len(data))
    assert rest[-1] == End()
    assert b"".join(rest[:-1]) == data


@given(st.binary(max_size=300))
def test_anything_is_read_or_refused(data):
    decoder = Decoder()
    try:
        decoder.feed(struct.pack("<i", len(data)) + data)
        decoder.feed(data)
    except ProtocolError:
        pass


@given(messages, st.data())
def test_a_damaged_frame_is_read_or_refused(message, data):
    frame = bytearray(thin_cli.encode(message))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ProtocolError):
        Decoder().feed(bytes(frame))


@pytest.mark.parametrize("length", [-1, 0, 7, thin_cli.MAX_FRAME_BYTES + 1])
def test_frames_of_impossible_length_are_refused(length):
    with pytest.raises(ProtocolError):
        Decoder().feed(struct.pack("<i", length))


def test_bytes_that_are_no_utf8_come_back_unchanged():
    frame = thin_cli.encode(Load("a\udcff"))
    assert b"a\xff" in frame
    assert Decoder().feed(frame) == [Load("a\udcff")]


def test_greetings():
    assert thin_cli.read_greeting(thin_cli.greeting()) == (0, 2)
    assert thin_cli.read_greeting(thin_cli.greeting(1, 7)) == (1, 7)
    for bad in (b"", b"HTTP/1.1 403 Forbidden", thin_cli.greeting()[:-1]):
        with pytest.raises(ProtocolError):
            thin_cli.read_greeting(bad)

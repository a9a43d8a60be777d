"""Messages of the xenstore protocol as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenops.xenstore.codec import (
    PAYLOAD_MAX,
    Decoder,
    Message,
    MessageType,
    encode,
    split,
    strings,
    to_bytes,
    to_text,
)
from xenops.xenstore.errors import ProtocolError

NUMBER = st.integers(0, 2**32 - 1)
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(MessageType), NUMBER, NUMBER, st.binary(max_size=300)),
    max_size=6,
)


@given(MESSAGES, st.integers(1, 64))
def test_messages_may_come_in_pieces(messages: list[Message], size: int) -> None:
    stream = b"".join(encode(message) for message in messages)
    decoder, found = Decoder(), []
    for start in range(0, len(stream), size):
        found += decoder.feed(stream[start : start + size])
    assert found == messages


def test_a_read_on_the_wire() -> None:
    message = Message(MessageType.READ, 7, 0, strings("/local/domain/0/name"))
    assert encode(message) == (
        b"\x02\0\0\0\x07\0\0\0\0\0\0\0\x15\0\0\0" + b"/local/domain/0/name\0"
    )


def test_a_payload_no_message_holds_is_refused() -> None:
    encode(Message(MessageType.WRITE, 1, 0, bytes(PAYLOAD_MAX)))
    with pytest.raises(ValueError):
        encode(Message(MessageType.WRITE, 1, 0, bytes(PAYLOAD_MAX + 1)))


def test_a_length_no_message_has_ends_the_stream() -> None:
    with pytest.raises(ProtocolError):
        Decoder().feed(b"\0" * 12 + b"\x01\x10\0\0")


@given(st.binary().map(lambda data: data.replace(b"\0", b"")))
def test_any_bytes_survive_as_text(data: bytes) -> None:
    assert to_bytes(to_text(data)) == data


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_words_survive(words: list[str]) -> None:
    assert split(strings(*words)) == words

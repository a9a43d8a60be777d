"""The bytes between xenstored and its clients.

A message is a header of four 32-bit numbers in native order (type, request id,
transaction id, length) and at most 4096 bytes.  Source: Xen's public header
``io/xs_wire.h`` and its ``docs/misc/xenstore.txt``.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from xenops.xenstore.errors import ProtocolError

PAYLOAD_MAX: Final = 4096
PATH_MAX: Final = 3072
_HEADER: Final = struct.Struct("=IIII")


class MessageType(IntEnum):
    """What a message asks for; replies have the type of their request."""

    CONTROL = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    RESET_WATCHES = 21
    DIRECTORY_PART = 22


@dataclass(frozen=True, slots=True)
class Message:
    """One request, reply or watch event."""

    type: int
    request_id: int
    transaction_id: int
    payload: bytes


def encode(message: Message) -> bytes:
    """Give the bytes of a message.  Errors: ValueError when the payload is too long."""
    if len(message.payload) > PAYLOAD_MAX:
        raise ValueError(f"{len(message.payload)} bytes are more than a message holds")
    header = _HEADER.pack(
        message.type, message.request_id, message.transaction_id, len(message.payload)
    )
    return header + message.payload


class Decoder:
    """Cut a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Give the messages that are complete now.

        Errors: ProtocolError for a length no message has; nothing that follows
        can be understood.
        """
        self._buffer += data
        messages = []
        offset, size = 0, len(self._buffer)
        while size - offset >= _HEADER.size:
            type_, request_id, transaction_id, length = _HEADER.unpack_from(self._buffer, offset)
            if length > PAYLOAD_MAX:
                raise ProtocolError(f"a message of {length} bytes")
            end = offset + _HEADER.size + length
            if end > size:
                break
            payload = bytes(self._buffer[offset + _HEADER.size : end])
            messages.append(Message(type_, request_id, transaction_id, payload))
            offset = end
        del self._buffer[:offset]
        return messages


def to_bytes(text: str) -> bytes:
    """Give a path or value as it is sent."""
    return text.encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    """Give a path or value as it was sent; ``to_bytes`` gives the same bytes back."""
    return data.decode("utf-8", "surrogateescape")


def strings(*words: str) -> bytes:
    """Give words as a request holds them, each with a NUL at its end."""
    return b"".join(to_bytes(word) + b"\0" for word in words)


def split(payload: bytes) -> list[str]:
    """Give the words of a reply."""
    words = payload.split(b"\0")
    if words and not words[-1]:
        words.pop()
    return [to_text(word) for word in words]

"""Frames of the internal RPC: four bytes of big-endian length, then JSON."""

import struct
from collections.abc import Iterator

import orjson

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""A longer frame is refused: nothing the daemons say to each other is larger."""

_LENGTH = struct.Struct(">I")


class FrameError(Exception):
    """The peer sent something that is not a frame; the connection is lost."""


def encode(message: object) -> bytes:
    """Give the frame of a JSON value."""
    body = orjson.dumps(message, option=orjson.OPT_NON_STR_KEYS)
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"frame of {len(body)} bytes")
    return _LENGTH.pack(len(body)) + body


class FrameDecoder:
    """Turn bytes into JSON values, however the bytes are cut."""

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        self._max = max_frame_bytes

    def feed(self, data: bytes) -> Iterator[object]:
        """Yield each value completed by ``data``.

        Errors: FrameError for a frame over the limit or one that is not
        JSON; the decoder is of no use afterwards.
        """
        self._buffer += data
        offset = 0
        try:
            while len(self._buffer) - offset >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(self._buffer, offset)
                if length > self._max:
                    raise FrameError(f"frame of {length} bytes announced")
                end = offset + _LENGTH.size + length
                if len(self._buffer) < end:
                    break
                body = bytes(self._buffer[offset + _LENGTH.size : end])
                offset = end
                try:
                    value = orjson.loads(body)
                except orjson.JSONDecodeError as error:
                    raise FrameError(f"not JSON: {error}") from error
                yield value
        finally:
            del self._buffer[:offset]

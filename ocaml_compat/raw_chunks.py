"""The frames of ``PUT /import_raw_vdi?chunked``: data with its place on the disk.

Each frame is an offset (64 bits) and a length (32 bits), little endian, and
that many bytes; a length of zero ends the stream.
Source: xapi-project/xen-api, ocaml/vhd-tool (chunked).
"""

import struct
from typing import Final

_HEAD: Final = struct.Struct("<QI")
MAX_FRAME_BYTES: Final = 16 << 20


class RawChunksError(ValueError):
    """The bytes are no such frames."""


def frame(offset: int, data: bytes) -> bytes:
    """Write a frame; without data it is the end."""
    return _HEAD.pack(offset, len(data)) + data


class RawChunks:
    """Takes frames apart while they arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.finished = False

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Give (offset, data) of the frames that are complete.

        Errors: RawChunksError for a frame that is too long.
        """
        found: list[tuple[int, bytes]] = []
        if self.finished:
            return found
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= _HEAD.size:
            offset, length = _HEAD.unpack_from(self._buffer, at)
            if length == 0:
                self.finished = True
                break
            if length > MAX_FRAME_BYTES:
                raise RawChunksError(f"a frame of {length} bytes is too long")
            end = at + _HEAD.size + length
            if end > len(self._buffer):
                break
            found.append((offset, bytes(self._buffer[at + _HEAD.size : end])))
            at = end
        del self._buffer[:at]
        return found

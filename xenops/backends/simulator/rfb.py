"""A small RFB (VNC) server without I/O: a colour gradient that answers keys.

Source: RFC 6143; protocol versions 3.3, 3.7 and 3.8, no authentication.
"""

import functools
import struct
from dataclasses import dataclass

WIDTH = 160
HEIGHT = 120
VERSION = b"RFB 003.008\n"
MAX_CUT_TEXT = 1024 * 1024
SECURITY_NONE = 1
SCAN_CODE = 254
"""XenCenter's own message for HVM guests: a key event with the key's scan code."""


class RfbError(Exception):
    """The client does not speak RFB; the connection is of no further use."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How a true-colour pixel is laid out."""

    bits: int = 32
    depth: int = 24
    big_endian: int = 0
    true_colour: int = 1
    maxima: tuple[int, int, int] = (255, 255, 255)
    shifts: tuple[int, int, int] = (16, 8, 0)

    def pack(self) -> bytes:
        """Give the 16 bytes of the wire."""
        head = (self.bits, self.depth, self.big_endian, self.true_colour)
        return struct.pack(">BBBBHHHBBB3x", *head, *self.maxima, *self.shifts)

    @classmethod
    def unpack(cls, data: bytes) -> "PixelFormat":
        """Read them.  Errors: RfbError for a format no client should want."""
        bits, depth, big, true, *rest = struct.unpack(">BBBBHHHBBB3x", data)
        shifts = (rest[3], rest[4], rest[5])
        if bits not in (8, 16, 32) or max(shifts) >= bits:
            raise RfbError(f"pixel format of {bits} bits")
        return cls(bits, depth, big, true, (rest[0], rest[1], rest[2]), shifts)


@functools.lru_cache(maxsize=16)
def picture(form: PixelFormat, tone: int) -> bytes:
    """Give the raw pixels of the whole screen in one of 4 tones."""
    order = "big" if form.big_endian else "little"
    size = form.bits // 8
    mask = (1 << form.bits) - 1
    rows = []
    for y in range(HEIGHT):
        row = bytearray()
        for x in range(WIDTH):
            colour = (x / WIDTH, y / HEIGHT, tone / 4)
            value = 0
            for share, most, shift in zip(colour, form.maxima, form.shifts, strict=True):
                value |= int(share * most) << shift
            row += (value & mask).to_bytes(size, "big" if order == "big" else "little")
        rows.append(bytes(row))
    return b"".join(rows)


class RfbServer:
    """One client's conversation: feed it bytes, send what it gives."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()[:256]
        self._buffer = b""
        self._state = "version"
        self._format = PixelFormat()
        self._tone = 0
        self._wanted = False

    def greeting(self) -> bytes:
        """Give what the server says first."""
        return VERSION

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the client and give the answer.  Errors: RfbError."""
        self._buffer += data
        answer = b""
        while True:
            more = self._step()
            if more is None:
                return answer
            answer += more

    def _take(self, size: int) -> bytes | None:
        if len(self._buffer) < size:
            return None
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _step(self) -> bytes | None:
        match self._state:
            case "version":
                return self._version()
            case "security":
                chosen = self._take(1)
                if chosen is None:
                    return None
                if chosen[0] != SECURITY_NONE:
                    raise RfbError("security type was not offered")
                self._state = "init"
                return b"" if self._minor < 8 else struct.pack(">I", 0)
            case "init":
                if self._take(1) is None:
                    return None
                self._state = "normal"
                size = struct.pack(">HH", WIDTH, HEIGHT)
                return size + self._format.pack() + struct.pack(">I", len(self._name)) + self._name
            case _:
                return self._message()

    def _version(self) -> bytes | None:
        line = self._take(12)
        if line is None:
            return None
        if not line.startswith(b"RFB 003.") or not line[8:11].isdigit():
            raise RfbError("not an RFB client")
        self._minor = int(line[8:11])
        if self._minor < 7:
            self._state = "init"
            return struct.pack(">I", SECURITY_NONE)
        self._state = "security"
        return bytes([1, SECURITY_NONE])

    def _message(self) -> bytes | None:
        if not self._buffer:
            return None
        kind = self._buffer[0]
        size = self._size(kind)
        message = None if size is None else self._take(size)
        if message is None:
            return None
        if kind == 0:
            self._format = PixelFormat.unpack(message[4:20])
        elif kind == 3:
            return self._update(incremental=bool(message[1]))
        elif kind in (4, 5, SCAN_CODE) and message[1]:
            self._tone = (self._tone + 1) % 4
            if self._wanted:
                return self._update(incremental=False)
        return b""

    def _size(self, kind: int) -> int | None:
        fixed = {0: 20, 3: 10, 4: 8, 5: 6, SCAN_CODE: 8}.get(kind)
        if fixed is not None:
            return fixed
        if kind == 2:
            if len(self._buffer) < 4:
                return None
            return 4 + 4 * int(struct.unpack_from(">H", self._buffer, 2)[0])
        if kind == 6:
            if len(self._buffer) < 8:
                return None
            length = int(struct.unpack_from(">I", self._buffer, 4)[0])
            if length > MAX_CUT_TEXT:
                raise RfbError("cut text is too long")
            return 8 + length
        raise RfbError(f"message of type {kind}")

    def _update(self, *, incremental: bool) -> bytes:
        if incremental:
            self._wanted = True
            return b""
        self._wanted = False
        head = struct.pack(">BxHHHHHi", 0, 1, 0, 0, WIDTH, HEIGHT, 0)
        return head + picture(self._format, self._tone)

"""A small RFB (VNC) server without I/O, for any screen.

Source: RFC 6143; protocol versions 3.3, 3.7 and 3.8, no authentication.
"""

import struct
from dataclasses import dataclass
from typing import Protocol

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


class Screen(Protocol):
    """What a server shows: rows of pixels that change, and keys that are pressed."""

    width: int
    height: int
    generation: int
    """Grows with every change."""

    def changed_rows(self, since: int) -> tuple[int, int]:
        """Give the first row that changed after a generation, and the one after the last."""

    def pixels(self, form: PixelFormat, first: int, last: int) -> bytes:
        """Give the raw pixels of some rows."""

    def key(self, symbol: int) -> None:
        """A key of the X window system was pressed."""

    def key_up(self, symbol: int) -> None:
        """It was let go."""

    def scan_code(self, code: int) -> None:
        """A key was pressed that is named by its code on a PC keyboard."""


class RfbServer:
    """One client's conversation: feed it bytes, send what it gives."""

    def __init__(self, name: str, screen: Screen) -> None:
        self._name = name.encode()[:256]
        self._screen = screen
        self._shown = -1
        self._buffer = b""
        self._state = "version"
        self._format = PixelFormat()
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
                size = struct.pack(">HH", self._screen.width, self._screen.height)
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
            self._shown = -1
        elif kind == 3:
            self._wanted = True
            if not message[1]:
                self._shown = -1
            return self.more()
        elif kind in (4, SCAN_CODE):
            (code,) = struct.unpack_from(">I", message, 4)
            self._key(kind, bool(message[1]), code)
            return self.more()
        return b""

    def _key(self, kind: int, down: bool, code: int) -> None:
        if kind == SCAN_CODE:
            if down:
                self._screen.scan_code(code)
        elif down:
            self._screen.key(code)
        else:
            self._screen.key_up(code)

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

    def more(self) -> bytes:
        """Give what has changed on the screen, if the client waits for it."""
        screen = self._screen
        if not self._wanted or self._state != "normal" or screen.generation == self._shown:
            return b""
        first, last = (0, screen.height)
        if self._shown >= 0:
            first, last = screen.changed_rows(self._shown)
        self._wanted, self._shown = False, screen.generation
        head = struct.pack(">BxHHHHHi", 0, 1, 0, first, screen.width, last - first, 0)
        return head + screen.pixels(self._format, first, last)

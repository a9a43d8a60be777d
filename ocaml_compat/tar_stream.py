"""Tar archives as streams of plain members: POSIX ustar out, its relatives in.

Reading is tolerant of what other writers do: numbers in base 256, link and
extension members (left out).  Source: POSIX.1-2017, pax, "ustar Interchange
Format".
"""

from dataclasses import dataclass
from typing import Final

BLOCK_BYTES: Final = 512
END: Final = bytes(2 * BLOCK_BYTES)
MAX_NAME_BYTES: Final = 100


class TarError(ValueError):
    """The bytes are no tar archive."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive."""

    name: str
    data: bytes


def header(name: str, size: int, modified: int = 0) -> bytes:
    """Give the header of a file.  Errors: TarError for a name or size that does not fit."""
    encoded = name.encode()
    if not 0 < len(encoded) <= MAX_NAME_BYTES or not 0 <= size < 8**11:
        raise TarError(f"{name!r} of {size} bytes does not fit into a tar header")
    fields = (
        encoded.ljust(100, b"\0"),
        b"0000400\0" + b"0000000\0" * 2,
        f"{size:011o}\0{modified % 8**11:011o}\0".encode(),
        b" " * 8,
        b"0" + bytes(100),
        b"ustar\x0000" + bytes(32 + 32) + b"0000000\0" * 2 + bytes(155 + 12),
    )
    block = b"".join(fields)
    return block[:148] + f"{sum(block):06o}\0 ".encode() + block[156:]


def padding(size: int) -> bytes:
    """Give what fills the last block of a file of ``size`` bytes."""
    return bytes(-size % BLOCK_BYTES)


def member(name: str, data: bytes, modified: int = 0) -> bytes:
    """Give a whole file: header, data, padding."""
    return b"".join((header(name, len(data), modified), data, padding(len(data))))


class TarReader:
    """Takes an archive apart while it arrives; files are held whole.

    ``finished`` is set at the two zero blocks that end an archive; what follows
    them is ignored.
    """

    def __init__(self, max_member_bytes: int) -> None:
        self._limit = max_member_bytes
        self._buffer = bytearray()
        self._name: str | None = None
        self._kept = False
        self._size = 0
        self._zero_blocks = 0
        self.finished = False
        self.started = False

    @property
    def between_members(self) -> bool:
        """Whether all that came so far is whole members."""
        return self._name is None and not self._buffer

    def feed(self, data: bytes) -> list[Member]:
        """Take the next bytes and give the files they complete.

        Errors: TarError for bad headers and for files over the limit.
        """
        found: list[Member] = []
        if self.finished:
            return found
        self._buffer += data
        at, end = 0, len(self._buffer)
        while not self.finished:
            if self._name is None:
                if end - at < BLOCK_BYTES:
                    break
                self._take_header(bytes(self._buffer[at : at + BLOCK_BYTES]))
                at += BLOCK_BYTES
                continue
            whole = self._size + (-self._size % BLOCK_BYTES)
            if not self._kept and end - at < whole:
                # what nobody wants need not be held
                self._size = whole - (end - at)
                at = end
                break
            if end - at < whole:
                break
            if self._kept:
                found.append(Member(self._name, bytes(self._buffer[at : at + self._size])))
            at += whole
            self._name = None
        del self._buffer[:at]
        return found

    def _take_header(self, block: bytes) -> None:
        if not any(block):
            self._zero_blocks += 1
            self.finished = self._zero_blocks == 2
            return
        self._zero_blocks = 0
        stored = _number(block[148:156])
        if stored != sum(block[:148]) + 256 + sum(block[156:]):
            raise TarError("a header's checksum is wrong")
        self.started = True
        self._size = _number(block[124:136])
        self._kept = block[156:157] in (b"0", b"\0")
        if self._kept and self._size > self._limit:
            raise TarError(f"a file of {self._size} bytes is too large")
        name = block[:100].partition(b"\0")[0]
        prefix = block[345:500].partition(b"\0")[0] if block[257:262] == b"ustar" else b""
        if prefix:
            name = prefix + b"/" + name
        self._name = name.decode("utf-8", "replace")


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(bytes((field[0] & 0x7F,)) + field[1:], "big")
    text = field.strip(b" \0")
    try:
        return int(text, 8) if text else 0
    except ValueError as error:
        raise TarError(f"not an octal number: {text!r}") from error

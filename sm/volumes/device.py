"""Reading and writing block devices past the page cache: other hosts write to them too.

Files serve as well, for tests.
"""

import errno
import fcntl
import mmap
import os
import stat
import struct
from pathlib import Path
from typing import Final

BLOCK: Final = 4096
"""Unit of every access, and what a device writes whole or not at all."""

PIECE: Final = 1024**2
_BLKZEROOUT: Final = 0x127F
_BLKGETSIZE64: Final = 0x80081272


class Device:
    """An open device; the caller closes it.  Errors: OSError."""

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        flags = (os.O_RDWR | os.O_DSYNC) if writable else os.O_RDONLY
        try:
            self._file = os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC)
        except OSError as problem:
            if problem.errno != errno.EINVAL:  # a file system that has no direct access
                raise
            self._file = os.open(path, flags | os.O_CLOEXEC)

    def close(self) -> None:
        """Close it; may be repeated."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def size(self) -> int:
        """Bytes of the device."""
        return os.lseek(self._file, 0, os.SEEK_END)

    def pread(self, offset: int, length: int) -> bytes:
        """Read anywhere; shorter at the end of the device."""
        start = offset // BLOCK * BLOCK
        end = -(-(offset + length) // BLOCK) * BLOCK
        pieces = []
        for at in range(start, end, PIECE):
            with mmap.mmap(-1, min(PIECE, end - at)) as buffer:
                count = os.preadv(self._file, [buffer], at)
                pieces.append(buffer[:count])
            if count < min(PIECE, end - at):
                break
        return b"".join(pieces)[offset - start :][:length]

    def pwrite(self, data: bytes, offset: int) -> None:
        """Write whole blocks, durably; ``data`` is filled up with zeros."""
        assert offset % BLOCK == 0
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            with mmap.mmap(-1, -(-len(piece) // BLOCK) * BLOCK) as buffer:
                buffer[: len(piece)] = piece
                if os.pwritev(self._file, [buffer], offset + at) != len(buffer):
                    raise OSError(errno.EIO, "a write was cut short")

    def zero(self, offset: int, length: int) -> None:
        """Fill a range with zeros, by the device itself where it can."""
        if stat.S_ISBLK(os.fstat(self._file).st_mode):
            fcntl.ioctl(self._file, _BLKZEROOUT, struct.pack("QQ", offset, length))
        else:
            os.posix_fallocate(self._file, offset, length)
            for at in range(offset, offset + length, PIECE):
                self.pwrite(bytes(min(PIECE, offset + length - at)), at)


def is_block(path: Path | str) -> bool:
    """Tell whether a path is a block device."""
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return False

"""The framing of suspend images: a signature, then records with a head each.

Numbers are 64-bit little-endian.  A record of length 0 delimits itself: after
its head comes a stream that knows its own end, such as libxc's.
Source: the reference toolstack's image format, version 2 (XENOPS, section 14).
"""

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final

SIGNATURE: Final = b"XenSavedDomv2-\n"
OLD_SIGNATURE: Final = b"XenSavedDomain\n"
HEAD: Final = struct.Struct("<qq")
MAX_TEXT: Final = 1 << 20
"""The most a record that is read into memory may have."""


class ImageError(ValueError):
    """What is read is no suspend image, or a damaged one."""


class RecordType(IntEnum):
    """What a record holds."""

    XENOPS = 0x000F
    LIBXC = 0x00F0
    LIBXL = 0x00F1
    LIBXC_LEGACY = 0x00F2
    QEMU = 0x0F00
    QEMU_XEN = 0x0F01
    DEMU = 0x0F10
    VARSTORED = 0x0F11
    SWTPM0 = 0x0F12
    SWTPM = 0x0F13
    END = 0xFFFF


def head(kind: RecordType, length: int) -> bytes:
    """Give the head of a record."""
    return HEAD.pack(kind, length)


def record(kind: RecordType, content: bytes) -> bytes:
    """Give a whole record."""
    return head(kind, len(content)) + content


def read_signature(read: Callable[[int], bytes]) -> None:
    """Read what an image begins with.  Errors: ImageError.

    ``read`` gives as many bytes as asked for, or fewer at the end.
    """
    found = read(len(SIGNATURE))
    if found == OLD_SIGNATURE:
        raise ImageError("a suspend image of a release too old")
    if found != SIGNATURE:
        raise ImageError("not a suspend image")


def read_head(read: Callable[[int], bytes]) -> tuple[RecordType, int]:
    """Read the head of a record: what it holds, and how many bytes.  Errors: ImageError."""
    data = read(HEAD.size)
    if len(data) != HEAD.size:
        raise ImageError("the suspend image ends too early")
    number, length = HEAD.unpack(data)
    try:
        kind = RecordType(number)
    except ValueError as error:
        raise ImageError(f"a record of unknown type {number:#x}") from error
    if length < 0:
        raise ImageError(f"a record of {length} bytes")
    return kind, length


def read_content(read: Callable[[int], bytes], length: int) -> bytes:
    """Read a record's content.  Errors: ImageError, also for more than ``MAX_TEXT``."""
    if length > MAX_TEXT:
        raise ImageError(f"a record of {length} bytes is too long")
    content = read(length)
    if len(content) != length:
        raise ImageError("the suspend image ends too early")
    return content

"""The structures of VHD files: footer, header, block table, parent locators.

Everything is big-endian; a sector is 512 bytes; a block is 2 MiB with a bitmap
of one sector before its data.  Source: briefs, storage section 4.1.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

SECTOR: Final = 512
BLOCK_BYTES: Final = 2 * 1024**2
BLOCK_SECTORS: Final = BLOCK_BYTES // SECTOR
ABSENT: Final = 0xFFFFFFFF
MAX_BYTES: Final = 2040 * 1024**3
"""The largest disk that XenServer's tools take; the format would allow a little more."""

EPOCH: Final = 946684800
"""2000-01-01 UTC in unix seconds: where VHD time stamps start."""

CREATOR: Final = b"tap\0"
"""Readers believe the size in the footer only for some creators; this is one of them."""

_FOOTER: Final = struct.Struct(">8sIIQI4sI4sQQHBBII16sBB426x")
_HEADER: Final = struct.Struct(">8sQQIIII16sI4x512s")
_LOCATOR: Final = struct.Struct(">4sIIIQ")
_NO_OFFSET: Final = 0xFFFFFFFFFFFFFFFF


class VhdError(Exception):
    """The bytes are no VHD, or not one this code understands; the text says why."""


class DiskType(IntEnum):
    """How a VHD keeps its data."""

    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


@dataclass(frozen=True, slots=True)
class Footer:
    """What stands at the end, and in front of all but fixed disks.

    ``timestamp`` is unix seconds UTC; sizes are bytes.  ``hidden`` is XenServer's
    mark of a disk that is only a parent.
    """

    disk_type: DiskType
    current_size: int
    uuid: bytes
    timestamp: int = EPOCH
    original_size: int = -1
    creator: bytes = CREATOR
    hidden: bool = False

    def pack(self) -> bytes:
        """Give the 512 bytes."""
        fixed = self.disk_type is DiskType.FIXED
        original = self.current_size if self.original_size < 0 else self.original_size
        cylinders, heads, sectors = geometry(self.current_size)
        body = _FOOTER.pack(
            b"conectix",
            2,
            0x00010000,
            _NO_OFFSET if fixed else SECTOR,
            max(0, self.timestamp - EPOCH) & 0xFFFFFFFF,
            self.creator,
            0x00010003,
            b"\0\0\0\0",
            original,
            self.current_size,
            cylinders,
            heads,
            sectors,
            self.disk_type,
            0,
            self.uuid,
            0,
            self.hidden,
        )
        return _with_checksum(body, 64)


def parse_footer(data: bytes) -> Footer:
    """Read a footer.  Errors: VhdError."""
    if len(data) != SECTOR or data[:8] != b"conectix":
        raise VhdError("no VHD footer")
    fields = _FOOTER.unpack(data)
    _check_checksum(data, 64, "footer")
    if fields[2] != 0x00010000:
        raise VhdError(f"footer version {fields[2]:#x} is unknown")
    try:
        disk_type = DiskType(fields[13])
    except ValueError:
        raise VhdError(f"disk type {fields[13]} is unknown") from None
    if disk_type is not DiskType.FIXED and fields[3] != SECTOR:
        raise VhdError(f"the header is at {fields[3]}, not behind the footer")
    return Footer(
        disk_type=disk_type,
        current_size=fields[9],
        uuid=fields[15],
        timestamp=fields[4] + EPOCH,
        original_size=fields[8],
        creator=fields[5],
        hidden=bool(fields[17]),
    )


@dataclass(frozen=True, slots=True)
class Locator:
    """Where a parent's name in one platform's form stands in the file."""

    platform: bytes
    space_bytes: int
    length: int
    offset: int


@dataclass(frozen=True, slots=True)
class Header:
    """What follows the footer's copy in front of dynamic and differencing disks."""

    table_offset: int
    entries: int
    block_bytes: int = BLOCK_BYTES
    parent_uuid: bytes = bytes(16)
    parent_timestamp: int = EPOCH
    parent_name: str = ""
    locators: Sequence[Locator] = field(default_factory=tuple)

    def pack(self) -> bytes:
        """Give the 1024 bytes."""
        body = _HEADER.pack(
            b"cxsparse",
            _NO_OFFSET,
            self.table_offset,
            0x00010000,
            self.entries,
            self.block_bytes,
            0,
            self.parent_uuid,
            max(0, self.parent_timestamp - EPOCH),
            self.parent_name.encode("utf-16-be")[:510],
        )
        for locator in self.locators:
            body += _LOCATOR.pack(
                locator.platform, locator.space_bytes, locator.length, 0, locator.offset
            )
        return _with_checksum(body.ljust(1024, b"\0"), 36)


def parse_header(data: bytes) -> Header:
    """Read a header.  Errors: VhdError."""
    if len(data) != 1024 or data[:8] != b"cxsparse":
        raise VhdError("no VHD header")
    _check_checksum(data, 36, "header")
    fields = _HEADER.unpack_from(data)
    _, _, table, version, entries, block_bytes, _, parent, stamp, name = fields
    if version != 0x00010000:
        raise VhdError(f"header version {version:#x} is unknown")
    if block_bytes < SECTOR or block_bytes & (block_bytes - 1) or block_bytes > 256 * 1024**2:
        raise VhdError(f"a block size of {block_bytes} bytes is not possible")
    found = (Locator(p, s, n, o) for p, s, n, _, o in _LOCATOR.iter_unpack(data[576:768]))
    text = name.decode("utf-16-be", "replace").split("\0", 1)[0]
    locators = tuple(n for n in found if n.platform != bytes(4))
    return Header(table, entries, block_bytes, parent, stamp + EPOCH, text, locators)


def geometry(size: int) -> tuple[int, int, int]:
    """Give cylinders, heads and sectors of a disk size, as the format's text computes them."""
    total = min(size // SECTOR, 65535 * 16 * 255)
    if total >= 65535 * 16 * 63:
        return total // 255 // 16, 16, 255
    sectors, cylinders_by_heads = 17, total // 17
    heads = max(4, -(-cylinders_by_heads // 1024))
    if cylinders_by_heads >= heads * 1024 or heads > 16:
        sectors, heads = 31, 16
        cylinders_by_heads = total // 31
    if cylinders_by_heads >= heads * 1024:
        sectors, heads = 63, 16
        cylinders_by_heads = total // 63
    return cylinders_by_heads // heads, heads, sectors


def _checksum(data: bytes, position: int) -> int:
    return ~(sum(data) - sum(data[position : position + 4])) & 0xFFFFFFFF


def _with_checksum(data: bytes, position: int) -> bytes:
    packed = struct.pack(">I", _checksum(data, position))
    return data[:position] + packed + data[position + 4 :]


def _check_checksum(data: bytes, position: int, what: str) -> None:
    (found,) = struct.unpack_from(">I", data, position)
    if found != _checksum(data, position):
        raise VhdError(f"the checksum of the {what} is wrong")

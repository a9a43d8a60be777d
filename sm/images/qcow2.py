"""qcow2 files as far as decisions about chains need them; data is QEMU's business.

Pure: functions take a ``pread`` and give values, or the bytes of a new, empty
image.  Source: the format's published text (QEMU, docs/interop/qcow2), and
briefs, storage section 4.2: version 3, 64 KiB clusters, 16-bit reference
counts, backing file named relative with its format.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

CLUSTER_BITS: Final = 16
CLUSTER: Final = 1 << CLUSTER_BITS
L2_REACH: Final = CLUSTER // 8 * CLUSTER
"""Bytes of the disk that one entry of the first-level table stands for."""

MAX_BYTES: Final = 64 * 1024**4
"""The largest disk we make; the format goes further, file systems do not."""

_MAGIC: Final = b"QFI\xfb"
_HEADER: Final = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_EXTENSION: Final = struct.Struct(">II")
_FORMAT_EXTENSION: Final = 0xE2792ACA
_BITMAPS_EXTENSION: Final = 0x23852875
_BITMAPS: Final = struct.Struct(">IIQQ")
_BITMAP_ENTRY: Final = struct.Struct(">QIIBBHI")
_OFFSET_MASK: Final = 0x00FFFFFFFFFFFE00
_MAX_NAME: Final = 1023
_DIRTY, _CORRUPT, _DATA_FILE, _EXTENDED_L2 = 1, 2, 4, 16
_AUTOCLEAR_BITMAPS: Final = 1
_KNOWN_FEATURES: Final = 0b11111
_IN_USE, _AUTO = 1, 2

Pread = Callable[[int, int], bytes]
"""Read (offset, length); shorter at the end of the file."""


class Qcow2Error(Exception):
    """The file is no qcow2 image, or a damaged one; the text says how."""


@dataclass(frozen=True, slots=True)
class Header:
    """What an image says about itself.  ``backing_file`` is as written, or empty."""

    virtual_size: int
    backing_file: str
    backing_format: str
    cluster_bits: int
    l1_entries: int
    l1_offset: int
    corrupt: bool
    bitmaps: int
    bitmap_directory_offset: int
    bitmap_directory_bytes: int
    counts_offset: int
    counts_clusters: int
    count_bits: int
    extended_l2: bool


def read_header(pread: Pread) -> Header:
    """Read an image's header and its extensions.  Errors: Qcow2Error."""
    first = pread(0, CLUSTER)
    if len(first) < 72 or first[:4] != _MAGIC:
        raise Qcow2Error("no qcow2 image")
    (version,) = struct.unpack_from(">I", first, 4)
    if version not in (2, 3):
        raise Qcow2Error(f"qcow2 version {version} is unknown")
    fields = _HEADER.unpack(first[: _HEADER.size].ljust(_HEADER.size, b"\0"))
    _, _, name_at, name_bytes, cluster_bits, size, crypt, entries, l1_at = fields[:9]
    incompatible, _, autoclear, _, header_bytes = fields[13:18]
    if version == 2:
        incompatible, autoclear, header_bytes = 0, 0, 72
    if crypt or incompatible & _DATA_FILE or incompatible & ~_KNOWN_FEATURES:
        raise Qcow2Error("the image has features that are not supported here")
    if not 9 <= cluster_bits <= 21:
        raise Qcow2Error(f"clusters of 2^{cluster_bits} bytes are not possible")
    reach = (1 << (cluster_bits - 3)) << cluster_bits
    if entries < -(-size // reach) or entries > 4 * 1024**2 or l1_at & 511:
        raise Qcow2Error("the first-level table does not fit the disk")
    if name_bytes > _MAX_NAME or name_at and name_at + name_bytes > len(first):
        raise Qcow2Error("the name of the backing file lies outside the header")
    extensions = _extensions(first, header_bytes, name_at or len(first))
    count, directory_bytes, directory_at = _bitmap_extension(extensions, autoclear)
    return Header(
        virtual_size=size,
        backing_file=_text(first[name_at : name_at + name_bytes] if name_at else b""),
        backing_format=_text(extensions.get(_FORMAT_EXTENSION, b"")),
        cluster_bits=cluster_bits,
        l1_entries=entries,
        l1_offset=l1_at,
        corrupt=bool(incompatible & _CORRUPT),
        bitmaps=count,
        bitmap_directory_offset=directory_at,
        bitmap_directory_bytes=directory_bytes,
        counts_offset=fields[9],
        counts_clusters=fields[10],
        count_bits=16 if version == 2 else 1 << min(fields[16], 6),
        extended_l2=bool(incompatible & _EXTENDED_L2),
    )


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Qcow2Error("a name in the header is no text") from None


def _extensions(first: bytes, position: int, end: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while position + 8 <= end:
        kind, length = _EXTENSION.unpack_from(first, position)
        if kind == 0:
            return found
        if position + 8 + length > end:
            raise Qcow2Error("a header extension is too long")
        found[kind] = first[position + 8 : position + 8 + length]
        position += 8 + -(-length // 8) * 8
    return found


def _bitmap_extension(extensions: dict[int, bytes], autoclear: int) -> tuple[int, int, int]:
    data = extensions.get(_BITMAPS_EXTENSION)
    if data is None or not autoclear & _AUTOCLEAR_BITMAPS:
        return 0, 0, 0
    if len(data) != _BITMAPS.size:
        raise Qcow2Error("the bitmaps extension has a wrong length")
    count, _, directory_bytes, directory_at = _BITMAPS.unpack(data)
    if directory_bytes > 65535 * 1024 * 64:
        raise Qcow2Error("the bitmap directory is too long")
    return count, directory_bytes, directory_at


def is_empty(header: Header, pread: Pread) -> bool:
    """Tell whether the image itself holds no data: its first-level table is blank."""
    table = pread(header.l1_offset, header.l1_entries * 8)
    return not table.strip(b"\0")


@dataclass(frozen=True, slots=True)
class StoredBitmap:
    """A persistent dirty bitmap; one bit stands for ``granularity`` bytes of the disk.

    ``in_use``: the last writer did not close the image, the bits cannot be trusted.
    """

    name: str
    granularity: int
    in_use: bool
    table_offset: int
    table_entries: int


def stored_bitmaps(header: Header, pread: Pread) -> list[StoredBitmap]:
    """List the persistent bitmaps.  Errors: Qcow2Error."""
    directory = pread(header.bitmap_directory_offset, header.bitmap_directory_bytes)
    if len(directory) != header.bitmap_directory_bytes:
        raise Qcow2Error("the bitmap directory lies behind the end of the file")
    found, position = [], 0
    for _ in range(header.bitmaps):
        if position + _BITMAP_ENTRY.size > len(directory):
            raise Qcow2Error("the bitmap directory ends early")
        table, entries, flags, _, bits, name_bytes, extra = _BITMAP_ENTRY.unpack_from(
            directory, position
        )
        start = position + _BITMAP_ENTRY.size + extra
        if bits > 31 or start + name_bytes > len(directory):
            raise Qcow2Error("an entry of the bitmap directory is damaged")
        name = _text(directory[start : start + name_bytes])
        found.append(StoredBitmap(name, 1 << bits, bool(flags & _IN_USE), table, entries))
        position += -(-(_BITMAP_ENTRY.size + extra + name_bytes) // 8) * 8
    return found


def read_bitmap(header: Header, bitmap: StoredBitmap, pread: Pread) -> bytes:
    """Give a bitmap's bits, the disk's start as the highest bit of the first byte."""
    cluster = 1 << header.cluster_bits
    bits = -(-header.virtual_size // bitmap.granularity)
    wanted = -(-bits // 8)
    if bitmap.table_entries < -(-wanted // cluster):
        raise Qcow2Error("a bitmap is shorter than its disk")
    table = pread(bitmap.table_offset, bitmap.table_entries * 8)
    if len(table) != bitmap.table_entries * 8:
        raise Qcow2Error("the table of a bitmap lies behind the end of the file")
    pieces = []
    for (entry,) in struct.iter_unpack(">Q", table):
        offset = entry & _OFFSET_MASK
        fill = b"\xff" if entry & 1 else b"\0"
        pieces.append(pread(offset, cluster).ljust(cluster, b"\0") if offset else fill * cluster)
    return b"".join(pieces)[:wanted].translate(_REVERSED)


_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def empty_image(virtual_size: int, backing_file: str = "", backing_format: str = "") -> bytes:
    """Make an image without data of its own; ``truncate_to`` gives the file's length.

    Errors: ValueError for a size over MAX_BYTES or a name that is too long.
    """
    name, form = backing_file.encode(), backing_format.encode()
    if len(name) > _MAX_NAME or not 0 <= virtual_size <= MAX_BYTES:
        raise ValueError("an image like that is not possible")
    extensions = b""
    if form:
        extensions += _EXTENSION.pack(_FORMAT_EXTENSION, len(form))
        extensions += form.ljust(-(-len(form) // 8) * 8, b"\0")
    extensions += _EXTENSION.pack(0, 0)
    name_at = 104 + len(extensions) if name else 0
    entries = _l1_entries(virtual_size)
    header = _HEADER.pack(
        *(_MAGIC, 3, name_at, len(name), CLUSTER_BITS, virtual_size, 0),
        *(entries, 3 * CLUSTER, CLUSTER, 1, 0, 0, 0, 0, 0, 4, 104),
    )
    first = (header + extensions + name).ljust(CLUSTER, b"\0")
    counts = struct.pack(">Q", 2 * CLUSTER).ljust(CLUSTER, b"\0")
    clusters = 3 + -(-entries * 8 // CLUSTER)
    return first + counts + struct.pack(">H", 1) * clusters


def file_bytes(virtual_size: int) -> int:
    """Length of the file of an empty image; what ``empty_image`` leaves out are zeros."""
    return 3 * CLUSTER + -(-_l1_entries(virtual_size) * 8 // CLUSTER) * CLUSTER


def end_of_data(header: Header, pread: Pread) -> int:
    """Give the offset behind the last cluster in use, in an image that nobody writes to.

    Errors: Qcow2Error for tables that make no sense.
    """
    cluster = 1 << header.cluster_bits
    table = pread(header.counts_offset, header.counts_clusters * cluster)
    entries = [e for (e,) in struct.iter_unpack(">Q", table[: len(table) // 8 * 8])]
    used = [i for i, entry in enumerate(entries) if entry]
    if not used:
        raise Qcow2Error("the image counts no clusters")
    last = used[-1]
    block = pread(entries[last] & ~511, cluster)
    per_block = cluster * 8 // header.count_bits
    if len(block) < cluster:
        raise Qcow2Error("a block of reference counts lies behind the end")
    filled = len(block.rstrip(b"\0"))
    inside = min(per_block, -(-filled * 8 // header.count_bits))
    return (last * per_block + max(inside, 1)) * cluster


def full_bytes(virtual_size: int) -> int:
    """Give the room an image may need when all of its disk was written, change logs included."""
    data = -(-max(virtual_size, 1) // CLUSTER)
    second = -(-data // (CLUSTER // 8))
    bits = 2 * (-(-data // (8 * CLUSTER)) + 2)
    clusters = 8 + data + second + 2 * -(-second * 8 // CLUSTER) + bits + data // 1024
    blocks = -(-clusters // (CLUSTER // 2)) + 1
    return (clusters + blocks + 3 * -(-blocks * 8 // CLUSTER)) * CLUSTER + 4 * 1024**2


def _l1_entries(virtual_size: int) -> int:
    return max(1, -(-virtual_size // L2_REACH))

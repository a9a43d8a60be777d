"""Changed block tracking: bitmaps of 64 KiB blocks and the chain they form.

A log belongs to a disk and tells which blocks changed between the previous
disk of its chain and this one.  Bit 0 of the disk is the most significant bit
of the first byte.  Source: briefs, storage section 4.7.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

BLOCK_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class ChangeLog:
    """The log of one disk; ``parent`` and ``child`` are uuids or empty."""

    bits: bytes
    parent: str = ""
    child: str = ""


def empty_bits(virtual_size: int) -> bytes:
    """Make the bitmap of an unchanged disk."""
    blocks = -(-virtual_size // BLOCK_BYTES)
    return bytes(-(-blocks // 8))


def mark(bits: bytes, extents: Iterable[tuple[int, int]]) -> bytes:
    """Set the bits of all blocks that the extents touch; what lies beyond is ignored."""
    marked = bytearray(bits)
    for offset, length in extents:
        if length <= 0:
            continue
        last = min((offset + length - 1) // BLOCK_BYTES, len(marked) * 8 - 1)
        for block in range(offset // BLOCK_BYTES, last + 1):
            marked[block >> 3] |= 0x80 >> (block & 7)
    return bytes(marked)


def union(first: bytes, second: bytes) -> bytes:
    """Join two bitmaps; the result has the length of the longer one."""
    size = max(len(first), len(second))
    joined = int.from_bytes(first.ljust(size, b"\0"), "big") | int.from_bytes(
        second.ljust(size, b"\0"), "big"
    )
    return joined.to_bytes(size, "big")


def resized(log: ChangeLog, virtual_size: int) -> ChangeLog:
    """Give the log of a disk that grew."""
    return replace(log, bits=log.bits.ljust(len(empty_bits(virtual_size)), b"\0"))


def changes_between(
    lookup: Callable[[str], ChangeLog | None], vdi_from: str, vdi_to: str
) -> bytes | None:
    """Join the logs after ``vdi_from`` up to ``vdi_to``.

    None when the two are the same or no chain of logs leads from one to the other.
    """
    if vdi_from == vdi_to:
        return None
    start = lookup(vdi_from)
    joined, visited = b"", {vdi_from}
    current = start.child if start else ""
    while current and current not in visited:
        visited.add(current)
        log = lookup(current)
        if log is None:
            return None
        joined = union(joined, log.bits)
        if current == vdi_to:
            return joined
        current = log.child
    return None

"""VHD files as streams: written and read front to back, without seeking.

A writer knows beforehand where the data of the disk is; a reader needs the
block table before the blocks, which every known writer does.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ocaml_compat.vhd import (
    ABSENT,
    BLOCK_BYTES,
    BLOCK_SECTORS,
    EPOCH,
    SECTOR,
    DiskType,
    Footer,
    Header,
    Locator,
    VhdError,
    parse_footer,
    parse_header,
)

Run = tuple[int, int]
"""First sector and number of sectors."""

_PAGE: Final = 4096
_MAX_ENTRIES: Final = 4 * 1024**2
_FULL: Final = b"\xff" * SECTOR


@dataclass(frozen=True, slots=True)
class Parent:
    """What a differencing disk says about the disk below it."""

    uuid: bytes
    name: str
    timestamp: int = EPOCH


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a file to be written: the runs of sectors, within the block, it holds."""

    index: int
    runs: tuple[Run, ...]


class VhdWriter:
    """Write a dynamic disk, or a differencing one when there is a ``parent``.

    ``extents`` are (offset, length) in bytes, ascending; the disk is written
    with the sectors they touch, and nothing else.  Send ``head``, then
    ``block`` for each of ``blocks`` in order, then ``tail``:
    ``total_bytes`` in all.
    """

    def __init__(
        self,
        size: int,
        extents: Iterable[tuple[int, int]],
        uuid: bytes,
        *,
        parent: Parent | None = None,
        timestamp: int = EPOCH,
    ) -> None:
        self.size = -(-size // SECTOR) * SECTOR
        self.blocks = tuple(split_extents(extents, self.size, whole_pages=parent is None))
        self._parent = parent
        disk_type = DiskType.DYNAMIC if parent is None else DiskType.DIFFERENCING
        self.tail = Footer(disk_type, self.size, uuid, timestamp).pack()
        self._entries = -(-self.size // BLOCK_BYTES)
        self.head = self._make_head()
        self.total_bytes = len(self.head) + len(self.blocks) * (_PAGE + BLOCK_BYTES) + SECTOR

    def _make_head(self) -> bytes:
        table_offset = 3 * SECTOR
        table_bytes = -(-self._entries * 4 // SECTOR) * SECTOR
        header, locator = Header(table_offset, self._entries), b""
        if self._parent is not None:
            locator = f"file://./{self._parent.name}".encode()
            place = Locator(b"MacX", SECTOR, len(locator), table_offset + table_bytes)
            header = Header(
                table_offset,
                self._entries,
                parent_uuid=self._parent.uuid,
                parent_timestamp=self._parent.timestamp,
                parent_name=self._parent.name,
                locators=(place,),
            )
            locator = locator[:SECTOR].ljust(SECTOR, b"\0")
        front = SECTOR + 1024 + table_bytes + len(locator)
        start = -(-front // _PAGE) * _PAGE
        table = [ABSENT] * self._entries
        for number, block in enumerate(self.blocks):
            page = start + number * (_PAGE + BLOCK_BYTES)
            table[block.index] = (page + _PAGE - SECTOR) // SECTOR
        packed = struct.pack(f">{len(table)}I", *table).ljust(table_bytes, b"\xff")
        return (self.tail + header.pack() + packed + locator).ljust(start, b"\0")

    def block(self, block: Block, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Give the pieces of one block; ``data`` are its 2 MiB (the disk's end may be short)."""
        if len(data) > BLOCK_BYTES:
            raise ValueError("a block has 2 MiB")
        missing = bytes(BLOCK_BYTES - len(data))
        return [bytes(_PAGE - SECTOR) + pack_bitmap(block.runs), bytes(data), missing]


def split_extents(
    extents: Iterable[tuple[int, int]], size: int, *, whole_pages: bool
) -> Iterator[Block]:
    """Give the blocks that ascending extents touch; runs widened to sectors, or to 4 KiB."""
    step = _PAGE if whole_pages else SECTOR
    index, runs = -1, list[Run]()
    for offset, length in extents:
        position = offset // step * step
        end = min(-(-(offset + length) // step) * step, -(-size // SECTOR) * SECTOR)
        while position < end:
            here = position // BLOCK_BYTES
            if here != index:
                if runs:
                    yield Block(index, tuple(runs))
                index, runs = here, []
            stop = min(end, (here + 1) * BLOCK_BYTES)
            first, last = position % BLOCK_BYTES // SECTOR, (stop - here * BLOCK_BYTES) // SECTOR
            if runs and first <= sum(runs[-1]):
                start = runs[-1][0]
                runs[-1] = (start, max(last, sum(runs[-1])) - start)
            else:
                runs.append((first, last - first))
            position = stop
    if runs:
        yield Block(index, tuple(runs))


def pack_bitmap(runs: Sequence[Run]) -> bytes:
    """Make a block's bitmap: the first sector is the highest bit of the first byte."""
    bits = 0
    for first, count in runs:
        bits |= ((1 << count) - 1) << (BLOCK_SECTORS - first - count)
    return bits.to_bytes(BLOCK_SECTORS // 8, "big")


def unpack_bitmap(bitmap: bytes, sectors: int) -> list[Run]:
    """Give the runs of sectors present, out of the first ``sectors``."""
    if bitmap == _FULL and sectors == BLOCK_SECTORS:
        return [(0, sectors)]
    text = bin(int.from_bytes(b"\x01" + bitmap, "big"))[3 : 3 + sectors]
    runs, position = [], text.find("1")
    while position >= 0:
        end = text.find("0", position)
        end = sectors if end < 0 else end
        runs.append((position, end - position))
        position = text.find("1", end)
    return runs


class VhdReader:
    """Read a VHD stream: ``feed`` bytes, get pieces of data with their place on the disk.

    ``footer`` and ``header`` are there once enough was fed; a fixed disk has no
    header, and its footer comes last.  ``finish`` at the end of the stream.
    Sectors a disk does not hold give nothing: zeros, or the parent's.
    Errors: VhdError.
    """

    def __init__(self) -> None:
        self.footer: Footer | None = None
        self.header: Header | None = None
        self._buffer = bytearray()
        self._position = 0
        self._steps: Iterator[tuple[int, int]] = self._dynamic()
        self._wanted = next(self._steps)
        self._output: list[tuple[int, bytes]] = []
        self._fixed = False
        self._done = False

    @property
    def finished(self) -> bool:
        """Whether the footer at the end of a disk that is not fixed has come."""
        return self._done

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take the next bytes of the stream; gives (offset, data) pairs."""
        self._buffer += data
        if not self._fixed and self._position == 0 and self.footer is None:
            if len(self._buffer) < SECTOR:
                return []
            self._fixed = self._buffer[:8] != b"conectix"
        if self._fixed:
            return self._feed_fixed()
        while not self._done:
            offset, length = self._wanted
            if self._position < offset:
                self._drop(min(len(self._buffer), offset - self._position))
            if self._position < offset or len(self._buffer) < length:
                break
            self._wanted = next(self._steps, (0, 0))
            self._done = self._wanted == (0, 0)
        if self._done:
            self._drop(len(self._buffer))
        found, self._output = self._output, []
        return found

    def finish(self) -> None:
        """Check that the stream was complete."""
        if self._fixed:
            self.footer = parse_footer(bytes(self._buffer))
            if self.footer.disk_type is not DiskType.FIXED:
                raise VhdError("a dynamic disk without its first sector")
            if self.footer.current_size != self._position:
                raise VhdError("the data of the fixed disk is not as long as its footer says")
        elif not self._done:
            raise VhdError("the VHD ends early")

    def _feed_fixed(self) -> list[tuple[int, bytes]]:
        count = (len(self._buffer) - SECTOR) // SECTOR * SECTOR
        if count <= 0:
            return []
        piece = (self._position, self._take(count))
        return [piece]

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._position += count

    def _take(self, count: int) -> bytes:
        data = bytes(memoryview(self._buffer)[:count])
        self._drop(count)
        return data

    def _dynamic(self) -> Iterator[tuple[int, int]]:
        """Ask for (position, length) after each other, and read what is there then."""
        yield 0, SECTOR
        self.footer = parse_footer(self._take(SECTOR))
        if self.footer.disk_type is DiskType.FIXED:
            raise VhdError("a fixed disk that starts with its footer")
        yield SECTOR, 1024
        self.header = header = parse_header(self._take(1024))
        needed = -(-self.footer.current_size // header.block_bytes)
        if not needed <= header.entries <= max(needed, _MAX_ENTRIES):
            raise VhdError("the block table does not fit the size of the disk")
        if header.table_offset < self._position:
            raise VhdError("the block table overlaps the header")
        yield header.table_offset, 4 * header.entries
        table = struct.unpack(f">{header.entries}I", self._take(4 * header.entries))
        places = sorted((at, i) for i, at in enumerate(table) if at != ABSENT)
        for at, index in places:
            if index >= needed:
                raise VhdError("a block lies behind the end of the disk")
            if at * SECTOR < self._position:
                raise VhdError("blocks overlap, or come before the block table")
            yield from self._read_block(at * SECTOR, index, header.block_bytes)
        yield -(-self._position // SECTOR) * SECTOR, SECTOR
        while not self._buffer.startswith(b"conectix"):
            self._take(SECTOR)
            yield self._position, SECTOR
        last = parse_footer(self._take(SECTOR))
        if last.current_size != self.footer.current_size or last.uuid != self.footer.uuid:
            raise VhdError("the footer at the end is of another disk")

    def _read_block(self, at: int, index: int, block_bytes: int) -> Iterator[tuple[int, int]]:
        assert self.footer is not None
        sectors = block_bytes // SECTOR
        bitmap_bytes = -(-sectors // 8 // SECTOR) * SECTOR if sectors > 8 else SECTOR
        yield at, bitmap_bytes
        start = index * block_bytes
        inside = min(block_bytes, -(-self.footer.current_size // SECTOR) * SECTOR - start)
        runs = unpack_bitmap(self._take(bitmap_bytes), inside // SECTOR)
        for first, count in runs:
            offset, end = first * SECTOR, (first + count) * SECTOR
            while offset < end:
                yield at + bitmap_bytes + offset, min(end - offset, 64 * 1024)
                piece = self._take(min(end - offset, max(len(self._buffer) // SECTOR, 1) * SECTOR))
                self._output.append((start + offset, piece))
                offset += len(piece)
        yield at + bitmap_bytes + block_bytes, 0

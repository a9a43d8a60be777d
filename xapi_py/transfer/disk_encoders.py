"""Disks as streams in the formats of /export_raw_vdi.  Blocking iterators, for threads."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from ocaml_compat import tar_stream, xva
from ocaml_compat.qcow2_stream import CLUSTER, Qcow2Writer
from ocaml_compat.vhd import BLOCK_BYTES as VHD_BLOCK
from ocaml_compat.vhd_stream import Parent, VhdWriter
from ocaml_compat.xva import ChecksumKind
from xapi_py.api.disk_data import Extent, data_runs
from xapi_py.api.disk_files import BATCH_BLOCKS, ZEROS, DiskReader

CONTENT_TYPES: Final = {
    "raw": "application/octet-stream",
    "vhd": "application/vhd",
    "tar": "application/x-tar",
    "qcow2": "application/x-qemu-disk",
}
PIECE_BYTES: Final = 4 << 20
TAR_FOLDER: Final = "vdi"

Piece = tuple[Sequence[bytes], float]
"""What to send, and how much of the whole is done, 0..1."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A stream: its length where that is known beforehand, and its pieces."""

    length: int | None
    pieces: Iterator[Piece]


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk to send, and the one below it when only the difference is wanted."""

    uuid: str
    reader: DiskReader
    timestamp: int
    base_uuid: str = ""
    base: DiskReader | None = None

    def extents(self) -> Iterable[Extent]:
        """Give what the stream must hold, ascending."""
        if self.base is None:
            return self.reader.extents()
        return difference(self.reader, self.base)


def raw(disk: Disk) -> Encoded:
    """All bytes of the disk."""
    return Encoded(disk.reader.size, _raw(disk.reader))


def _raw(reader: DiskReader) -> Iterator[Piece]:
    sent = 0
    for offset, data in reader.pieces(reader.extents(), PIECE_BYTES):
        yield from _gap(sent, offset, reader.size)
        sent = offset + len(data)
        yield [bytes(data)], sent / reader.size
    yield from _gap(sent, reader.size, reader.size)


def _gap(start: int, end: int, size: int) -> Iterator[Piece]:
    while start < end:
        length = min(len(ZEROS), end - start)
        start += length
        yield [ZEROS[:length]], start / size


def tar(disk: Disk, kind: ChecksumKind) -> Encoded:
    """Blocks of 1 MiB with check sums, as in VM archives."""
    return Encoded(None, _tar(disk.reader, kind))


def _tar(reader: DiskReader, kind: ChecksumKind) -> Iterator[Piece]:
    number = 0
    while number < reader.count:
        blocks = reader.next_blocks(number)
        parts = [xva.block(TAR_FOLDER, n, bytes(data), kind) for n, data in blocks.found]
        number = blocks.following
        yield list(chain.from_iterable(parts)), number / reader.count
    yield [tar_stream.END], 1.0


def vhd(disk: Disk) -> Encoded:
    """A dynamic VHD, or one that holds the difference to the base."""
    parent = None
    if disk.base is not None:
        parent = Parent(uuid.UUID(disk.base_uuid).bytes, f"{disk.base_uuid}.vhd", disk.timestamp)
    writer = VhdWriter(
        disk.reader.size,
        disk.extents(),
        uuid.UUID(disk.uuid).bytes,
        parent=parent,
        timestamp=disk.timestamp,
    )
    return Encoded(writer.total_bytes, _vhd(writer, disk.reader))


def _vhd(writer: VhdWriter, reader: DiskReader) -> Iterator[Piece]:
    yield [writer.head], 0.0
    done, size = 0, reader.size
    for at in range(0, len(writer.blocks), BATCH_BLOCKS // 2):
        blocks = writer.blocks[at : at + BATCH_BLOCKS // 2]
        places = [(b.index * VHD_BLOCK, min(VHD_BLOCK, size - b.index * VHD_BLOCK)) for b in blocks]
        for block, data in zip(blocks, reader.read_many(places), strict=True):
            done += 1
            yield writer.block(block, data), done / len(writer.blocks)
    yield [writer.tail], 1.0


def qcow2(disk: Disk) -> Encoded:
    """A qcow2 image, or one that holds the difference to the base."""
    backing = f"{disk.base_uuid}.qcow2" if disk.base is not None else ""
    writer = Qcow2Writer(disk.reader.size, disk.extents(), backing)
    return Encoded(writer.total_bytes, _qcow2(writer, disk.reader))


def _qcow2(writer: Qcow2Writer, reader: DiskReader) -> Iterator[Piece]:
    for part in writer.head():
        yield [part], 0.0
    for offset, data in reader.pieces(writer.data_extents, PIECE_BYTES):
        missing = -len(data) % CLUSTER
        yield [bytes(data), bytes(missing)], (offset + len(data)) / reader.size


def difference(disk: DiskReader, base: DiskReader) -> Iterator[Extent]:
    """Give where a disk may differ from another, ascending.

    Images that both are made of tell; without any the content is compared.
    """
    if disk.layers >= 0 and base.layers >= 0:
        mine = disk.source.changed(0, disk.size, disk.layers) if disk.layers else iter(())
        end = min(disk.size, base.source.size)
        theirs = base.source.changed(0, end, base.layers) if base.layers else iter(())
        return union(mine, theirs)
    end = min(base.size, base.source.size, disk.size)
    candidates = union(disk.extents(), base.source.extents(0, end))
    return _compared(disk, base, candidates)


def _compared(disk: DiskReader, base: DiskReader, candidates: Iterable[Extent]) -> Iterator[Extent]:
    for offset, data in disk.pieces(candidates):
        other = base.read(offset, len(data))
        if data == other:
            continue
        for start, end, same in differing_runs(data, other):
            if not same:
                yield offset + start, end - start


def differing_runs(
    data: bytes | bytearray, other: bytes | bytearray
) -> Iterator[tuple[int, int, bool]]:
    """Cut two equally long texts into (from, to, are the same), as ``data_runs`` does."""
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(other, "big")
    yield from data_runs(mixed.to_bytes(len(data), "big"), 0)


def union(first: Iterable[Extent], second: Iterable[Extent]) -> Iterator[Extent]:
    """Merge two ascending lists of extents."""
    left, right = iter(first), iter(second)
    one, two = next(left, None), next(right, None)
    pending: Extent | None = None
    while one is not None or two is not None:
        if two is None or (one is not None and one[0] <= two[0]):
            assert one is not None
            extent, one = one, next(left, None)
        else:
            extent, two = two, next(right, None)
        if pending is not None and extent[0] <= sum(pending):
            pending = (pending[0], max(sum(pending), sum(extent)) - pending[0])
        else:
            if pending is not None:
                yield pending
            pending = extent
    if pending is not None:
        yield pending


def encoder(form: str, kind: ChecksumKind) -> Callable[[Disk], Encoded]:
    """Give the function for a format of ``CONTENT_TYPES``."""
    if form == "tar":
        return lambda disk: tar(disk, kind)
    return {"raw": raw, "vhd": vhd, "qcow2": qcow2}[form]

"""qcow2 files as streams: written and read front to back, without seeking.

A writer knows beforehand where the data of the disk is.  A reader takes files
of any writer: what comes before the tables that say what it is waits in a
spool.  Source: QEMU, docs/interop/qcow2.
"""

import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Final

import zstandard

CLUSTER_BITS: Final = 16
CLUSTER: Final = 1 << CLUSTER_BITS
L2_ENTRIES: Final = CLUSTER // 8
MAX_BYTES: Final = 64 << 40

_MAGIC: Final = b"QFI\xfb"
_HEADER: Final = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_EXTENSION: Final = struct.Struct(">II")
_FORMAT_EXTENSION: Final = 0xE2792ACA
_COPIED: Final = 1 << 63
_COMPRESSED: Final = 1 << 62
_OFFSET: Final = 0x00FFFFFFFFFFFE00
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION_TYPE, _EXTENDED_L2 = 1, 2, 4, 8, 16
_MAX_TABLE_ENTRIES: Final = 4 << 20


class Qcow2StreamError(ValueError):
    """The bytes are no qcow2 file, or one with features that are not read here."""


def cluster_runs(extents: Iterable[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Give the clusters that ascending extents touch, as (first, count)."""
    runs: list[tuple[int, int]] = []
    for offset, length in extents:
        first, end = offset // CLUSTER, -(-min(offset + length, size) // CLUSTER)
        if runs and first <= sum(runs[-1]):
            first = sum(runs[-1])
            if end > first:
                runs[-1] = (runs[-1][0], end - runs[-1][0])
        elif end > first:
            runs.append((first, end - first))
    return runs


class Qcow2Writer:
    """Write an image that holds the clusters which ``extents`` touch.

    Send ``head()``, then the data of ``data_extents`` in order, each filled up
    to whole clusters: ``total_bytes`` in all.
    """

    def __init__(self, size: int, extents: Iterable[tuple[int, int]], backing: str = "") -> None:
        if not 0 <= size <= MAX_BYTES:
            raise ValueError("an image like that is not possible")
        self.size = -(-size // 512) * 512
        self._runs = cluster_runs(extents, self.size)
        self._backing = backing
        self._data = sum(count for _, count in self._runs)
        self._tables = sorted(set(_tables(self._runs)))
        self._l1_entries = max(1, -(-self.size // (CLUSTER * L2_ENTRIES)))
        self._l1 = -(-self._l1_entries * 8 // CLUSTER)
        fixed = 1 + self._l1 + len(self._tables) + self._data
        blocks = table = 0
        while True:
            needed = -(-(fixed + blocks + table) // (CLUSTER // 2))
            wanted = -(-needed * 8 // CLUSTER)
            if (needed, wanted) == (blocks, table):
                break
            blocks, table = needed, wanted
        self._blocks, self._table = blocks, table
        self._clusters = fixed + blocks + table
        self.total_bytes = self._clusters * CLUSTER

    @property
    def data_extents(self) -> Iterator[tuple[int, int]]:
        """The parts of the disk to send, ascending; the last one may end with the disk."""
        for first, count in self._runs:
            start = first * CLUSTER
            yield start, min((first + count) * CLUSTER, self.size) - start

    def head(self) -> Iterator[bytes]:
        """Give everything before the data."""
        yield self._header()
        first_block = 1 + self._table
        table = struct.pack(
            f">{self._blocks}Q",
            *(n * CLUSTER for n in range(first_block, first_block + self._blocks)),
        )
        yield table.ljust(self._table * CLUSTER, b"\0")
        left = self._clusters
        for _ in range(self._blocks):
            count = min(left, CLUSTER // 2)
            left -= count
            yield (b"\0\1" * count).ljust(CLUSTER, b"\0")
        l2_start = first_block + self._blocks + self._l1
        l1 = [0] * self._l1_entries
        for number, index in enumerate(self._tables):
            l1[index] = (l2_start + number) * CLUSTER | _COPIED
        yield struct.pack(f">{len(l1)}Q", *l1).ljust(self._l1 * CLUSTER, b"\0")
        yield from self._l2_tables(l2_start + len(self._tables))

    def _l2_tables(self, place: int) -> Iterator[bytes]:
        table, current = [0] * L2_ENTRIES, -1
        for first, count in self._runs:
            for cluster in range(first, first + count):
                if cluster // L2_ENTRIES != current:
                    if current >= 0:
                        yield struct.pack(f">{L2_ENTRIES}Q", *table)
                    table, current = [0] * L2_ENTRIES, cluster // L2_ENTRIES
                table[cluster % L2_ENTRIES] = place * CLUSTER | _COPIED
                place += 1
        if current >= 0:
            yield struct.pack(f">{L2_ENTRIES}Q", *table)

    def _header(self) -> bytes:
        name = self._backing.encode()[:1023]
        extensions = b""
        if name:
            extensions += _EXTENSION.pack(_FORMAT_EXTENSION, 5) + b"qcow2\0\0\0"
        extensions += _EXTENSION.pack(0, 0)
        name_at = 104 + len(extensions) if name else 0
        header = _HEADER.pack(
            *(_MAGIC, 3, name_at, len(name), CLUSTER_BITS, self.size, 0),
            *(self._l1_entries, (1 + self._table + self._blocks) * CLUSTER),
            *(CLUSTER, self._table, 0, 0, 0, 0, 0, 4, 104),
        )
        return (header + extensions + name).ljust(CLUSTER, b"\0")


def _tables(runs: Sequence[tuple[int, int]]) -> Iterator[int]:
    for first, count in runs:
        yield from range(first // L2_ENTRIES, (first + count - 1) // L2_ENTRIES + 1)


class Qcow2Reader:
    """Read a qcow2 stream: ``feed`` bytes, get pieces of data with their place on the disk.

    ``size`` and ``backing_file`` are there once ``ready``.  What the image
    does not hold gives nothing; zeros it holds are given when it has a
    backing file.  ``finished`` once all data has come; ``finish`` at the end of
    the stream.  ``close`` it: it may have a spool, a temporary file.
    Errors: Qcow2StreamError.
    """

    def __init__(self) -> None:
        self.ready = False
        self.size = 0
        self.backing_file = ""
        self._bits = CLUSTER_BITS
        self._zstd = False
        self._buffer = bytearray()
        self._position = 0
        self._l1_offset = 0
        self._l1_bytes = 0
        self._l1: list[int] | None = None
        self._awaited_tables: dict[int, int] = {}
        self._data: dict[int, int] = {}
        self._packed: list[tuple[int, int, int]] = []
        self._spool: IO[bytes] | None = None
        self._spooled: set[int] = set()
        self._output: list[tuple[int, bytes]] = []

    @property
    def _cluster(self) -> int:
        return 1 << self._bits

    @property
    def finished(self) -> bool:
        """Whether everything the tables name has come."""
        waiting = self._awaited_tables or self._data or self._packed
        return self._l1 is not None and not waiting

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take the next bytes of the stream; gives (offset, data) pairs."""
        self._buffer += data
        if not self.ready and len(self._buffer) >= CLUSTER:
            self._read_header()
        if self.ready:
            self._take_clusters()
        found, self._output = self._output, []
        return found

    def finish(self) -> list[tuple[int, bytes]]:
        """Take the end of the stream; gives what was left."""
        if not self.ready:
            if len(self._buffer) < 104:
                raise Qcow2StreamError("the image ends early")
            self._buffer = self._buffer.ljust(CLUSTER, b"\0")
            self._read_header()
        short = -len(self._buffer) % self._cluster
        found = self.feed(bytes(short)) if short else self.feed(b"")
        if not self.finished:
            raise Qcow2StreamError("the image ends early")
        return found

    def close(self) -> None:
        """Give the spool back."""
        if self._spool is not None:
            self._spool.close()

    def _read_header(self) -> None:
        fields = _HEADER.unpack_from(self._buffer)
        magic, version, name_at, name_bytes, bits, size, crypt, entries, l1_at = fields[:9]
        if magic != _MAGIC:
            raise Qcow2StreamError("no qcow2 image")
        incompatible = fields[13] if version == 3 else 0
        if version not in (2, 3):
            raise Qcow2StreamError(f"qcow2 version {version} is unknown")
        known = _DIRTY | _COMPRESSION_TYPE
        if crypt or incompatible & ~known:
            raise Qcow2StreamError("the image is encrypted, damaged or has features not known here")
        if not 9 <= bits <= 21 or size > MAX_BYTES:
            raise Qcow2StreamError("the header is damaged")
        reach = (1 << (bits - 3)) << bits
        if not -(-size // reach) <= entries <= _MAX_TABLE_ENTRIES or l1_at % (1 << bits):
            raise Qcow2StreamError("the first-level table does not fit the disk")
        if name_at:
            name = bytes(self._buffer[name_at : name_at + name_bytes])
            if len(name) != name_bytes or name_bytes > 1023:
                raise Qcow2StreamError("the backing file's name is outside of the header")
            self.backing_file = name.decode("utf-8", "replace")
        header_bytes = fields[17] if version == 3 else 72
        if incompatible & _COMPRESSION_TYPE and header_bytes > 104:
            self._zstd = self._buffer[104] == 1
        self.size, self._bits = size, bits
        self._l1_offset, self._l1_bytes = l1_at, entries * 8
        self.ready = True
        if not entries:
            self._l1 = []

    def _take_clusters(self) -> None:
        at, cluster = 0, self._cluster
        with memoryview(self._buffer) as view:
            while len(view) - at >= cluster:
                self._take(self._position, bytes(view[at : at + cluster]))
                at += cluster
                self._position += cluster
                if self._packed:
                    self._unpack_ready()
        del self._buffer[:at]

    def _take(self, place: int, data: bytes) -> None:
        guest = self._data.pop(place, None)
        if guest is not None:
            return self._give(guest, data)
        l1_end = self._l1_offset + self._l1_bytes
        if self._l1 is None and place < l1_end and place + len(data) > self._l1_offset:
            self._keep(place, data)
            if place + len(data) >= l1_end:
                self._read_l1()
            return None
        if place in self._awaited_tables:
            return self._read_table(self._awaited_tables.pop(place), data)
        if place and not self.finished:
            self._keep(place, data)
        return None

    def _keep(self, place: int, data: bytes) -> None:
        if self._spool is None:
            self._spool = tempfile.TemporaryFile(prefix="qcow2-")  # noqa: SIM115
        self._spool.seek(place)
        self._spool.write(data)
        self._spooled.add(place)

    def _kept(self, place: int, length: int) -> bytes:
        first = place >> self._bits << self._bits
        needed = range(first, place + length, self._cluster)
        if self._spool is None or any(p not in self._spooled for p in needed):
            raise Qcow2StreamError("two parts of the image lie in the same place")
        self._spool.seek(place)
        return self._spool.read(length).ljust(length, b"\0")

    def _read_l1(self) -> None:
        table = self._kept(self._l1_offset, self._l1_bytes)
        self._l1 = [entry & _OFFSET for (entry,) in struct.iter_unpack(">Q", table)]
        late: list[tuple[int, int]] = []
        for index, place in enumerate(self._l1):
            if place % self._cluster or place in self._awaited_tables:
                raise Qcow2StreamError("the first-level table is damaged")
            if place in self._spooled:
                late.append((index, place))
            elif place:
                if place < self._position:
                    raise Qcow2StreamError("the first-level table is damaged")
                self._awaited_tables[place] = index
        for index, place in late:
            self._read_table(index, self._kept(place, self._cluster))

    def _read_table(self, index: int, table: bytes) -> None:
        entries = self._cluster // 8
        start = index * entries * self._cluster
        for number, (entry,) in enumerate(struct.iter_unpack(">Q", table)):
            guest = start + number * self._cluster
            if not entry or guest >= self.size:
                continue
            if entry & _COMPRESSED:
                self._note_packed(guest, entry)
            elif entry & 1 or not entry & _OFFSET:
                if self.backing_file and entry & 1:
                    self._give(guest, bytes(self._cluster))
            else:
                self._note_data(guest, entry & _OFFSET)

    def _note_data(self, guest: int, place: int) -> None:
        if place % self._cluster or place in self._data:
            raise Qcow2StreamError("a second-level table is damaged")
        if place in self._spooled:
            self._give(guest, self._kept(place, self._cluster))
        elif place < self._position:
            raise Qcow2StreamError("two parts of the image lie in the same place")
        else:
            self._data[place] = guest

    def _note_packed(self, guest: int, entry: int) -> None:
        shift = 62 - (self._bits - 8)
        place = entry & ((1 << shift) - 1)
        sectors = (entry >> shift & ((1 << (self._bits - 8)) - 1)) + 1
        self._packed.append((place, sectors * 512 - place % 512, guest))

    def _unpack_ready(self) -> None:
        """Unpack compressed clusters whose bytes have all come."""
        waiting = []
        for place, length, guest in self._packed:
            if place + length > self._position:
                waiting.append((place, length, guest))
            else:
                self._give(guest, self._unpacked(self._kept(place, length)))
        self._packed = waiting

    def _unpacked(self, data: bytes) -> bytes:
        try:
            if self._zstd:
                found = zstandard.ZstdDecompressor().decompressobj().decompress(data)
            else:
                found = zlib.decompressobj(-12).decompress(data, self._cluster)
        except (zlib.error, zstandard.ZstdError) as problem:
            raise Qcow2StreamError(f"a compressed part is damaged: {problem}") from problem
        if len(found) != self._cluster:
            raise Qcow2StreamError("a compressed part is too short")
        return found

    def _give(self, guest: int, data: bytes) -> None:
        self._output.append((guest, data[: self.size - guest]))

"""Reading and writing the data of disks, sparse as it is, in threads."""

import errno
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread

from xapi_py.api.call import Call
from xapi_py.api.disk_data import (
    Extent,
    FileSource,
    NbdSource,
    Source,
    Target,
    data_runs,
    is_zero,
    open_target,
)
from xapi_py.api.image_source import ImageSource, UnreadableImage
from xapi_py.api.storage_calls import on_vdi
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.base.waiting import shielded
from xapi_py.datamodel import errors as err
from xapi_py.pool.storage_records import put_vdi

log = logging.getLogger(__name__)

BLOCK_BYTES: Final = 1 << 20
ZEROS: Final = bytes(BLOCK_BYTES)
BATCH_BLOCKS: Final = 4
SCAN_BLOCKS: Final = 64
"""How much one turn of a thread reads when it finds nothing but zeros."""

WINDOW_BYTES: Final = 16 << 30
"""How far ahead a disk is asked where its data is."""

SCAN_WINDOWS: Final = 16

T = TypeVar("T")


async def in_thread(work: Any, *arguments: Any) -> Any:
    """Run blocking work; cancelling waits for its end, so that nobody closes its file."""
    running: Deferred[Any] = deferToThread(work, *arguments)
    waiter: Deferred[Any] = Deferred()
    running.addCallbacks(
        lambda value: None if waiter.called else waiter.callback(value),
        lambda failure: None if waiter.called else waiter.errback(failure),
    )
    try:
        return await waiter
    finally:
        if not running.called:
            await running


class ReadAhead:
    """What a blocking iterator gives, with one item on its way while the last is used.

    ``aclose`` waits for the thread.
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._next: Deferred[Any] | None = None

    def _start(self) -> Deferred[Any]:
        return deferToThread(next, self._items, None)

    def __aiter__(self) -> "ReadAhead":
        return self

    async def __anext__(self) -> Any:
        running = self._next or self._start()
        self._next = running
        item = await shielded(running)
        self._next = None
        if item is None:
            raise StopAsyncIteration
        self._next = self._start()
        return item

    async def aclose(self) -> None:
        """Wait for what is on its way; its failure matters no more."""
        running, self._next = self._next, None
        if running is not None:
            running.addErrback(lambda failure: None)
            await running


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks read together: (number, data), and the number to go on with."""

    found: list[tuple[int, bytes | bytearray]]
    following: int


class DiskReader:
    """The data of a disk.  All but ``release`` block; close it, then release it."""

    def __init__(self, source: Source, size: int, call: Call | None = None, vdi: Ref | None = None):
        self.source = source
        self.size = size
        self.count = -(-size // BLOCK_BYTES)
        self.layers = -1
        self._call, self._vdi = call, vdi
        self._known: deque[Extent] = deque()
        self._known_end = 0

    def close(self) -> None:
        """Close what was opened."""
        self.source.close()

    async def release(self) -> None:
        """Close it, and tell the storage daemon."""
        self.source.abort()
        self.source.close()
        if self._call is None or self._vdi is None:
            return
        row = self._call.db.find("VDI", self._vdi)
        if row is not None:
            try:
                await on_vdi(self._call, row, "VDI.close_data", mode="read")
            except ApiError as problem:
                log.warning("closing %s: %s", row.uuid, problem)

    def read(self, offset: int, length: int) -> bytes | bytearray:
        """Give bytes of the disk."""
        return self.read_many([(offset, length)])[0]

    def read_many(self, wanted: Sequence[Extent]) -> Sequence[bytes | bytearray]:
        """Give several pieces; behind the end there are zeros."""
        end = self.source.size
        inside = [(at, max(0, min(length, end - at))) for at, length in wanted]
        found = self.source.read_many(inside)
        return [
            data if len(data) == length else bytes(data) + bytes(length - len(data))
            for data, (_, length) in zip(found, wanted, strict=True)
        ]

    def extents(self) -> Iterator[Extent]:
        """Give all parts that may hold data, ascending."""
        return self.source.extents(0, min(self.size, self.source.size))

    def pieces(
        self, extents: Iterable[Extent], most: int = BLOCK_BYTES
    ) -> Iterator[tuple[int, bytes | bytearray]]:
        """Give the data of extents with its offsets, ``most`` bytes each and some read together."""
        batch: list[Extent] = []
        for offset, length in extents:
            end = offset + length
            while offset < end:
                step = min(end, (offset // most + 1) * most) - offset
                batch.append((offset, step))
                offset += step
                if len(batch) * most >= BATCH_BLOCKS * BLOCK_BYTES:
                    yield from self._batch(batch)
                    batch = []
        yield from self._batch(batch)

    def _batch(self, batch: list[Extent]) -> Iterator[tuple[int, bytes | bytearray]]:
        found = self.read_many(batch) if batch else ()
        for (offset, _), data in zip(batch, found, strict=True):
            yield offset, data

    def next_blocks(self, number: int) -> Blocks:
        """Give some blocks from ``number`` on that hold data.

        The first and the last block are given even if they are zeros.
        """
        found: list[tuple[int, bytes | bytearray]] = []
        wanted: list[int] = []
        looked = windows = 0
        while number < self.count and windows < SCAN_WINDOWS and looked < SCAN_BLOCKS:
            if number not in (0, self.count - 1):
                at, known = self._next_data(number * BLOCK_BYTES)
                windows += 1
                number = min(at // BLOCK_BYTES, self.count - 1)
                if not known and number < self.count - 1:
                    continue
            wanted.append(number)
            number += 1
            looked += 1
            if len(wanted) == BATCH_BLOCKS or number == self.count:
                found += self._data_of(wanted)
                wanted = []
                if found:
                    break
                windows = 0
        found += self._data_of(wanted)
        return Blocks(found, number)

    def _data_of(self, numbers: list[int]) -> list[tuple[int, bytes | bytearray]]:
        places = [(n * BLOCK_BYTES, min(BLOCK_BYTES, self.size - n * BLOCK_BYTES)) for n in numbers]
        pairs = zip(numbers, self.read_many(places), strict=True)
        ends = (0, self.count - 1)
        return [(n, data) for n, data in pairs if n in ends or not is_zero(data)]

    def _next_data(self, offset: int) -> tuple[int, bool]:
        """Find the first data from ``offset`` on; else how far it is known that there is none."""
        while self._known and sum(self._known[0]) <= offset:
            self._known.popleft()
        if not self._known and offset >= self._known_end:
            end = min(self.size, self.source.size, offset + WINDOW_BYTES)
            self._known.extend(self.source.extents(offset, end))
            self._known_end = max(offset, end)
            if end <= offset:
                return self.size, False
        if self._known:
            return max(offset, self._known[0][0]), True
        return self._known_end, False


def open_source(access: dict[str, Any], size: int) -> Source:
    """Open what ``VDI.open_data`` answered for reading.  Errors: OSError."""
    if access.get("images"):
        return ImageSource(access["images"])
    if access.get("path"):
        return FileSource(access["path"], size)
    return NbdSource(access["socket"], access["export"])


async def open_reader(call: Call, vdi: Ref, base: str = "") -> DiskReader:
    """Open a disk for reading.  ``base``: uuid of a disk for the reader's ``layers``.

    Errors: those of the storage daemon, VDI_IO_ERROR.
    """
    row, images = call.db.row("VDI", vdi), True
    for attempt in range(3):
        wanted = {"mode": "read", "base": base, "images": images}
        access: Any = await on_vdi(call, row, "VDI.open_data", **wanted)
        try:
            source = await in_thread(open_source, access, row.virtual_size)
        except OSError as problem:
            images = images and not isinstance(problem, UnreadableImage)
            if attempt < 2 and not access.get("path"):
                continue  # the backend ended with another reader, or images have been merged
            raise io_error(call, vdi, problem) from problem
        reader = DiskReader(source, row.virtual_size, call, vdi)
        reader.layers = int(access.get("depth", -1))
        return reader
    raise AssertionError("unreachable")


@dataclass(slots=True)
class DiskWriter:
    """Writes a disk's data at its place.  ``finish`` or ``abandon`` in the end.

    A write goes on while the caller gets the next piece: its failure is that
    of a later call.
    """

    call: Call
    vdi: Ref
    size: int
    mode: str
    _target: Target | None
    _blank: bool
    _written: bytearray
    _extents: list[list[int]] = field(default_factory=list)
    _running: Deferred[Any] | None = None

    async def write(self, offset: int, data: bytes | bytearray) -> None:
        """Write a piece; zeros make no data where there is none.

        Errors: VDI_IO_ERROR, also for what lies behind the end of the disk.
        """
        await self.write_many([(offset, data)])

    async def write_many(self, pieces: Sequence[tuple[int, bytes | bytearray]]) -> None:
        """Write pieces in order; those that follow each other on the disk go together.

        Errors: as ``write``.
        """
        if any(offset + len(data) > self.size for offset, data in pieces):
            raise err.VDI_IO_ERROR(self.vdi, f"more than {self.size} bytes of data")
        await self._settle()
        if pieces:
            self._running = deferToThread(self._write_all, joined(pieces))

    async def _settle(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        try:
            await shielded(running)
        except OSError as problem:
            raise io_error(self.call, self.vdi, problem) from problem
        except CancelledError:
            self._running = running
            raise

    def _write_all(self, pieces: Iterable[tuple[int, bytes | bytearray]]) -> None:
        for offset, data in pieces:
            self._write(offset, data)

    def _write(self, offset: int, data: bytes | bytearray) -> None:
        assert self._target is not None
        view = memoryview(data)
        for start, end, zero in data_runs(data, offset):
            at, length = offset + start, end - start
            if not zero:
                self._target.write(at, view[start:end])
            elif self._is_blank(at, length):
                continue
            else:
                self._target.zero(at, length)
            self._note(at, length)

    def _is_blank(self, offset: int, length: int) -> bool:
        """Whether nothing was written there, on a disk that was blank."""
        if not self._blank:
            return False
        first, last = offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES
        return not any(self._written[first // 8 : last // 8 + 1])

    def _note(self, offset: int, length: int) -> None:
        if self._blank:
            first, last = offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES
            for number in range(first // 8, last // 8 + 1):
                self._written[number] = 1
        if self._extents and sum(self._extents[-1]) == offset:
            self._extents[-1][1] += length
        else:
            self._extents.append([offset, length])

    async def prepare(self) -> None:
        """Let a disk that will be written as a whole read as zeros."""
        if self.mode == "replace" and not self._blank:
            await in_thread(self._clear)

    def _clear(self) -> None:
        assert self._target is not None
        self._extents = [list(e) for e in self._target.old_data()]
        self._target.clear()
        self._blank = True

    async def finish(self) -> None:
        """Have the data on the medium, and let the disk have it.  Errors: VDI_IO_ERROR..."""
        try:
            await self._settle()
            await in_thread(self._flush)
        except OSError as problem:
            raise io_error(self.call, self.vdi, problem) from problem
        await self._close(commit=True)

    async def abandon(self) -> None:
        """Give up; the disk keeps what it held, where that is possible."""
        target, running = self._target, self._running
        if target is None:
            return
        target.abort()
        if running is not None:
            running.addErrback(lambda failure: None)
            await running
        try:
            await self._close(commit=False)
        except ApiError as problem:
            log.warning("closing %s: %s", self.vdi, problem)

    def _flush(self) -> None:
        if self._target is not None:
            self._target.flush()

    async def _close(self, *, commit: bool) -> None:
        target, self._target = self._target, None
        if target is None:
            return
        await in_thread(target.close)
        row = self.call.db.find("VDI", self.vdi)
        if row is None:
            return
        extents = self._extents
        params: dict[str, Any] = {"mode": self.mode, "commit": commit, "extents": extents}
        found = await on_vdi(self.call, row, "VDI.close_data", **params)
        sr = self.call.db.find("SR", row.SR)
        if sr is not None and self.call.db.find("VDI", self.vdi) is not None:
            with self.call.db.transaction() as tx:
                put_vdi(self.call.db, tx, sr, found)


def joined(
    pieces: Sequence[tuple[int, bytes | bytearray]],
) -> Iterator[tuple[int, bytes | bytearray]]:
    """Join neighbours on the disk, up to some MiB."""
    parts: list[bytes | bytearray] = []
    start = end = -1
    for offset, data in pieces:
        if parts and (offset != end or end - start >= 4 * BLOCK_BYTES):
            yield start, parts[0] if len(parts) == 1 else b"".join(parts)
            parts = []
        if not parts:
            start = end = offset
        parts.append(data)
        end += len(data)
    if parts:
        yield start, parts[0] if len(parts) == 1 else b"".join(parts)


async def open_writer(call: Call, vdi: Ref, mode: str = "replace") -> DiskWriter:
    """Open a disk for writing all of it, or parts of it: ``amend``.

    Errors: those of the storage daemon, VDI_IO_ERROR.
    """
    row = call.db.row("VDI", vdi)
    access: Any = await on_vdi(call, row, "VDI.open_data", mode=mode)
    try:
        target: Target = await in_thread(open_target, access, row.virtual_size)
    except OSError as problem:
        await on_vdi(call, row, "VDI.close_data", mode=mode)
        raise io_error(call, vdi, problem) from problem
    size, blank = row.virtual_size, bool(access.get("blank"))
    written = bytearray(-(-size // BLOCK_BYTES) // 8 + 1)
    writer = DiskWriter(call, vdi, size, mode, target, blank, written)
    try:
        await writer.prepare()
    except BaseException as problem:
        await writer.abandon()
        if isinstance(problem, OSError):
            raise io_error(call, vdi, problem) from problem
        raise
    return writer


def io_error(call: Call, vdi: Ref, problem: OSError) -> Exception:
    """Give the API error of a failed read or write; only its kind is told."""
    if problem.errno == errno.ENOSPC:
        return ApiError("SR_BACKEND_FAILURE_44", "", "There is insufficient space", "")
    return err.VDI_IO_ERROR(vdi, problem.strerror or "input/output error")

"""Reading and writing the data of disks, sparse as it is, in threads.

The storage daemon gives a path; a hole in the file is zeros, and so is what
lies behind its end.
"""

import errno
import os
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from xapi_py.api.call import Call
from xapi_py.api.storage_calls import on_vdi
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.pool.storage_records import put_vdi

BLOCK_BYTES: Final = 1 << 20
ZEROS: Final = bytes(BLOCK_BYTES)
BATCH_BLOCKS: Final = 4
SCAN_BLOCKS: Final = 64
"""How much one turn of a thread reads when it finds nothing but zeros."""

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


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks read together: (number, data), and the number to go on with."""

    found: list[tuple[int, bytes]]
    following: int


class DiskReader:
    """The data of a disk in blocks of 1 MiB.  Close it."""

    def __init__(self, path: str, size: int) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self.size = size
        self.count = -(-size // BLOCK_BYTES)

    def close(self) -> None:
        """Give the file back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def read(self, offset: int, length: int) -> bytes:
        """Give bytes of the disk; blocks."""
        data = os.pread(self._file, length, offset)
        return data if len(data) == length else data + bytes(length - len(data))

    def next_blocks(self, number: int) -> Blocks:
        """Give some blocks from ``number`` on that hold data; blocks.

        The first and the last block are given even if they are zeros.
        """
        found: list[tuple[int, bytes]] = []
        looked = 0
        while number < self.count and len(found) < BATCH_BLOCKS and looked < SCAN_BLOCKS:
            number = self._skip_hole(number)
            offset = number * BLOCK_BYTES
            data = self.read(offset, min(BLOCK_BYTES, self.size - offset))
            looked += 1
            if number in (0, self.count - 1) or data != ZEROS:
                found.append((number, data))
            number += 1
        return Blocks(found, number)

    def _skip_hole(self, number: int) -> int:
        last = self.count - 1
        if number in (0, last):
            return number
        try:
            at = os.lseek(self._file, number * BLOCK_BYTES, os.SEEK_DATA)
        except OSError as problem:
            if problem.errno == errno.ENXIO:
                return last
            raise
        return min(at // BLOCK_BYTES, last)


async def open_reader(call: Call, vdi: Ref) -> DiskReader:
    """Open a disk for reading.  Errors: those of the storage daemon, VDI_IO_ERROR."""
    row = call.db.row("VDI", vdi)
    path = str(await on_vdi(call, row, "VDI.path", read_write=False))
    try:
        return DiskReader(path, row.virtual_size)
    except OSError as problem:
        raise io_error(call, vdi, problem) from problem


@dataclass(slots=True)
class DiskWriter:
    """Writes a disk's data at its place.  ``finish`` in the end, also after a failure."""

    call: Call
    vdi: Ref
    size: int
    _file: int
    _extents: list[list[int]] = field(default_factory=list)

    async def write(self, offset: int, data: bytes) -> None:
        """Write a piece; zeros make no data where there is none.

        Errors: VDI_IO_ERROR for what lies behind the end of the disk.
        """
        if offset + len(data) > self.size:
            raise err.VDI_IO_ERROR(self.vdi, f"more than {self.size} bytes of data")
        if not data:
            return
        try:
            written = await in_thread(_write, self._file, offset, data)
        except OSError as problem:
            raise io_error(self.call, self.vdi, problem) from problem
        if written:
            self._note(offset, len(data))

    def _note(self, offset: int, length: int) -> None:
        if self._extents and sum(self._extents[-1]) == offset:
            self._extents[-1][1] += length
        else:
            self._extents.append([offset, length])

    async def finish(self) -> None:
        """Have the data on the medium, and tell the storage daemon what was written."""
        if self._file < 0:
            return
        descriptor, self._file = self._file, -1
        try:
            await in_thread(_sync, descriptor)
        except OSError as problem:
            raise io_error(self.call, self.vdi, problem) from problem
        row = self.call.db.find("VDI", self.vdi)
        if row is None:
            return
        found = await on_vdi(self.call, row, "VDI.note_written", extents=self._extents)
        sr = self.call.db.find("SR", row.SR)
        if sr is not None and self.call.db.find("VDI", self.vdi) is not None:
            with self.call.db.transaction() as tx:
                put_vdi(self.call.db, tx, sr, found)


async def open_writer(call: Call, vdi: Ref) -> DiskWriter:
    """Open a disk for writing.  Errors: those of the storage daemon, VDI_IO_ERROR."""
    row = call.db.row("VDI", vdi)
    path = str(await on_vdi(call, row, "VDI.path", read_write=True))
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError as problem:
        raise io_error(call, vdi, problem) from problem
    return DiskWriter(call, vdi, row.virtual_size, descriptor)


def io_error(call: Call, vdi: Ref, problem: OSError) -> Exception:
    """Give the API error of a failed read or write; only its kind is told."""
    return err.VDI_IO_ERROR(vdi, problem.strerror or "input/output error")


def _write(descriptor: int, offset: int, data: bytes) -> bool:
    """Write; whether anything had to be."""
    if data.count(0) == len(data) and _is_hole(descriptor, offset, len(data)):
        return False
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done
    return True


def _is_hole(descriptor: int, offset: int, length: int) -> bool:
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA) >= offset + length
    except OSError as problem:
        if problem.errno == errno.ENXIO:
            return True
        raise


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Where a disk's data comes from and goes to: raw files and NBD exports.  Blocking.

The storage daemon says which of the two it is.  A hole reads as zeros, and so
does what lies behind the end of a file.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from xapi_py.base.nbd import wire
from xapi_py.base.nbd.client import NbdClient

Extent = tuple[int, int]
"""Offset and length in bytes."""

GRAIN: Final = 64 * 1024
"""Zeros are looked for in pieces of this size."""

_ZEROS: Final = bytes(1 << 20)
_GRAIN_OF_ZEROS: Final = bytes(GRAIN)


class Source(Protocol):
    """A disk to read.  Errors of all methods: OSError."""

    size: int

    def extents(self, start: int, end: int) -> Iterator[Extent]:
        """Give the parts of a range that may hold other things than zeros, ascending."""

    def changed(self, start: int, end: int, layers: int) -> Iterator[Extent]:
        """Give the parts of a range that the uppermost images hold, zeros among them."""

    def read_many(self, wanted: Sequence[Extent]) -> Sequence[bytes | bytearray]:
        """Give pieces of at most 32 MiB."""

    def close(self) -> None: ...

    def abort(self) -> None:
        """Make a thread that waits for data give up."""


class FileSource:
    """A raw file or block device."""

    def __init__(self, path: str, size: int) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = size

    def extents(self, start: int, end: int) -> Iterator[Extent]:
        while start < end:
            try:
                at = os.lseek(self._file, start, os.SEEK_DATA)
                stop = os.lseek(self._file, at, os.SEEK_HOLE)
            except OSError as problem:
                if problem.errno == errno.ENXIO:
                    return
                at, stop = start, end  # a device, or a file system that cannot tell
            if at >= end:
                return
            yield at, min(stop, end) - at
            start = stop

    def changed(self, start: int, end: int, layers: int) -> Iterator[Extent]:
        return self.extents(start, end)

    def read_many(self, wanted: Sequence[Extent]) -> Sequence[bytes | bytearray]:
        return [self._read(offset, length) for offset, length in wanted]

    def _read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._file, length, offset)
        return data if len(data) == length else data + bytes(length - len(data))

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def abort(self) -> None:
        """A file is not waited for."""


class NbdSource:
    """An NBD export at a unix socket."""

    def __init__(self, path: str, export: str) -> None:
        self._client = NbdClient(path, export, (wire.ALLOCATION, wire.DEPTH))
        self.size = self._client.size

    def extents(self, start: int, end: int) -> Iterator[Extent]:
        for offset, length, state in self._client.extents(start, end):
            if not state & wire.ZERO:
                yield offset, length

    def changed(self, start: int, end: int, layers: int) -> Iterator[Extent]:
        if wire.DEPTH not in self._client.contexts:
            yield start, end - start
            return
        for offset, length, depth in self._client.extents(start, end, wire.DEPTH):
            if 0 < depth <= layers:
                yield offset, length

    def read_many(self, wanted: Sequence[Extent]) -> Sequence[bytes | bytearray]:
        return self._client.read_many(wanted)

    def close(self) -> None:
        self._client.close()

    def abort(self) -> None:
        self._client.abort()


class Target(Protocol):
    """A disk to write.  Errors of all methods: OSError, perhaps of an earlier write."""

    def old_data(self) -> Iterator[Extent]:
        """Give what held data before anything was written."""

    def clear(self) -> None:
        """Make it read as zeros everywhere."""

    def write(self, offset: int, data: memoryview) -> None: ...

    def zero(self, offset: int, length: int) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


class FileTarget:
    """A raw file or block device."""

    def __init__(self, path: str, size: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._source = FileSource(path, size)
        self._size = size

    def old_data(self) -> Iterator[Extent]:
        return self._source.extents(0, self._size)

    def clear(self) -> None:
        status = os.fstat(self._file)
        if status.st_blocks or not status.st_size:
            try:
                os.ftruncate(self._file, 0)
                os.ftruncate(self._file, self._size)
            except OSError:  # a device
                self.zero(0, self._size)

    def write(self, offset: int, data: memoryview) -> None:
        while data:
            done = os.pwrite(self._file, data, offset)
            data, offset = data[done:], offset + done

    def zero(self, offset: int, length: int) -> None:
        for start, held in list(self._source.extents(offset, offset + length)):
            end = start + held
            while start < end:
                step = min(end - start, len(_ZEROS))
                self.write(start, memoryview(_ZEROS)[:step])
                start += step

    def flush(self) -> None:
        os.fsync(self._file)

    def close(self) -> None:
        self._source.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def abort(self) -> None:
        """A file is not waited for."""


class NbdTarget:
    """An NBD export at a unix socket."""

    def __init__(self, path: str, export: str) -> None:
        self._client = NbdClient(path, export)

    def old_data(self) -> Iterator[Extent]:
        for offset, length, state in self._client.extents(0, self._client.size):
            if not state & wire.ZERO:
                yield offset, length

    def clear(self) -> None:
        for offset, length in list(self.old_data()):
            self.zero(offset, length)
        self._client.confirm()

    def write(self, offset: int, data: memoryview) -> None:
        self._client.write(offset, data)

    def zero(self, offset: int, length: int) -> None:
        self._client.write_zeroes(offset, length)

    def flush(self) -> None:
        self._client.flush()

    def close(self) -> None:
        self._client.close()

    def abort(self) -> None:
        self._client.abort()


def open_target(access: dict[str, Any], size: int) -> Target:
    """Open what ``VDI.open_data`` answered for writing.  Errors: OSError."""
    if access.get("path"):
        return FileTarget(access["path"], size)
    return NbdTarget(access["socket"], access["export"])


def is_zero(data: bytes | bytearray | memoryview) -> bool:
    """Tell whether there are only zeros, fast when there are not."""
    if len(data) == GRAIN:
        return data == _GRAIN_OF_ZEROS
    if len(data) <= len(_ZEROS):
        return not any(data[:8]) and bytes(data) == _ZEROS[: len(data)]
    return all(is_zero(data[at : at + len(_ZEROS)]) for at in range(0, len(data), len(_ZEROS)))


def data_runs(data: bytes | bytearray, start: int) -> Iterator[tuple[int, int, bool]]:
    """Cut data that belongs at ``start`` of a disk into (from, to, is zero).

    Cuts are at multiples of ``GRAIN`` of the disk.
    """
    at, begin, zero = 0, 0, False
    while at < len(data):
        end = min(len(data), at + GRAIN - (start + at) % GRAIN)
        here = not data[at] and not data[end - 1] and is_zero(data[at:end])
        if at and here != zero:
            yield begin, at, zero
            begin = at
        zero, at = here, end
    if at > begin:
        yield begin, at, zero

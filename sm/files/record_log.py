"""The metadata of a file SR: records in one file that only ever grows.

Each line is one change of any number of records, with a check sum and a
running number: it is there whole or not at all, for the price of one fsync,
on any file system that can append.  A line cut short by a crash is skipped.
One host writes at a time (the SR's master); others follow by ``refresh``.
"""

import contextlib
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import orjson

Record = dict[str, object]
Changes = dict[str, Record | None]

COMPACT_BYTES: Final = 1024**2
"""A shorter file is never rewritten."""


class RecordLog:
    """Records by name, in memory and in the file ``path``; made when missing.

    ``hook`` is called with a word around each commit: tests die there.
    """

    def __init__(self, path: Path, hook: Callable[[str], None] = lambda _: None) -> None:
        self.records: dict[str, Record] = {}
        self.generation = 0
        self.lost_lines = 0
        self._path = path
        self._hook = hook
        self._file = -1
        self._identity = (0, 0)
        self._read_bytes = 0
        self._whole = True
        self.refresh()

    def refresh(self) -> bool:
        """Read what was written since, by this host or another; whether anything was."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            self._forget()
            return False
        identity = (found.st_dev, found.st_ino)
        if identity != self._identity or found.st_size < self._read_bytes:
            self._forget()
            self._identity = identity
        if found.st_size == self._read_bytes:
            return False
        with open(self._path, "rb") as file:
            file.seek(self._read_bytes)
            data = file.read()
        self._read_bytes += len(data)
        lines = data.split(b"\n")
        self._whole = not lines[-1]
        for line in lines[:-1]:
            self._take(line)
        if not self._whole:
            self._read_bytes -= len(lines[-1])
        return True

    def _forget(self) -> None:
        self.records, self.generation, self.lost_lines = {}, 0, 0
        self._read_bytes, self._whole = 0, True
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _take(self, line: bytes) -> None:
        change = _unpack(line)
        if change is None:
            return
        number = int(str(change["n"]))
        if number > self.generation + 1 and not change.get("all"):
            self.lost_lines += number - self.generation - 1
        self.generation = number
        if change.get("all"):
            self.records.clear()
        changes = change["set"]
        assert isinstance(changes, dict)
        self._apply(changes)

    def _apply(self, changes: Mapping[str, Record | None]) -> None:
        for name, record in changes.items():
            if record is None:
                self.records.pop(name, None)
            else:
                self.records[name] = record

    def commit(self, changes: Mapping[str, Record | None]) -> None:
        """Change records, None to remove one, durably and all or nothing.

        Errors: OSError; then nothing changed, or the line is skipped later.
        """
        self._hook("before")
        line = _pack({"n": self.generation + 1, "set": changes})
        fresh = self._file < 0
        if fresh:
            self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        start = os.fstat(self._file).st_size
        text = line if start == self._read_bytes else b"\n" + line
        try:
            _write_all(self._file, text)
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, start)
            raise
        if not self._read_bytes and fresh:
            sync_folder(self._path.parent)
        self._read_bytes = start + len(text)
        status = os.fstat(self._file)
        self._identity = (status.st_dev, status.st_ino)
        self.generation += 1
        self._apply(changes)
        self._hook("after")
        if self._read_bytes > COMPACT_BYTES:
            with contextlib.suppress(OSError):  # later then: what counts is committed
                self._compact()

    def _compact(self) -> None:
        """Write the file anew when most of it is history."""
        line = _pack({"n": self.generation, "all": True, "set": self.records})
        if len(line) * 4 > self._read_bytes:
            return
        fresh = self._path.with_suffix(".new")
        with open(fresh, "wb") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, self._path)
        sync_folder(self._path.parent)
        os.close(self._file)
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND)
        status = os.fstat(self._file)
        self._identity, self._read_bytes = (status.st_dev, status.st_ino), len(line)

    def close(self) -> None:
        """Give the file back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _pack(change: Mapping[str, object]) -> bytes:
    body = orjson.dumps(change)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _unpack(line: bytes) -> Record | None:
    try:
        if int(line[:8], 16) != zlib.crc32(line[9:]):
            return None
        change = orjson.loads(line[9:])
    except ValueError:
        return None
    return change if isinstance(change, dict) else None


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; file systems that cannot are left in peace."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)

"""The metadata of a volume SR: records in a small volume that every host of the pool reads.

    0        two copies of the head, 4 KiB each: who is in charge, which log counts
    64 KiB   locks of hosts (``host_locks``)
    4 MiB    two logs, one of which counts; the other takes a fresh copy when it is full

A log is a row of commits, each from a block's start on, with running number,
check sum and the log's epoch.  A commit is there whole or not at all.  One
host is in charge of the SR and writes; it looks at the head before each
commit, so that one that was replaced notices.
"""

import contextlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct
from typing import Final

import orjson

from sm import errors
from sm.files.record_log import Record
from sm.volumes.device import BLOCK, Device

MIB: Final = 1024**2
VOLUME_BYTES: Final = 64 * MIB
LOGS_AT: Final = 4 * MIB
FORMAT: Final = 1

_HEAD_MAGIC: Final = b"XAPIPYSR"
_COMMIT_MAGIC: Final = b"xpC1"
_COMMIT: Final = Struct("<4sIQQI")  # magic, crc, epoch, number, length
_HEAD: Final = Struct("<8sII")  # magic, crc, length


class NotOurs(Exception):
    """The volume does not hold metadata of this toolstack."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the head says; ``term`` grows with every change of it."""

    sr: str
    term: int = 1
    owner: str = ""
    epoch: int = 1
    second: bool = False
    format: int = FORMAT

    def pack(self) -> bytes:
        """Give the block that says it."""
        body = orjson.dumps({n: getattr(self, n) for n in self.__slots__})
        return _HEAD.pack(_HEAD_MAGIC, zlib.crc32(body), len(body)) + body


def _unpack_head(block: bytes) -> Head | None:
    if len(block) < _HEAD.size:
        return None
    magic, crc, length = _HEAD.unpack_from(block)
    body = block[_HEAD.size : _HEAD.size + length]
    if magic != _HEAD_MAGIC or zlib.crc32(body) != crc:
        return None
    return Head(**orjson.loads(body))


def read_head(device: Device) -> Head:
    """Give the newest copy of the head that is whole.  Errors: NotOurs, OSError."""
    found = [h for i in (0, 1) if (h := _unpack_head(device.pread(i * BLOCK, BLOCK)))]
    if not found:
        raise NotOurs("no metadata of this toolstack")
    head = max(found, key=lambda h: h.term)
    if head.format != FORMAT:
        raise NotOurs(f"metadata of format {head.format}")
    return head


def make(path: Path, sr: str, records: Mapping[str, Record]) -> None:
    """Write the metadata of a new SR over whatever a volume held.  Errors: OSError."""
    with Device(path) as device:
        device.zero(0, LOGS_AT)
        first, _ = _places(device.size())
        device.pwrite(_pack(sr, 1, 1, {"all": True, "set": records}) + bytes(BLOCK), first)
        for copy in (0, 1):
            device.pwrite(Head(sr).pack(), copy * BLOCK)


def _places(size: int) -> tuple[int, int]:
    half = (size - LOGS_AT) // 2 // BLOCK * BLOCK
    return LOGS_AT, LOGS_AT + half


def _sum(sr: str, epoch: int, number: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(f"{sr}/{epoch}/{number}".encode()))


def _pack(sr: str, epoch: int, number: int, change: Mapping[str, object]) -> bytes:
    body = orjson.dumps(change)
    crc = _sum(sr, epoch, number, body)
    entry = _COMMIT.pack(_COMMIT_MAGIC, crc, epoch, number, len(body)) + body
    return entry.ljust(-(-len(entry) // BLOCK) * BLOCK, b"\0")


class VolumeLog:
    """Records by name, in memory and in a volume.  ``path`` must exist and hold an SR.

    ``lost_lines``: commits that were there and cannot be read any more.
    ``hook`` is called with a word around each commit: tests die there.
    Errors of the constructor: NotOurs, OSError.
    """

    def __init__(self, path: Path, host: str, hook: Callable[[str], None] = lambda _: None) -> None:
        self.records: dict[str, Record] = {}
        self.generation = 0
        self.lost_lines = 0
        self.device = Device(path)
        self._host = host
        self._hook = hook
        self._epoch = 0
        self._position = 0
        try:
            self._head = read_head(self.device)
            self._half = _places(self.device.size())[1] - LOGS_AT
            self.refresh()
        except BaseException:
            self.device.close()
            raise

    @property
    def sr(self) -> str:
        """The SR whose metadata this is."""
        return self._head.sr

    @property
    def owner(self) -> str:
        """The host in charge, as far as this one knows."""
        return self._head.owner

    def _start(self) -> int:
        return LOGS_AT + (self._half if self._head.second else 0)

    def refresh(self) -> bool:
        """Read what was written since, by this host or another; whether anything was."""
        self._head = read_head(self.device)
        if self._head.epoch != self._epoch:
            self.records, self.generation, self.lost_lines = {}, 0, 0
            self._epoch, self._position = self._head.epoch, 0
            self._read_all()
            return True
        before = self.generation
        while self._take(self.device.pread(self._start() + self._position, BLOCK)):
            pass
        return self.generation != before

    def _read_all(self) -> None:
        data = self.device.pread(self._start(), self._half)
        at = 0
        while at < len(data):
            length = self._take(data[at : at + BLOCK], data, at)
            at += length or BLOCK
            if not length and not data[at - BLOCK : at].startswith(_COMMIT_MAGIC):
                at = _next_commit(data, at)

    def _take(self, block: bytes, data: bytes = b"", at: int = -1) -> int:
        """Apply the commit that begins with a block; gives its length, or 0 when it is none."""
        if len(block) < _COMMIT.size:
            return 0
        magic, crc, epoch, number, length = _COMMIT.unpack_from(block)
        whole: int = -(-(_COMMIT.size + length) // BLOCK) * BLOCK
        if magic != _COMMIT_MAGIC or epoch != self._epoch or number <= self.generation:
            return 0
        if at < 0:
            if self._position + whole > self._half:
                return 0
            data, start = self.device.pread(self._start() + self._position, whole), 0
        else:
            start = at
        body = data[start + _COMMIT.size : start + _COMMIT.size + length]
        if _sum(self.sr, epoch, number, body) != crc:
            return 0
        change = orjson.loads(body)
        if number > self.generation + 1 and not change.get("all"):
            self.lost_lines += number - self.generation - 1
        if change.get("all"):
            self.records.clear()
        self._apply(change["set"])
        self.generation = number
        self._position = (at if at >= 0 else self._position) + whole
        return whole

    def _apply(self, changes: Mapping[str, Record | None]) -> None:
        for name, record in changes.items():
            if record is None:
                self.records.pop(name, None)
            else:
                self.records[name] = record

    def take_charge(self) -> None:
        """Become the host that writes, with everything read that others wrote.  Errors: OSError."""
        self.refresh()
        if self._head.owner != self._host:
            self._put_head(replace(self._head, owner=self._host))
            self.refresh()

    def _put_head(self, head: Head) -> None:
        head = replace(head, term=self._head.term + 1)
        self.device.pwrite(head.pack(), head.term % 2 * BLOCK)
        self._head = head

    def commit(self, changes: Mapping[str, Record | None]) -> None:
        """Change records, None to remove one, durably and all or nothing.

        Errors: OSError, 58 when another host took charge, 44 when the volume is full.
        """
        self._hook("before")
        head = read_head(self.device)
        if head != self._head or head.owner != self._host:
            self._head = head
            raise errors.backend_failure(errors.LVM_MASTER, "another host is in charge of the SR")
        entry = _pack(self.sr, self._epoch, self.generation + 1, {"set": changes})
        if self._position + len(entry) + BLOCK > self._half:
            self._compact()
            entry = _pack(self.sr, self._epoch, self.generation + 1, {"set": changes})
            if self._position + len(entry) + BLOCK > self._half:
                raise errors.backend_failure(errors.NO_SPACE, "the SR's metadata volume is full")
        place = self._start() + self._position
        try:
            self.device.pwrite(entry, place)
        except OSError:
            with contextlib.suppress(OSError):  # whatever of it is there must not count
                self.device.pwrite(bytes(BLOCK), place)
            raise
        self._position += len(entry)
        self.generation += 1
        self._apply(changes)
        self._hook("after")

    def _compact(self) -> None:
        """Write what counts into the other log, then say that it is the one."""
        fresh = replace(self._head, epoch=self._head.epoch + 1, second=not self._head.second)
        whole = {"all": True, "set": self.records}
        entry = _pack(self.sr, fresh.epoch, self.generation + 1, whole)
        if len(entry) * 2 > self._half:
            return
        start = LOGS_AT + (self._half if fresh.second else 0)
        self.device.pwrite(entry, start)
        self._put_head(fresh)
        self._epoch, self._position = fresh.epoch, len(entry)
        self.generation += 1

    def close(self) -> None:
        """Give the device back; may be repeated."""
        self.device.close()


def _next_commit(data: bytes, at: int) -> int:
    """Find the next block that looks like a commit's first; the end when there is none."""
    while (found := data.find(_COMMIT_MAGIC, at)) >= 0:
        if found % BLOCK == 0:
            return found
        at = found + 1
    return len(data)

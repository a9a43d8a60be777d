"""The server's side of one NBD connection: options, then reads of one export.

Exports are read-only.  Where TLS is wanted, nothing but ``STARTTLS`` is
answered before it.  Source: NetworkBlockDevice/nbd, doc/proto.md.
"""

import logging
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped]

from xapi_py.api.disk_files import DiskReader, in_thread
from xapi_py.base.errors import ApiError
from xapi_py.base.nbd import wire
from xapi_py.base.nbd.wire import Chunk, Command, Feature, Info, Option, OptionReply

log = logging.getLogger(__name__)

MAX_WAITING: Final = 64
"""Requests that wait; a client that sends more is not read from."""

BATCH_BYTES: Final = 8 << 20
_MAX_EXTENTS: Final = 4096
_EINVAL, _EIO, _EPERM = 22, 5, 1
_BLOCKS: Final = wire.BLOCK_SIZES.pack(Info.BLOCK_SIZE, 1, 65536, wire.MAX_REQUEST_BYTES)
_FLAGS: Final = Feature.HAS_FLAGS | Feature.READ_ONLY | Feature.FLUSH | Feature.MULTIPLE_CONNECTIONS

Open = Callable[[str], Awaitable[DiskReader]]
"""Opens an export by its name; ApiError when it may not be."""


@dataclass(frozen=True, slots=True)
class _Job:
    command: int
    cookie: int
    offset: int
    length: int
    one: bool


@implementer(IPushProducer)
class NbdServer(Protocol):
    """One connection.  ``tls`` is a context factory where TLS must be used."""

    def __init__(self, open_export: Open, tls: object | None, closed: Callable[[], None]) -> None:
        self._open = open_export
        self._tls = tls
        self._secure = tls is None
        self._closed = closed
        self._wire: Any = None
        self._buffer = bytearray()
        self._structured = False
        self._allocation = False
        self._name = ""
        self._reader: DiskReader | None = None
        self._no_zeroes = False
        self._steps: Callable[[], bool] = self._take_flags
        self._busy = False
        self._jobs: deque[_Job] = deque()
        self._skip = 0
        self._gone = False
        self._drained: Deferred[None] | None = None
        self._full = False

    # -- bytes in

    def connectionMade(self) -> None:  # noqa: N802
        self._wire = self.transport
        self._wire.registerProducer(self, True)
        known = wire.Handshake.FIXED_NEWSTYLE | wire.Handshake.NO_ZEROES
        self._write(wire.MAGIC + struct.pack(">H", known))

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._buffer += data
        self._go_on()

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]  # noqa: N802
        self._gone = True
        self._jobs.clear()
        self.resumeProducing()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.source.abort()
            self._later(reader.release())
        self._closed()

    def _go_on(self) -> None:
        while not self._busy and not self._gone and self._steps():
            pass
        crowded = len(self._jobs) >= MAX_WAITING or len(self._buffer) > 1 << 20
        if not self._gone:
            (self._wire.pauseProducing if crowded else self._wire.resumeProducing)()

    def _take(self, length: int) -> bytes | None:
        if len(self._buffer) < length:
            return None
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    def _write(self, data: bytes) -> None:
        if not self._gone:
            self._wire.write(data)

    def _end(self) -> None:
        self._gone = True
        self._wire.loseConnection()

    def _later(self, work: Any) -> None:
        Deferred.fromCoroutine(work).addErrback(
            lambda f: log.error("an NBD connection failed\n%s", f.getTraceback())
        )

    # -- bytes out, at the client's pace

    def pauseProducing(self) -> None:  # noqa: N802
        self._full = True

    def resumeProducing(self) -> None:  # noqa: N802
        self._full = False
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def stopProducing(self) -> None:  # noqa: N802
        self.resumeProducing()

    # -- options

    def _take_flags(self) -> bool:
        data = self._take(4)
        if data is None:
            return False
        (flags,) = struct.unpack(">I", data)
        if not flags & wire.Handshake.FIXED_NEWSTYLE:
            self._end()
            return False
        self._no_zeroes = bool(flags & wire.Handshake.NO_ZEROES)
        self._steps = self._take_option
        return True

    def _take_option(self) -> bool:
        if len(self._buffer) < wire.OPTION.size:
            return False
        magic, number, length = wire.OPTION.unpack_from(self._buffer)
        if magic != wire.OPTION_MAGIC or length > wire.MAX_OPTION_BYTES:
            self._end()
            return False
        whole = self._take(wire.OPTION.size + length)
        if whole is None:
            return False
        self._option(number, whole[wire.OPTION.size :])
        return True

    def _reply(self, number: int, kind: OptionReply, data: bytes = b"") -> None:
        self._write(wire.option_reply(number, kind, data))

    def _option(self, number: int, data: bytes) -> None:
        if number == Option.ABORT:
            self._reply(number, OptionReply.ACK)
            self._end()
        elif not self._secure and number != Option.STARTTLS:
            if number == Option.EXPORT_NAME:
                self._end()
            else:
                self._reply(number, OptionReply.TLS_REQUIRED, b"TLS is needed")
        elif number == Option.STARTTLS:
            self._start_tls(data)
        elif number == Option.EXPORT_NAME:
            self._begin(number, data.decode(errors="replace"))
        elif number in (Option.INFO, Option.GO):
            name = _name_in(data)
            if name is None:
                self._reply(number, OptionReply.INVALID)
            else:
                self._begin(number, name)
        elif number == Option.STRUCTURED_REPLY:
            self._structured = not data
            self._reply(number, OptionReply.INVALID if data else OptionReply.ACK)
        elif number in (Option.LIST_META_CONTEXT, Option.SET_META_CONTEXT):
            self._contexts(number, data)
        elif number == Option.LIST:
            self._reply(number, OptionReply.POLICY, b"exports are not listed")
        else:
            self._reply(number, OptionReply.UNSUPPORTED)

    def _start_tls(self, data: bytes) -> None:
        if self._tls is None:
            self._reply(Option.STARTTLS, OptionReply.POLICY, b"this network is without TLS")
        elif self._secure or data or self._buffer:
            self._reply(Option.STARTTLS, OptionReply.INVALID)
        else:
            self._reply(Option.STARTTLS, OptionReply.ACK)
            self._secure = True
            self._wire.unregisterProducer()
            self._wire.startTLS(self._tls, True)
            self._wire.registerProducer(self, True)
            self._structured = False

    def _contexts(self, number: int, data: bytes) -> None:
        name, wanted = _name_in(data), _contexts_in(data)
        if name is None or wanted is None or not self._structured:
            self._reply(number, OptionReply.INVALID)
            return
        queries = {"base:", wire.ALLOCATION} if number == Option.LIST_META_CONTEXT else set()
        found = bool({wire.ALLOCATION, *queries}.intersection(wanted))
        if number == Option.LIST_META_CONTEXT:
            found = found or not wanted
        else:
            self._allocation, self._name = found, name
        if found:
            context = struct.pack(">I", 1) + wire.ALLOCATION.encode()
            self._reply(number, OptionReply.META_CONTEXT, context)
        self._reply(number, OptionReply.ACK)

    def _begin(self, number: int, name: str) -> None:
        self._busy = True
        self._later(self._begin_export(number, name))

    async def _begin_export(self, number: int, name: str) -> None:
        try:
            reader = await self._open(name)
        except ApiError as problem:
            log.info("an NBD client is refused: %s", problem.code)
            if number == Option.EXPORT_NAME:
                self._end()
            else:
                self._reply(number, OptionReply.UNKNOWN, problem.code.encode())
            self._busy = False
            self._go_on()
            return
        if self._gone or number == Option.INFO:
            await reader.release()
        else:
            self._reader = reader
        self._busy = False
        if number == Option.EXPORT_NAME:
            zeros = b"" if self._no_zeroes else bytes(124)
            self._write(struct.pack(">QH", reader.size, _FLAGS) + zeros)
        else:
            export = wire.EXPORT_INFO.pack(Info.EXPORT, reader.size, _FLAGS)
            self._reply(number, OptionReply.INFO, export)
            self._reply(number, OptionReply.INFO, _BLOCKS)
            self._reply(number, OptionReply.ACK)
        if self._reader is not None:
            self._allocation = self._allocation and name == self._name
            self._steps = self._take_request
        self._go_on()

    # -- requests

    def _take_request(self) -> bool:
        if self._skip:
            dropped = min(self._skip, len(self._buffer))
            del self._buffer[:dropped]
            self._skip -= dropped
            return not self._skip
        if len(self._jobs) >= MAX_WAITING:
            return False
        data = self._take(wire.REQUEST.size)
        if data is None:
            return False
        magic, flags, command, cookie, offset, length = wire.REQUEST.unpack(data)
        if magic != wire.REQUEST_MAGIC or command == Command.DISCONNECT:
            self._end()
            return False
        if command == Command.WRITE:
            self._skip = length
        self._jobs.append(_Job(command, cookie, offset, length, bool(flags & wire.REQUEST_ONE)))
        if len(self._jobs) == 1:
            self._later(self._work())
        return True

    async def _work(self) -> None:
        """Answer what waits, until nothing does."""
        while self._jobs and not self._gone:
            if self._full:
                self._drained = Deferred()
                await self._drained
                continue
            batch = self._batch()
            for part in await self._answers(batch):
                self._write(part)
            for _ in batch:
                if self._jobs:
                    self._jobs.popleft()
            self._go_on()

    def _batch(self) -> list[_Job]:
        """Give the next request, with the reads after it if it is one."""
        batch = [self._jobs[0]]
        if batch[0].command != Command.READ:
            return batch
        total = batch[0].length
        for job in list(self._jobs)[1:]:
            total += job.length
            if job.command != Command.READ or total > BATCH_BYTES:
                break
            batch.append(job)
        return batch

    async def _answers(self, batch: list[_Job]) -> list[bytes]:
        reader, first = self._reader, batch[0]
        assert reader is not None
        for job in batch:
            if job.command in (Command.READ, Command.BLOCK_STATUS):
                fits = job.offset + job.length <= reader.size
                if not fits or job.length <= 0 or job.length > 1 << 32:
                    return [self._error(j, _EINVAL) for j in batch]
        if first.command == Command.FLUSH:
            return [wire.SIMPLE_REPLY.pack(wire.SIMPLE_REPLY_MAGIC, 0, first.cookie)]
        if first.command in (Command.WRITE, Command.TRIM, Command.WRITE_ZEROES):
            return [self._error(first, _EPERM)]
        try:
            if first.command == Command.READ:
                if any(job.length > wire.MAX_REQUEST_BYTES for job in batch):
                    return [self._error(job, _EINVAL) for job in batch]
                found = await in_thread(
                    reader.read_many, [(job.offset, job.length) for job in batch]
                )
                return [
                    part
                    for job, data in zip(batch, found, strict=True)
                    for part in (self._data_head(job), bytes(data))
                ]
            if first.command == Command.BLOCK_STATUS and self._allocation:
                return [_status(first, await in_thread(_states, reader, first))]
        except OSError as problem:
            log.warning("reading for an NBD client failed: %s", problem)
            return [self._error(job, _EIO) for job in batch]
        return [self._error(first, _EINVAL)]

    def _data_head(self, job: _Job) -> bytes:
        if not self._structured:
            return wire.SIMPLE_REPLY.pack(wire.SIMPLE_REPLY_MAGIC, 0, job.cookie)
        return _chunk(Chunk.OFFSET_DATA, job.cookie, job.length + 8) + struct.pack(">Q", job.offset)

    def _error(self, job: _Job, number: int) -> bytes:
        if self._structured:
            return _chunk(Chunk.ERROR, job.cookie, 6) + struct.pack(">IH", number, 0)
        return wire.SIMPLE_REPLY.pack(wire.SIMPLE_REPLY_MAGIC, number, job.cookie)


def _chunk(kind: Chunk, cookie: int, length: int) -> bytes:
    return wire.STRUCTURED_REPLY.pack(
        wire.STRUCTURED_REPLY_MAGIC, wire.REPLY_DONE, kind, cookie, length
    )


def _status(job: _Job, states: bytes) -> bytes:
    return _chunk(Chunk.BLOCK_STATUS, job.cookie, len(states) + 4) + b"\0\0\0\1" + states


def _states(reader: DiskReader, job: _Job) -> bytes:
    """Give pairs of length and state flags from a place on; blocks."""
    found, at = bytearray(), job.offset
    end = min(job.offset + job.length, reader.size)
    limit = 1 if job.one else _MAX_EXTENTS
    for offset, length in reader.source.extents(at, end):
        if offset > at and len(found) < limit * 8:
            found += struct.pack(">II", offset - at, wire.HOLE | wire.ZERO)
        if len(found) >= limit * 8:
            return bytes(found)
        found += struct.pack(">II", length, 0)
        at = offset + length
    if at < end and len(found) < limit * 8:
        found += struct.pack(">II", end - at, wire.HOLE | wire.ZERO)
    return bytes(found)


def _name_in(data: bytes) -> str | None:
    """Give the export's name at the start of an option's data."""
    if len(data) < 4:
        return None
    (length,) = struct.unpack_from(">I", data)
    if length > min(wire.MAX_NAME_BYTES, len(data) - 4):
        return None
    return data[4 : 4 + length].decode(errors="replace")


def _contexts_in(data: bytes) -> list[str] | None:
    """Give the metadata contexts asked for."""
    (length,) = struct.unpack_from(">I", data) if len(data) >= 4 else (0,)
    at, found = 4 + length, list[str]()
    if len(data) < at + 4:
        return None
    (count,) = struct.unpack_from(">I", data, at)
    at += 4
    for _ in range(count):
        if len(data) < at + 4:
            return None
        (size,) = struct.unpack_from(">I", data, at)
        found.append(data[at + 4 : at + 4 + size].decode(errors="replace"))
        at += 4 + size
    return found

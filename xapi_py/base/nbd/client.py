"""A blocking NBD client for unix sockets: several requests on their way at once.

For threads; one at a time may use a client.  A server that does not answer for
``TIMEOUT_S`` counts as gone.
"""

import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from xapi_py.base.nbd import wire
from xapi_py.base.nbd.wire import Chunk, Command, Feature, Option, OptionReply

TIMEOUT_S: Final = 150.0
WINDOW: Final = 16
"""Requests on their way at once."""

STATUS_BYTES: Final = 1 << 31
"""The most one request for block status is about."""

Extent = tuple[int, int, int]
"""Offset, length, state."""

_PAIR: Final = struct.Struct(">II")


class NbdError(OSError):
    """The server does not speak as it should, or refuses the export."""


class NbdClient:
    """A connection to one export.

    Errors of all methods: OSError, with the number the server gave for a
    failed request.
    """

    def __init__(
        self, path: str, export: str, contexts: Sequence[str] = (wire.ALLOCATION,)
    ) -> None:
        self.size = 0
        self.features = Feature(0)
        self.contexts: dict[str, int] = {}
        self._cookie = 0
        self._unconfirmed: deque[int] = deque()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            limit = struct.pack("@ll", int(TIMEOUT_S), 0)  # the kernel waits, not this process
            for name in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self._socket.setsockopt(socket.SOL_SOCKET, name, limit)
            self._connect(path)
            self._negotiate(export, contexts)
        except BaseException:
            self._socket.close()
            raise

    def _connect(self, path: str) -> None:
        folder = os.open(os.path.dirname(path), os.O_PATH | os.O_CLOEXEC)
        try:  # paths of sockets are short
            self._socket.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
        finally:
            os.close(folder)

    # -- negotiation

    def _negotiate(self, export: str, contexts: Sequence[str]) -> None:
        if self._receive(16) != wire.MAGIC:
            raise NbdError("the server does not speak NBD")
        (offered,) = struct.unpack(">H", self._receive(2))
        known = wire.Handshake.FIXED_NEWSTYLE | wire.Handshake.NO_ZEROES
        if not offered & wire.Handshake.FIXED_NEWSTYLE:
            raise NbdError("the server does not speak the fixed newstyle")
        self._socket.sendall(struct.pack(">I", offered & known))
        structured = self._option(Option.STRUCTURED_REPLY) is not None
        if structured and contexts:
            found = self._option(Option.SET_META_CONTEXT, wire.meta_contexts(export, *contexts))
            for kind, data in found or ():
                if kind == OptionReply.META_CONTEXT:
                    (number,) = struct.unpack_from(">I", data)
                    self.contexts[data[4:].decode()] = number
        replies = self._option(Option.GO, wire.go(export), needed=True)
        for kind, data in replies or ():
            if kind == OptionReply.INFO and data[:2] == b"\0\0":
                _, self.size, flags = wire.EXPORT_INFO.unpack(data)
                self.features = Feature(flags)

    def _option(
        self, number: Option, data: bytes = b"", *, needed: bool = False
    ) -> list[tuple[int, bytes]] | None:
        self._socket.sendall(wire.option(number, data))
        found: list[tuple[int, bytes]] = []
        while True:
            magic, about, kind, length = wire.OPTION_REPLY.unpack(self._receive(20))
            if magic != wire.OPTION_REPLY_MAGIC or about != number or length > 1 << 20:
                raise NbdError("the server's answer to an option is no answer")
            content = self._receive(length)
            if kind == OptionReply.ACK:
                return found
            if kind >= OptionReply.UNSUPPORTED:
                if needed:
                    reason = content.decode(errors="replace") or f"reason {kind:#x}"
                    raise NbdError(f"the export is refused: {reason}")
                return None
            found.append((kind, content))

    # -- requests

    def _request(self, command: Command, offset: int, length: int, flags: int = 0) -> bytes:
        self._cookie += 1
        return wire.REQUEST.pack(wire.REQUEST_MAGIC, flags, command, self._cookie, offset, length)

    def read(self, offset: int, length: int) -> bytes | bytearray:
        """Give data; as much as was asked for."""
        return self.read_many([(offset, length)])[0]

    def read_many(self, wanted: Sequence[tuple[int, int]]) -> list[bytes | bytearray]:
        """Give several pieces of data, at most 32 MiB each, asked for together."""
        self.confirm()
        waiting: dict[int, _Read] = {}
        order: list[_Read] = []
        sent = 0
        while sent < len(wanted) or waiting:
            while sent < len(wanted) and len(waiting) < WINDOW:
                offset, length = wanted[sent]
                self._socket.sendall(self._request(Command.READ, offset, length))
                order.append(_Read(offset, length))
                waiting[self._cookie] = order[-1]
                sent += 1
            self._take_read(waiting)
        return [read.data for read in order]

    def _take_read(self, waiting: dict[int, "_Read"]) -> None:
        """Take one reply, or one chunk of one."""
        (magic,) = struct.unpack(">I", self._receive(4))
        if magic == wire.SIMPLE_REPLY_MAGIC:
            error, cookie = struct.unpack(">IQ", self._receive(12))
            _check(error)
            read = waiting.pop(cookie)
            read.put(0, self._receive(read.length))
            return
        done, kind, cookie, length = self._chunk_head(magic)
        read = waiting[cookie]
        if kind == Chunk.OFFSET_DATA:
            (offset,) = struct.unpack(">Q", self._receive(8))
            at = offset - read.offset
            if at < 0 or at + length - 8 > read.length:
                raise NbdError("data nobody asked for")
            read.put(at, self._receive(length - 8))
        elif kind == Chunk.OFFSET_HOLE:
            self._receive(length)  # what is not put are zeros
        else:
            self._other_chunk(kind, length)
        if done:
            del waiting[cookie]

    def _chunk_head(self, magic: int) -> tuple[bool, int, int, int]:
        if magic != wire.STRUCTURED_REPLY_MAGIC:
            raise NbdError("the server's reply is no reply")
        flags, kind, cookie, length = struct.unpack(">HHQI", self._receive(16))
        return bool(flags & wire.REPLY_DONE), kind, cookie, length

    def _other_chunk(self, kind: int, length: int) -> bytes:
        content = self._receive(length)
        if kind >= Chunk.ERROR:
            _check(struct.unpack_from(">I", content)[0] or 5)
        return content

    def status(self, offset: int, length: int, context: str = wire.ALLOCATION) -> list[Extent]:
        """Give the state of a range as extents; they may end before the range does.

        At least one extent is given.  An export without that context is data
        everywhere: state 0.
        """
        self.confirm()
        number = self.contexts.get(context)
        if number is None:
            return [(offset, length, 0)]
        length = min(length, STATUS_BYTES)
        self._socket.sendall(self._request(Command.BLOCK_STATUS, offset, length))
        found: list[Extent] = []
        done = False
        while not done:
            (magic,) = struct.unpack(">I", self._receive(4))
            if magic == wire.SIMPLE_REPLY_MAGIC:
                _check(struct.unpack(">IQ", self._receive(12))[0] or 5)
            done, kind, _, size = self._chunk_head(magic)
            content = self._other_chunk(kind, size)
            if kind == Chunk.BLOCK_STATUS and struct.unpack_from(">I", content)[0] == number:
                at = offset
                for reach, state in _PAIR.iter_unpack(content[4:]):
                    found.append((at, min(reach, offset + length - at), state))
                    at += reach
        if not found:
            raise NbdError("the server said nothing about its blocks")
        return found

    def extents(self, start: int, end: int, context: str = wire.ALLOCATION) -> Iterable[Extent]:
        """Give the states of a range, neighbours of the same state as one extent."""
        pending: Extent | None = None
        while start < end:
            for at, length, state in self.status(start, end - start, context):
                if pending is not None and pending[2] == state:
                    pending = (pending[0], pending[1] + length, state)
                else:
                    if pending is not None:
                        yield pending
                    pending = (at, length, state)
                start = at + length
        if pending is not None:
            yield pending

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Send data; its failure may be told by a later call, by ``confirm`` at last."""
        self._send(self._request(Command.WRITE, offset, len(data)), data)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Make a range zeros, without storage where that is possible.  Errors: as ``write``."""
        if not self.features & Feature.WRITE_ZEROES:
            while length:
                step = min(length, 1 << 20)
                self.write(offset, bytes(step))
                offset, length = offset + step, length - step
        while length:
            step = min(length, 1 << 30)
            self._send(self._request(Command.WRITE_ZEROES, offset, step))
            offset, length = offset + step, length - step

    def _send(self, request: bytes, data: bytes | bytearray | memoryview = b"") -> None:
        while len(self._unconfirmed) >= WINDOW:
            self._take_confirmation()
        self._unconfirmed.append(self._cookie)
        sent = self._socket.sendmsg([request, data])
        if sent < len(request):
            self._socket.sendall(request[sent:])
            sent = len(request)
        if sent - len(request) < len(data):
            self._socket.sendall(memoryview(data)[sent - len(request) :])

    def _take_confirmation(self) -> None:
        self._unconfirmed.popleft()
        done = False
        while not done:
            (magic,) = struct.unpack(">I", self._receive(4))
            if magic == wire.SIMPLE_REPLY_MAGIC:
                _check(struct.unpack(">IQ", self._receive(12))[0])
                return
            done, kind, _, length = self._chunk_head(magic)
            self._other_chunk(kind, length)

    def confirm(self) -> None:
        """Wait until everything sent was done."""
        while self._unconfirmed:
            self._take_confirmation()

    def flush(self) -> None:
        """Have everything written on the medium."""
        self.confirm()
        if self.features & Feature.FLUSH:
            self._send(self._request(Command.FLUSH, 0, 0))
            self.confirm()

    def close(self) -> None:
        """Say good-bye."""
        try:
            self._socket.sendall(self._request(Command.DISCONNECT, 0, 0))
        except OSError:
            pass
        finally:
            self._socket.close()

    def abort(self) -> None:
        """End the connection, also for a thread that waits for the server."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    # -- bytes

    def _receive(self, length: int) -> bytes:
        data = self._socket.recv(length, socket.MSG_WAITALL) if length else b""
        while len(data) < length:  # a signal, or a very long piece
            more = self._socket.recv(length - len(data), socket.MSG_WAITALL)
            if not more:
                raise NbdError("the server closed the connection")
            data += more
        return data


class _Read:
    """Data on its way; without a copy when it comes in one piece."""

    __slots__ = ("_data", "length", "offset")

    def __init__(self, offset: int, length: int) -> None:
        self.offset = offset
        self.length = length
        self._data: bytes | bytearray | None = None

    @property
    def data(self) -> bytes | bytearray:
        """What came; zeros where nothing did."""
        return bytes(self.length) if self._data is None else self._data

    def put(self, at: int, data: bytes) -> None:
        """Note a piece."""
        if len(data) == self.length:
            self._data = data
            return
        if not isinstance(self._data, bytearray):
            self._data = bytearray(self.data)
        self._data[at : at + len(data)] = data


def _check(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))

"""Suspend images on files, block devices and NBD exports; blocks.

libxc wants a descriptor it can read or write from one end to the other.  Files
and block devices are such; an NBD export is reached through a pipe and a
thread that carries the bytes.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Final, Protocol

from ocaml_compat import suspend_image
from ocaml_compat.suspend_image import ImageError, RecordType
from xapi_py.base.nbd.client import NbdClient

PIECE: Final = 1 << 20
READ_AHEAD: Final = 8


class Data(Protocol):
    """Where an image is: a descriptor, and what to do once all is through."""

    fd: int

    def finish(self) -> None:
        """Have everything on the medium.  Errors: OSError, also late ones."""

    def close(self) -> None:
        """Let go."""


class FileData:
    """A file or a block device."""

    def __init__(self, path: str, *, writing: bool) -> None:
        self.fd = os.open(path, (os.O_RDWR if writing else os.O_RDONLY) | os.O_CLOEXEC)
        self._writing = writing

    def finish(self) -> None:
        if self._writing:
            os.fsync(self.fd)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class NbdData:
    """An NBD export behind a unix socket, as a pipe."""

    def __init__(self, socket_path: str, export: str, *, writing: bool) -> None:
        self._client = NbdClient(socket_path, export, ())
        reader, writer = os.pipe()
        self.fd, self._far = (writer, reader) if writing else (reader, writer)
        self._problem: OSError | None = None
        self._thread = threading.Thread(
            target=self._guarded, args=(self._drain if writing else self._fill,), daemon=True
        )
        self._thread.start()
        self._writing = writing

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as problem:
            self._problem = problem
        finally:
            os.close(self._far)

    def _drain(self) -> None:
        at = 0
        while data := _read_full(self._far, PIECE):
            padded = data.ljust(-(-len(data) // 512) * 512, b"\0")
            if at + len(padded) > self._client.size:
                raise OSError(28, os.strerror(28))
            self._client.write(at, padded)
            at += len(data)
        self._client.flush()

    def _fill(self) -> None:
        at, size = 0, self._client.size
        while at < size:
            steps = range(at, min(size, at + READ_AHEAD * PIECE), PIECE)
            for data in self._client.read_many([(s, min(PIECE, size - s)) for s in steps]):
                try:
                    _write_full(self._far, data)
                except BrokenPipeError:
                    return  # the image ended
                at += len(data)

    def finish(self) -> None:
        """Close our end and wait for the thread."""
        os.close(self.fd)
        self.fd = -1
        self._thread.join()
        if self._problem is not None and self._writing:
            raise self._problem

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self._client.abort()
        self._thread.join()
        self._client.close()


def open_data(path: str, export: tuple[str, str] | None, *, writing: bool) -> Data:
    """Open where an image is to be, or is.  Errors: OSError."""
    if export is not None:
        return NbdData(*export, writing=writing)
    return FileData(path, writing=writing)


def write_image(
    fd: int, about: bytes, memory: Callable[[int], None], emulator: Callable[[], str]
) -> int:
    """Write a whole image and give how many bytes of it are ours.

    ``memory`` writes the guest's memory to the descriptor; ``emulator`` is
    called after it and names the file with the emulator's state, or "".
    """
    start = suspend_image.SIGNATURE + suspend_image.record(RecordType.XENOPS, about)
    _write_full(fd, start + suspend_image.head(RecordType.LIBXC, 0))
    memory(fd)
    rest = b""
    state = emulator()
    if state:
        with open(state, "rb") as file:
            rest = suspend_image.record(RecordType.QEMU, file.read())
    rest += suspend_image.record(RecordType.END, b"")
    _write_full(fd, rest)
    return len(start) + len(rest)


def read_image(fd: int, memory: Callable[[int], None], emulator: str) -> bytes:
    """Read a whole image and give what it says about itself.

    ``memory`` reads the guest's memory from the descriptor.  The emulator's
    state, if any, goes to the file ``emulator``.  Errors: ImageError, OSError.
    """
    about, there = b"", False

    def read(size: int) -> bytes:
        return _read_full(fd, size)

    suspend_image.read_signature(read)
    while True:
        kind, length = suspend_image.read_head(read)
        match kind:
            case RecordType.END:
                if not there:
                    raise ImageError("there is no memory in the suspend image")
                return about
            case RecordType.LIBXC:
                memory(fd)
                there = True
            case RecordType.XENOPS:
                about = suspend_image.read_content(read, length)
            case RecordType.QEMU | RecordType.QEMU_XEN:
                content = suspend_image.read_content(read, length)
                with open(emulator, "wb") as file:
                    os.fchmod(file.fileno(), 0o600)
                    file.write(content)
            case _:
                raise ImageError(f"a record of type {kind.name} is not known here")


def _read_full(fd: int, size: int) -> bytes:
    """Read so many bytes, or fewer at the end."""
    parts = []
    while size:
        data = os.read(fd, size)
        if not data:
            break
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _write_full(fd: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)

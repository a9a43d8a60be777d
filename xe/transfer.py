"""Files between this machine and the server: downloads, uploads, and what may be touched."""

import contextlib
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from xe.connection import Dialler
from xe.failures import ClientError
from xe.http_head import Head, ask, read_head, split_url
from xe.progress import Progress

BLOCK_BYTES = 1024 * 1024
WAIT_EVERY_S = 300.0
REDIRECTS = 5


class Transfers:
    """Runs the transfers of one command.

    Files it made are removed by ``discard`` when the command fails: half a
    download is worse than none.  ``still_busy`` is called every 300 seconds.
    """

    def __init__(self, dialler: Dialler, words: list[str], still_busy: Callable[[], None]) -> None:
        self._dialler = dialler
        self._allowed = {_real(w.partition("=")[2]) for w in words if "=" in w}
        self._still_busy = still_busy
        self._made: list[str] = []
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, signal.default_int_handler)  # what was made goes away
        self._told_at = time.monotonic()

    def check_readable(self, filename: str) -> None:
        """Refuse a file that the command line does not name.  Errors: ClientError."""
        if _real(filename) not in self._allowed:
            raise ClientError(f"File not permitted: {filename}")

    def check_writable(self, filename: str) -> None:
        """Refuse a place that is neither named nor below the current folder."""
        real, here = _real(filename), os.path.realpath(os.getcwd())
        if real not in self._allowed and os.path.dirname(real) != here:
            raise ClientError(f"File not permitted: {filename}")

    def discard(self) -> None:
        """Remove what was downloaded."""
        for path in self._made:
            with contextlib.suppress(OSError):
                os.unlink(path)
        self._made.clear()

    def get(self, filename: str, url: str) -> bool:
        """Download into a new file, or to standard output; False when the server refused.

        Errors: ClientError, OSError; nothing is left behind then.
        """
        if filename:
            self.check_writable(filename)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            target = os.open(filename, flags, 0o600)
            self._made.append(filename)
        else:
            sys.stdout.flush()
            target = os.dup(1)
        try:
            with os.fdopen(target, "wb", buffering=0) as file:
                done = self._download(file, url, filename or "stdout")
        except BaseException:
            self.discard()
            raise
        if not done:
            self.discard()
        return done

    def _download(self, file: Any, url: str, name: str) -> bool:
        connection, head = self._open("GET", url)
        if connection is None:
            return False
        with closing(connection):
            length = head.headers.get("content-length", "")
            total = int(length) if length.isdecimal() else 0
            progress = Progress(os.path.basename(name), total)
            done = 0
            data = head.rest
            while True:
                if data:
                    _write_all(file, data)
                    done += len(data)
                    progress.add(len(data))
                self._heartbeat()
                if length and done >= total:
                    break
                data = connection.recv(BLOCK_BYTES)
                if not data:
                    break
            progress.finish()
        if length and done < total:
            raise ClientError(f"The download ended after {done} of {total} bytes")
        return True

    def put(self, filename: str, url: str) -> bool:
        """Upload a file; False when the server refused.

        Errors: ClientError, OSError.
        """
        self.check_readable(filename)
        with open(filename, "rb") as file:
            status = os.fstat(file.fileno())
            length = status.st_size if stat.S_ISREG(status.st_mode) else None
            connection, _ = self._open("PUT", url, length)
            if connection is None:
                return False
            progress = Progress(os.path.basename(filename), length or 0)
            with closing(connection):
                while block := file.read(BLOCK_BYTES):
                    try:
                        connection.sendall(block)
                    except OSError as error:
                        if error.errno is None or isinstance(error, ConnectionError):
                            # the server explains on the command's connection
                            return False
                        raise
                    progress.add(len(block))
                    self._heartbeat()
                progress.finish()
        return True

    def _open(self, method: str, url: str, length: int | None = None) -> tuple[Any, Head]:
        """Send a request, follow redirections; the connection is None when refused."""
        host = ""
        for _ in range(REDIRECTS):
            other, path = split_url(url)
            host = other or host
            connection = self._dialler.transfer(host)
            try:
                ask(connection, method, path, length)
                head = read_head(connection)
            except BaseException:
                connection.close()
                raise
            if head.status == 200:
                return connection, head
            connection.close()
            if head.status != 302 or "location" not in head.headers:
                return None, head
            url = head.headers["location"]
        raise ClientError("The server redirects without end")

    def _heartbeat(self) -> None:
        if time.monotonic() - self._told_at > WAIT_EVERY_S:
            self._told_at = time.monotonic()
            self._still_busy()


def _real(name: str) -> str:
    return os.path.normpath(os.path.abspath(name)) if name else ""


def _write_all(file: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]

"""The audit log: one line for every call that has effects, who made it, how it ended.

Lines follow the real server's shape, so that its readers work:
``[20170223T09:30:00.000Z|audit|host|...] ('trackid=...' 'sid' 'user' 'ALLOWED'
'OK' 'API' 'VM.start' (('self' 'name' 'uuid' 'ref')))``.  Source: POOL brief, section 10.
"""

import gzip
import hashlib
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from io import FileIO
from pathlib import Path

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_FILES = 100


_SPECIAL = re.compile(r"[\\'\n\r]")
_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r"})


def track_id(session_ref: str) -> str:
    """Give the name a session has in the log; nobody can log in with it."""
    return hashlib.sha256(session_ref.encode()).hexdigest()[:32]


def quote(text: str) -> str:
    """Write a text as one quoted word on one line."""
    if _SPECIAL.search(text) is not None:
        text = text.translate(_ESCAPES)
    return f"'{text}'"


@lru_cache(maxsize=1024)
def _caller(session_ref: str, user_sid: str, user_name: str) -> str:
    """Give the words that say who called; the same for all calls of a session."""
    return " ".join(map(quote, (f"trackid={track_id(session_ref)}", user_sid, user_name)))


@lru_cache(maxsize=4)
def _stamp(second: int) -> str:
    return time.strftime("%Y%m%dT%H:%M:%S", time.gmtime(second))


class AuditLog:
    """Append lines to ``audit.log`` in a folder, and keep old files as ``.0`` to ``.100``."""

    def __init__(self, folder: Path, hostname: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._hostname = hostname
        self._path = folder / "audit.log"
        self._file = self._open()
        self._size = os.fstat(self._file.fileno()).st_size

    def record(
        self,
        session_ref: str,
        user_sid: str,
        user_name: str,
        outcome: str,
        method: str,
        arguments: Iterable[tuple[str, str]],
        *,
        allowed: bool = True,
    ) -> None:
        """Note a finished call; ``outcome`` is ``OK`` or ``ERROR:CODE``."""
        words = " ".join(f"({quote(name)} {quote(value)})" for name, value in arguments)
        verdict = "ALLOWED" if allowed else "DENIED"
        caller = _caller(session_ref, user_sid, user_name)
        self.append(f"({caller} '{verdict}' {quote(outcome)} 'API' {quote(method)} ({words}))")

    def append(self, text: str) -> None:
        """Add one line; a full disk is logged and does not fail the call."""
        now = time.time()
        milliseconds = int(now % 1 * 1000)
        line = f"[{_stamp(int(now))}.{milliseconds:03d}Z|audit|{self._hostname}] {text}\n"
        data = line.encode("utf-8", "replace")
        if self._size + len(data) > MAX_FILE_BYTES:
            self._rotate_if_possible()
        try:
            self._file.write(data)
            self._size += len(data)
        except (OSError, ValueError) as error:  # the latter when closed
            log.error("audit line lost: %s: %s", error, text)

    def lines(self, since: str = "", filter_text: str = "") -> Iterator[str]:
        """Give the lines of all files, oldest first, at or after ``since`` (compared as text)."""
        floor = since.replace("-", "").rstrip("Z")
        for path in [*self._old_files(), self._path]:
            opener = gzip.open if path.suffix == ".gz" else open
            try:
                with opener(path, "rt", encoding="utf-8", errors="replace") as stream:
                    for line in stream:
                        if line[1 : 1 + len(floor)] >= floor and filter_text in line:
                            yield line
            except FileNotFoundError:
                continue

    def close(self) -> None:
        """Close the file; lines that still come are lost, and said so in the server's log."""
        self._file.close()

    def _open(self) -> FileIO:
        return FileIO(self._path, "ab", opener=partial(os.open, mode=0o600))

    def _old_files(self) -> list[Path]:
        names = [
            self._folder / f"audit.log.{n}{e}"
            for n in range(MAX_FILES, -1, -1)
            for e in ("", ".gz")
        ]
        return [p for p in names if p.exists()]

    def _rotate_if_possible(self) -> None:
        try:
            self._rotate()
        except OSError as error:
            log.error("the audit log stays in its old file: %s", error)

    def _rotate(self) -> None:
        if self._path.exists():
            for number in range(MAX_FILES - 1, -1, -1):
                old = self._folder / f"audit.log.{number}"
                if old.exists():
                    old.rename(self._folder / f"audit.log.{number + 1}")
            self._path.rename(self._folder / "audit.log.0")
        # The old file stays in use until there is a new one: a number that was
        # closed soon belongs to a client's socket or to the database.
        full, self._file = self._file, self._open()
        self._size = 0
        full.close()

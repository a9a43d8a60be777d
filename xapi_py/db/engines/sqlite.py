"""The embedded engine: one sqlite file, written by one thread of its own."""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, Protocol

import orjson
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from xapi_py.db.engines.engine import Batch, Stored, StoredRow
from xapi_py.db.engines.spare_room import SIZE, SpareRoom
from xapi_py.db.failures import CorruptDatabase, DatabaseError, DatabaseInUse
from xapi_py.db.upgrade import STEPS, Step, Values, upgrade, version_after

log = logging.getLogger(__name__)

_APPLICATION_ID: Final = 0x78617079  # "xapy", so that another program's file is told apart
_TABLES: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE object (
    class TEXT NOT NULL, ref TEXT NOT NULL, fields BLOB NOT NULL,
    created INTEGER NOT NULL, modified INTEGER NOT NULL, UNIQUE (class, ref)
);
"""
_WRITE: Final = """
INSERT INTO object (class, ref, fields, created, modified) VALUES {}
ON CONFLICT (class, ref) DO UPDATE SET
fields = excluded.fields, created = excluded.created, modified = excluded.modified
"""
_WRITES: Final = tuple((n, _WRITE.format(", ".join(["(?, ?, ?, ?, ?)"] * n))) for n in (64, 8, 1))
"""Statements by how many rows they write.

Each statement gives the interpreter lock away and has to get it back from a
busy reactor, so few long ones are over sooner.
"""
_DELETE: Final = "DELETE FROM object WHERE class = ? AND ref = ?"
_SET_META: Final = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"


class CallsFromThreads(Protocol):
    """What the writing thread needs of a reactor."""

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> Any: ...  # noqa: N802


class SqliteEngine:
    """Keep the database in a file that survives loss of power at any moment.

    A batch costs one fsync.  The file is private to its owner, since it
    holds secrets.  ``<file>.lock`` keeps a second process out; ``<file>.spare``
    is given up when the file system is full, so that the server starts then, too.
    """

    immediate = False

    def __init__(
        self, path: Path, reactor: CallsFromThreads, steps: Sequence[Step] = STEPS
    ) -> None:
        self.name = str(path)
        self._path = path
        self._reactor = reactor
        self._steps = steps
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def load(self, reserve: int) -> Stored:
        """Open, upgrade and read the file; creates it when there is none.

        Raises ``DatabaseInUse``, ``CorruptDatabase`` or ``UnsupportedSchema``.
        """
        self._lock = _lock_file(Path(f"{self._path}.lock"), self._path)
        try:
            stored = self._open_also_when_full(reserve)
        except DatabaseError:
            self._release()
            raise
        except sqlite3.OperationalError as error:
            self._release()
            raise DatabaseError(f"{self._path} cannot be opened: {error}") from error
        except sqlite3.DatabaseError as error:
            self._release()
            raise CorruptDatabase(f"{self._path} is damaged: {error}") from error
        self._thread = Thread(target=self._work, name="database", daemon=True)
        self._thread.start()
        return stored

    def commit(self, batch: Batch) -> "Deferred[None]":
        """Keep a batch; fails with ``sqlite3.Error``, nothing of it kept then."""
        return self._in_thread(lambda: self._write(batch))

    def snapshot(self, path: Path) -> "Deferred[None]":
        """Write a consistent copy of everything kept so far to a new file."""
        return self._in_thread(lambda: self._copy_to(path))

    def close(self) -> "Deferred[None]":
        """Finish what is under way, then release the file."""
        if self._thread is None:
            return succeed(None)
        done = self._in_thread(self._release)
        self._jobs.put(None)
        self._thread = None
        return done

    # -- at start ----------------------------------------------------------

    def _open_also_when_full(self, reserve: int) -> Stored:
        spare = SpareRoom(Path(f"{self._path}.spare"))
        try:
            stored = self._open_and_read(reserve)
        except sqlite3.OperationalError as error:
            self._disconnect()
            if not (spare.needed() and spare.give_up()):
                raise
            log.warning("%s: %s: its last %d bytes are used", self._path, error, SIZE)
            return self._open_and_read(reserve)
        spare.keep()
        return stored

    def _open_and_read(self, reserve: int) -> Stored:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._connection = connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._create(connection)
        self._check_and_upgrade(connection)
        (before,) = connection.execute("SELECT value FROM meta WHERE key = 'reserved'").fetchone()
        connection.execute(_SET_META, ("reserved", before + reserve))
        connection.execute("COMMIT")
        rows = connection.execute("SELECT class, ref, fields, created, modified FROM object")
        return Stored(list(map(StoredRow._make, rows)), before)

    def _create(self, connection: sqlite3.Connection) -> None:
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(_SET_META, ("reserved", 0))
        connection.execute(_SET_META, ("schema_version", version_after(self._steps)))
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")

    def _check_and_upgrade(self, connection: sqlite3.Connection) -> None:
        (found,) = connection.execute("PRAGMA application_id").fetchone()
        if found != _APPLICATION_ID:
            raise CorruptDatabase(f"{self._path} is a database of another program")
        row = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
        if row is None:
            raise CorruptDatabase(f"{self._path} has no schema version")
        try:
            version = upgrade(_Objects(connection), row[0], self._steps)
        except DatabaseError as error:
            raise type(error)(f"{self._path}: {error}") from error
        connection.execute(_SET_META, ("schema_version", version))

    # -- in the thread -------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _in_thread(self, work: Callable[[], None]) -> "Deferred[None]":
        done: Deferred[None] = Deferred()

        def job() -> None:
            try:
                work()
            except Exception:  # outermost loop of this thread: told to the caller
                self._reactor.callFromThread(done.errback, Failure())
            else:
                self._reactor.callFromThread(done.callback, None)

        self._jobs.put(job)
        return done

    def _write(self, batch: Batch) -> None:
        connection = self._connection
        assert connection is not None
        connection.execute("BEGIN IMMEDIATE")
        try:
            if batch.deleted:
                connection.executemany(_DELETE, batch.deleted)
            for statement, rows in _grouped(batch.rows):
                connection.execute(statement, tuple(chain.from_iterable(rows)))
            if batch.reserved:
                connection.execute(_SET_META, ("reserved", batch.reserved))
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _copy_to(self, path: Path) -> None:
        assert self._connection is not None
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        target = sqlite3.connect(path)
        try:
            self._connection.backup(target)
        finally:
            target.close()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _release(self) -> None:
        self._disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class _Objects:
    """Stored rows for the steps of an upgrade."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, cls: str) -> Iterator[tuple[str, Values]]:
        found = self._connection.execute("SELECT ref, fields FROM object WHERE class = ?", (cls,))
        for ref, fields in found.fetchall():
            yield ref, orjson.loads(fields)

    def write(self, cls: str, ref: str, values: Values) -> None:
        self._connection.execute(
            "UPDATE object SET fields = ? WHERE class = ? AND ref = ?",
            (orjson.dumps(values), cls, ref),
        )

    def delete(self, cls: str, ref: str) -> None:
        self._connection.execute("DELETE FROM object WHERE class = ? AND ref = ?", (cls, ref))

    def rename_class(self, old: str, new: str) -> None:
        self._connection.execute("UPDATE object SET class = ? WHERE class = ?", (new, old))


def _grouped(rows: Sequence[StoredRow]) -> Iterator[tuple[str, Sequence[StoredRow]]]:
    """Divide rows among the statements that write as many."""
    first = 0
    for size, statement in _WRITES:
        while len(rows) - first >= size:
            yield statement, rows[first : first + size]
            first += size


def _lock_file(path: Path, database: Path) -> int:
    try:
        lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DatabaseError(f"{database} cannot be opened: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 32).decode("ascii", "replace").strip()
        os.close(lock)
        raise DatabaseInUse(f"{database} is in use by process {holder or 'unknown'}") from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock

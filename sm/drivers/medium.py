"""A simulated medium: a disk, LUN, export or share with the metadata of its SRs.

A folder with two sqlite files.  ``medium.sqlite`` holds SRs, disks and change
logs, durable at each commit.  ``locks.sqlite`` says which hosts have what
attached or active; it outlives a killed process but needs no fsync, since
nothing stays active when the power goes.  Both are shared by the daemons of
all simulated hosts.
"""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

import orjson
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sm import errors
from sm.drivers.change_log import ChangeLog

T = TypeVar("T")
BUSY_TIMEOUT_S: Final = 10.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sr(uuid TEXT PRIMARY KEY, type TEXT, name_label TEXT,
  name_description TEXT, sm_config BLOB, used INTEGER DEFAULT 0, allocated INTEGER DEFAULT 0,
  generation INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS vdi(sr TEXT, uuid TEXT, parent TEXT, body BLOB, used INTEGER,
  allocated INTEGER, PRIMARY KEY(sr, uuid)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS vdi_parent ON vdi(sr, parent) WHERE parent <> '';
CREATE TABLE IF NOT EXISTS log(sr TEXT, vdi TEXT, parent TEXT, child TEXT, bits BLOB,
  PRIMARY KEY(sr, vdi)) WITHOUT ROWID;
"""
_LOCK_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS attached(sr TEXT, host TEXT, PRIMARY KEY(sr, host));
CREATE TABLE IF NOT EXISTS active(sr TEXT, vdi TEXT, host TEXT, read_write INTEGER,
  PRIMARY KEY(sr, vdi, host));
"""


class Runner(Protocol):
    """Run a blocking function elsewhere and give its result."""

    def __call__(self, work: Callable[[], object], /) -> "Deferred[object]": ...


@dataclass(frozen=True, slots=True)
class Disk:
    """A stored disk: the members of its record, and what only the simulator knows.

    ``data_bytes`` is what was written to this node of the tree, ``content``
    the name of its file with real content, or empty; ``format`` is vhd or raw;
    ``fields`` are members of ``sm.contract.Vdi`` that differ from their defaults.
    """

    uuid: str
    parent: str
    fields: dict[str, object]
    data_bytes: int = 0
    content: str = ""
    format: str = "vhd"

    @property
    def virtual_size(self) -> int:
        return int(str(self.fields.get("virtual_size", 0)))

    @property
    def managed(self) -> bool:
        return bool(self.fields.get("managed", True))


@dataclass(frozen=True, slots=True)
class SrRow:
    """A stored SR; ``used`` and ``allocated`` are sums over its disks, in bytes."""

    uuid: str
    type: str
    name_label: str
    name_description: str
    sm_config: dict[str, str]
    used: int
    allocated: int
    generation: int


class Records:
    """Reads and, within a batch, writes of the medium's records."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def srs(self) -> list[SrRow]:
        """All SRs of the medium, oldest first."""
        return [_sr_row(r) for r in self._db.execute("SELECT * FROM sr ORDER BY rowid")]

    def sr(self, uuid: str) -> SrRow | None:
        row = self._db.execute("SELECT * FROM sr WHERE uuid=?", (uuid,)).fetchone()
        return None if row is None else _sr_row(row)

    def put_sr(
        self,
        uuid: str,
        sr_type: str,
        name_label: str,
        name_description: str,
        sm_config: dict[str, str],
    ) -> None:
        """Make the SR or replace its description."""
        self._db.execute(
            "INSERT INTO sr(uuid, type, name_label, name_description, sm_config) "
            "VALUES(?,?,?,?,?) ON CONFLICT(uuid) DO UPDATE SET type=excluded.type, "
            "name_label=excluded.name_label, name_description=excluded.name_description, "
            "sm_config=excluded.sm_config, generation=generation+1",
            (uuid, sr_type, name_label, name_description, orjson.dumps(sm_config)),
        )

    def delete_sr(self, uuid: str) -> None:
        for statement in (
            "DELETE FROM sr WHERE uuid=?",
            "DELETE FROM vdi WHERE sr=?",
            "DELETE FROM log WHERE sr=?",
        ):
            self._db.execute(statement, (uuid,))

    def used_bytes(self) -> int:
        """Space used by all SRs of the medium."""
        (total,) = self._db.execute("SELECT COALESCE(SUM(used),0) FROM sr").fetchone()
        return int(total)

    def disk(self, sr: str, uuid: str) -> Disk:
        """One disk; Vdi_does_not_exist when there is none."""
        found = self.find_disk(sr, uuid)
        if found is None:
            raise errors.vdi_does_not_exist(uuid)
        return found

    def find_disk(self, sr: str, uuid: str) -> Disk | None:
        row = self._db.execute("SELECT body FROM vdi WHERE sr=? AND uuid=?", (sr, uuid)).fetchone()
        return None if row is None else Disk(**orjson.loads(row[0]))

    def disks(self, sr: str) -> Iterator[tuple[Disk, int]]:
        """All disks of an SR with the space each uses."""
        query = "SELECT body, used FROM vdi WHERE sr=?"
        for body, used in self._db.execute(query, (sr,)):
            yield Disk(**orjson.loads(body)), used

    def used(self, sr: str, uuid: str) -> int:
        """Space one disk uses."""
        row = self._db.execute("SELECT used FROM vdi WHERE sr=? AND uuid=?", (sr, uuid)).fetchone()
        return 0 if row is None else int(row[0])

    def children(self, sr: str, uuid: str) -> list[str]:
        query = "SELECT uuid FROM vdi WHERE sr=? AND parent=? AND parent<>''"
        return [r[0] for r in self._db.execute(query, (sr, uuid))]

    def hidden(self, sr: str) -> list[Disk]:
        """Disks that are only parents of others."""
        return [d for d, _ in self.disks(sr) if not d.managed]

    def put_disk(self, sr: str, disk: Disk, used: int) -> None:
        """Store a disk and keep the sums of its SR."""
        allocated = disk.virtual_size if disk.managed else 0
        self._forget_sums(sr, disk.uuid)
        self._db.execute(
            "INSERT OR REPLACE INTO vdi VALUES(?,?,?,?,?,?)",
            (sr, disk.uuid, disk.parent, orjson.dumps(disk), used, allocated),
        )
        self._add_sums(sr, used, allocated)

    def delete_disk(self, sr: str, uuid: str) -> None:
        self._forget_sums(sr, uuid)
        self._db.execute("DELETE FROM vdi WHERE sr=? AND uuid=?", (sr, uuid))

    def log(self, sr: str, vdi: str) -> ChangeLog | None:
        row = self._db.execute(
            "SELECT bits, parent, child FROM log WHERE sr=? AND vdi=?", (sr, vdi)
        ).fetchone()
        return None if row is None else ChangeLog(*row)

    def put_log(self, sr: str, vdi: str, log: ChangeLog) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO log VALUES(?,?,?,?,?)",
            (sr, vdi, log.parent, log.child, log.bits),
        )

    def delete_log(self, sr: str, vdi: str) -> None:
        self._db.execute("DELETE FROM log WHERE sr=? AND vdi=?", (sr, vdi))

    def _forget_sums(self, sr: str, uuid: str) -> None:
        row = self._db.execute(
            "SELECT used, allocated FROM vdi WHERE sr=? AND uuid=?", (sr, uuid)
        ).fetchone()
        self._add_sums(sr, -row[0] if row else 0, -row[1] if row else 0)

    def _add_sums(self, sr: str, used: int, allocated: int) -> None:
        self._db.execute(
            "UPDATE sr SET used=used+?, allocated=allocated+?, generation=generation+1 "
            "WHERE uuid=?",
            (used, allocated, sr),
        )


def _sr_row(row: tuple[str, str, str, str, bytes, int, int, int]) -> SrRow:
    uuid, sr_type, label, description, sm_config, used, allocated, generation = row
    return SrRow(
        uuid, sr_type, label, description, orjson.loads(sm_config), used, allocated, generation
    )


class Locks:
    """Which hosts hold what on the medium."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def attach(self, sr: str, host: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO attached VALUES(?,?)", (sr, host))

    def detach(self, sr: str, host: str) -> None:
        self._db.execute("DELETE FROM attached WHERE sr=? AND host=?", (sr, host))

    def attached(self) -> set[str]:
        """The SRs that some host has attached."""
        return {r[0] for r in self._db.execute("SELECT DISTINCT sr FROM attached")}

    def activate(
        self, sr: str, vdi: str, host: str, read_write: bool, sharable: bool
    ) -> str | None:
        """Take the lock of a disk for a host; gives the host that is in the way, if any."""
        if read_write and not sharable:
            row = self._db.execute(
                "SELECT host FROM active WHERE sr=? AND vdi=? AND host<>? AND read_write=1",
                (sr, vdi, host),
            ).fetchone()
            if row is not None:
                return str(row[0])
        self._db.execute(
            "INSERT OR REPLACE INTO active VALUES(?,?,?,?)", (sr, vdi, host, int(read_write))
        )
        return None

    def deactivate(self, sr: str, vdi: str, host: str) -> None:
        self._db.execute("DELETE FROM active WHERE sr=? AND vdi=? AND host=?", (sr, vdi, host))

    def holders(self, sr: str, vdi: str) -> dict[str, bool]:
        """Hosts that have the disk active, and whether for writing."""
        rows = self._db.execute(
            "SELECT host, read_write FROM active WHERE sr=? AND vdi=?", (sr, vdi)
        )
        return {host: bool(rw) for host, rw in rows}

    def release(self, sr: str, host: str) -> None:
        """Drop everything a host holds of an SR."""
        self._db.execute("DELETE FROM active WHERE sr=? AND host=?", (sr, host))
        self.detach(sr, host)


Change = Callable[[Records], T]


class Medium:
    """One medium; changes go through ``change`` in order, many to a commit."""

    def __init__(
        self,
        folder: Path,
        capacity_bytes: int,
        run: Runner,
        around_commit: Callable[[str], None] = lambda _: None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.capacity_bytes = capacity_bytes
        self._run = run
        self._around_commit = around_commit
        self._writer = _open(folder / "medium.sqlite", _SCHEMA, "FULL")
        self._reader = _open(folder / "medium.sqlite", "", "FULL")
        self._lock_db = _open(folder / "locks.sqlite", _LOCK_SCHEMA, "OFF")
        self.records = Records(self._reader)
        self.locks = Locks(self._lock_db)
        self._writing = Records(self._writer)
        self._waiting: list[tuple[Callable[[Records], object], Deferred[object]]] = []
        self._busy = False

    async def change(self, work: "Change[T]") -> T:
        """Run ``work`` in a transaction and give its result once that is durable.

        Works run in the order of the calls.  An exception undoes that work
        alone and is raised here.  Works asked for while a commit is under way
        share the next one.
        """
        done: Deferred[object] = Deferred()
        self._waiting.append((work, done))
        if not self._busy:
            self._start()
        return await done  # type: ignore[return-value]

    def close(self) -> None:
        """Give the files back; nothing may be under way."""
        for connection in (self._writer, self._reader, self._lock_db):
            connection.close()

    def _start(self) -> None:
        self._busy = True
        batch, self._waiting = self._waiting, []
        running = self._run(lambda: self._commit([work for work, _ in batch]))

        def finished(outcome: object) -> None:
            self._busy = False
            if self._waiting:
                self._start()
            results = outcome if isinstance(outcome, list) else [outcome] * len(batch)
            for (_, done), result in zip(batch, results, strict=True):
                if isinstance(result, BaseException | Failure):
                    done.errback(result)
                else:
                    done.callback(result)

        running.addBoth(finished)

    def _commit(self, works: list[Callable[[Records], object]]) -> list[object]:
        self._writer.execute("BEGIN IMMEDIATE")
        results: list[object] = []
        try:
            for work in works:
                self._writer.execute("SAVEPOINT work")
                try:
                    results.append(work(self._writing))
                except Exception as problem:
                    self._writer.execute("ROLLBACK TO work")
                    results.append(problem)
                self._writer.execute("RELEASE work")
            self._around_commit("before")
            self._writer.execute("COMMIT")
        except BaseException:
            self._writer.execute("ROLLBACK")
            raise
        self._around_commit("after")
        return results


def _open(path: Path, schema: str, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    if schema:
        connection.executescript(schema)
    return connection

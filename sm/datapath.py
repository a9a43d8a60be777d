"""Datapaths: who has which disk attached or active on this host.

Pure rules and a small store.  A disk may be held by several datapaths; the
driver is told only about changes of the strongest state.  The store survives
a killed daemon; it needs no fsync since nothing is active after loss of power.
"""

import sqlite3
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

import orjson

from sm import errors


class State(IntEnum):
    """How far a datapath is up; larger is more."""

    DETACHED = 0
    ATTACHED = 1
    ACTIVATED = 2


@dataclass(frozen=True, slots=True)
class Holder:
    """One datapath's hold on one disk."""

    dp: str
    vm: str
    read_write: bool
    state: State


Holders = dict[str, Holder]
Key = tuple[str, str]
"""SR and VDI uuid."""


@dataclass(frozen=True, slots=True)
class AttachedRecord:
    """An SR to attach again after a restart."""

    sr: str
    type: str
    device_config: dict[str, str]
    sm_config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Move:
    """A disk in use that is on its way to another SR, where it has another uuid."""

    sr: str
    vdi: str
    dest_sr: str
    dest_vdi: str


def superstate(holders: Holders) -> tuple[State, bool]:
    """The strongest state among the holders, and whether anyone writes."""
    if not holders:
        return State.DETACHED, False
    return max(h.state for h in holders.values()), any(h.read_write for h in holders.values())


def attached(holders: Holders, dp: str, vm: str, read_write: bool, sharable: bool) -> Holder | None:
    """Check an attach; None when the datapath is up already.

    Errors: Illegal_transition for another mode than before, VDI_IN_USE when
    another VM may write the disk.
    """
    mine = holders.get(dp)
    if mine is not None:
        if mine.read_write != read_write:
            raise errors.illegal_transition(_mode(mine.read_write), _mode(read_write))
        return None
    others = [h for h in holders.values() if h.read_write and h.vm != vm]
    if read_write and others and not sharable:
        raise errors.backend_failure(errors.VDI_IN_USE)
    return Holder(dp, vm, read_write, State.ATTACHED)


def activated(holders: Holders, dp: str, sharable: bool) -> Holder | None:
    """Check an activate; None when it is active already.

    Errors: Illegal_transition when it is not attached, VDI_IN_USE when another
    datapath has the disk active for writing.
    """
    mine = holders.get(dp)
    if mine is None:
        raise errors.illegal_transition("Detached", "Activated")
    if mine.state == State.ACTIVATED:
        return None
    rivals = (
        h for h in holders.values() if h.dp != dp and h.read_write and h.state == State.ACTIVATED
    )
    if mine.read_write and not sharable and any(True for _ in rivals):
        raise errors.backend_failure(errors.VDI_IN_USE)
    return replace(mine, state=State.ACTIVATED)


def _mode(read_write: bool) -> str:
    return "Attached(RW)" if read_write else "Attached(RO)"


class DatapathStore:
    """Holders and attached SRs in memory, and in a file for the next process."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600, exist_ok=True)  # device configurations hold passwords
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(
            "CREATE TABLE IF NOT EXISTS sr(sr TEXT PRIMARY KEY, body BLOB);"
            "CREATE TABLE IF NOT EXISTS move(sr TEXT, vdi TEXT, dest_sr TEXT, dest_vdi TEXT,"
            " PRIMARY KEY(sr, vdi)) WITHOUT ROWID;"
            "CREATE TABLE IF NOT EXISTS holder(sr TEXT, vdi TEXT, dp TEXT, vm TEXT,"
            " read_write INTEGER, state INTEGER, PRIMARY KEY(sr, vdi, dp)) WITHOUT ROWID;"
        )
        self._holders: dict[Key, Holders] = {}
        self._by_dp: dict[str, set[Key]] = {}
        for sr, vdi, dp, vm, read_write, state in self._db.execute("SELECT * FROM holder"):
            holder = Holder(dp, vm, bool(read_write), State(state))
            self._holders.setdefault((sr, vdi), {})[dp] = holder
            self._by_dp.setdefault(dp, set()).add((sr, vdi))

    def holders(self, sr: str, vdi: str) -> Holders:
        """Who holds a disk; do not change the answer."""
        return self._holders.get((sr, vdi), {})

    def of_datapath(self, dp: str) -> list[Key]:
        """What a datapath holds."""
        return sorted(self._by_dp.get(dp, ()))

    def of_sr(self, sr: str) -> list[str]:
        """Disks of an SR that somebody holds."""
        return [vdi for (held_sr, vdi) in self._holders if held_sr == sr]

    def datapaths(self) -> list[str]:
        return sorted(self._by_dp)

    def put(self, sr: str, vdi: str, holder: Holder) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO holder VALUES(?,?,?,?,?,?)",
            (sr, vdi, holder.dp, holder.vm, int(holder.read_write), int(holder.state)),
        )
        self._holders.setdefault((sr, vdi), {})[holder.dp] = holder
        self._by_dp.setdefault(holder.dp, set()).add((sr, vdi))

    def remove(self, sr: str, vdi: str, dp: str) -> None:
        self._db.execute("DELETE FROM holder WHERE sr=? AND vdi=? AND dp=?", (sr, vdi, dp))
        held = self._holders.get((sr, vdi), {})
        held.pop(dp, None)
        if not held:
            self._holders.pop((sr, vdi), None)
        keys = self._by_dp.get(dp, set())
        keys.discard((sr, vdi))
        if not keys:
            self._by_dp.pop(dp, None)

    def moves(self) -> list[Move]:
        """Moves that have not ended."""
        return [Move(*row) for row in self._db.execute("SELECT * FROM move")]

    def put_move(self, move: Move) -> None:
        row = (move.sr, move.vdi, move.dest_sr, move.dest_vdi)
        self._db.execute("INSERT OR REPLACE INTO move VALUES(?,?,?,?)", row)

    def remove_move(self, sr: str, vdi: str) -> None:
        self._db.execute("DELETE FROM move WHERE sr=? AND vdi=?", (sr, vdi))

    def hand_over(self, move: Move) -> None:
        """All who hold a disk hold the one it has become; the move has ended."""
        self._db.execute("BEGIN")
        for holder in tuple(self.holders(move.sr, move.vdi).values()):
            self.remove(move.sr, move.vdi, holder.dp)
            self.put(move.dest_sr, move.dest_vdi, holder)
        self.remove_move(move.sr, move.vdi)
        self._db.execute("COMMIT")

    def attached_srs(self) -> list[AttachedRecord]:
        """The SRs that were attached when the last process ended."""
        return [
            AttachedRecord(**orjson.loads(body))
            for (body,) in self._db.execute("SELECT body FROM sr ORDER BY rowid")
        ]

    def put_sr(self, record: AttachedRecord) -> None:
        self._db.execute("INSERT OR REPLACE INTO sr VALUES(?,?)", (record.sr, orjson.dumps(record)))

    def remove_sr(self, sr: str) -> None:
        self._db.execute("DELETE FROM sr WHERE sr=?", (sr,))

    def close(self) -> None:
        self._db.close()

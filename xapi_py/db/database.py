"""The database: rows in memory, changed by transactions, kept by an engine."""

import logging
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import count
from typing import Final

from twisted.internet.defer import Deferred, fail

from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.base.reactor import Clock
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.model import Model
from xapi_py.db.changes import Changes
from xapi_py.db.derived import Derived, DerivedFields
from xapi_py.db.durability import Commit, CommitQueue
from xapi_py.db.engines.engine import Batch, Engine, RowKey
from xapi_py.db.failures import CorruptDatabase
from xapi_py.db.loader import load_tables
from xapi_py.db.redo import Redo
from xapi_py.db.row import Row, set_generations
from xapi_py.db.row_writes import CREATED, DELETED, STORED, roll_back
from xapi_py.db.schema import compile_schema
from xapi_py.db.storage import RowCodec
from xapi_py.db.table import Table
from xapi_py.db.transaction import Transaction

log = logging.getLogger(__name__)

RESERVED_AT_ONCE: Final = 1_000_000
"""Generations set aside in the engine at a time, so that none comes twice."""

Subscriber = Callable[[frozenset[str], int], None]


class Database:
    """All objects of the pool; also a ``View`` for pure code.

    Opening loads everything from the engine (blocking, linear); call
    ``gc.freeze()`` afterwards: the collector then never walks the loaded rows
    again, which it does for 0.1 s at 10 000 VMs otherwise.
    ``generation`` counts transactions that changed something and never goes
    back, not even over a restart; ``start_generation`` is the first one of
    this process, and a lower one is from before the restart.
    """

    def __init__(self, model: Model, engine: Engine, clock: Clock) -> None:
        self.tables = {name: Table(d) for name, d in compile_schema(model).items()}
        self._codecs = {
            name: RowCodec(t.definition) for name, t in self.tables.items() if t.persist
        }
        self.derived = DerivedFields(self.tables)
        self.next_position = count(1).__next__
        self._clock = clock
        self._open: Transaction | None = None
        self._subscribers: list[Subscriber] = []
        self.before_change: list[Callable[[Row], None]] = []
        """Called with each row just before it changes, possibly more than once."""
        self._changed: set[str] = set()
        self._publishing = False
        self._lost: tuple[int, ApiError] | None = None  # newest commit taken back, and why
        stored = engine.load(RESERVED_AT_ONCE)
        try:
            load_tables(stored, self.tables, self._codecs, self.next_position)
        except CorruptDatabase as error:
            raise CorruptDatabase(f"{engine.name} is damaged: {error}") from error
        self.start_generation: Final = stored.reserved + 1
        self.generation = self.start_generation
        self._reserved = stored.reserved + RESERVED_AT_ONCE
        self._engine = engine
        self._queue = CommitQueue(self, engine, clock)

    # -- reading ---------------------------------------------------------

    def row(self, cls: str, ref: str) -> Row:
        """Give an object.  Errors: HANDLE_INVALID when there is none."""
        row = self.tables[cls].rows.get(ref)  # type: ignore[call-overload]
        if row is None:
            raise err.HANDLE_INVALID(cls, ref)
        return row  # type: ignore[no-any-return]

    def find(self, cls: str, ref: str) -> Row | None:
        """Give an object or ``None``."""
        return self.tables[cls].rows.get(ref)  # type: ignore[call-overload,no-any-return]

    def by_uuid(self, cls: str, uuid: str) -> Ref:
        """Give the reference of a uuid.  Errors: UUID_INVALID."""
        ref = self.tables[cls].uuids.get(uuid)
        if ref is None:
            raise err.UUID_INVALID(cls, uuid)
        return ref

    def by_name_label(self, cls: str, label: str) -> tuple[Ref, ...]:
        """Give the references of all objects with that label."""
        return self.tables[cls].names.get(label)

    def refs(self, cls: str) -> Sequence[Ref]:
        """Give all references of a class, oldest object first."""
        return tuple(self.tables[cls].rows)

    def rows(self, cls: str) -> Sequence[Row]:
        """Give all objects of a class, oldest first."""
        return tuple(self.tables[cls].rows.values())

    def count(self, cls: str) -> int:
        """Count the objects of a class."""
        return len(self.tables[cls].rows)

    # -- changes ---------------------------------------------------------

    def changes(self, cls: str, since: int) -> Changes:
        """Give what changed in a class after a generation, in O(changes).

        It may tell of commits that are not durable yet; await ``durable()``
        before passing them on.
        """
        table = self.tables[cls]
        added, modified = table.changed_since(since)
        floor = max(self.start_generation, table.forgotten_generation)
        return Changes(added, modified, table.deleted_since(since), since < floor)

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call back once per reactor turn in which changes became durable.

        The arguments are the names of the changed classes and the newest
        generation.  Gives a function that ends it.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def publish(self, classes: AbstractSet[str]) -> None:
        """Tell subscribers in the next turn; for the commit queue."""
        self._changed |= classes
        if not self._publishing and self._changed:
            self._publishing = True
            self._clock.callLater(0, self._publish)

    def _publish(self) -> None:
        self._publishing = False
        self.tell_subscribers(frozenset())

    def tell_subscribers(self, classes: AbstractSet[str]) -> None:
        """Tell subscribers now; for the commit queue, once in a turn at most."""
        self._changed |= classes
        if not self._changed:
            return
        generation = self.durable_generation
        changed, self._changed = frozenset(self._changed), set()
        for callback in tuple(self._subscribers):
            try:
                callback(changed, generation)
            except Exception:  # outermost: one subscriber must not stop another
                log.exception("a subscriber of the database failed")

    # -- writing ---------------------------------------------------------

    def transaction(self) -> Transaction:
        """Open a transaction, or join the open one; see ``Transaction``."""
        if self._open is None:
            self._open = Transaction(self, self.tables)
        return self._open

    def durable(self, since: int | None = None) -> "Deferred[None]":
        """Fire when everything committed so far is durable.

        Fails with INTERNAL_ERROR when it could not be kept; it is undone then.
        Who awaits other things between a transaction and this call passes the
        ``generation`` from before the transaction: then a failure meanwhile,
        of any commit after ``since``, is told too.
        """
        if since is not None and self._lost is not None and self._lost[0] > since:
            return fail(self._lost[1])
        return self._queue.durable()

    def derive(self, *fields: Derived) -> None:
        """Declare derived fields and compute them for all objects there are."""
        for derived in fields:
            self.derived.declare(derived)
        with self.transaction() as tx:
            for derived in fields:
                for row in self.rows(derived.cls):
                    tx.write_row(row, derived.field, derived.compute(self, row))

    @property
    def durable_generation(self) -> int:
        """The newest generation up to which every commit is durable."""
        pending = self._queue.first_pending()
        return self.generation if pending is None else pending - 1

    def close(self) -> "Deferred[None]":
        """Wait for what is under way, then close the engine."""
        self._queue.flush()
        return self.durable().addBoth(lambda _: self._engine.close())

    # -- for Transaction and CommitQueue -----------------------------------

    def finish(self, tx: Transaction) -> None:
        """Complete the outermost block: derived fields, generation, engine."""
        if tx.changes:
            self._compute_derived(tx)
        touched = [
            (row, flags)
            for row, flags in tx.touched.items()
            if not (flags & CREATED and flags & DELETED)
        ]
        if not touched:
            return
        self.generation += 1
        stored: list[RowKey] = []
        classes: set[str] = set()
        for row, flags in touched:
            classes.add(row.api_class)
            self._stamp(row, flags)
            if flags & STORED:
                stored.append((row.api_class, row.ref))
        if self._short_of_generations():
            stored.append(("", ""))  # makes a batch, which reserves more
        redo = None if stored or self._queue.idle else Redo.of(tx, self.tables)
        self._open = None
        self._queue.add(Commit(self.generation, tx.undo, tx.touched, stored, redo), classes)

    def release(self) -> None:
        """Forget the open transaction; the next one is a new one."""
        self._open = None

    def _compute_derived(self, tx: Transaction) -> None:
        todo: dict[int, dict[Row, None]] = {}
        seen = 0
        while True:
            for change in tx.changes[seen:]:
                self.derived.stale(change, todo)
            seen = len(tx.changes)
            if not todo:
                return
            order = min(todo)
            derived = self.derived.fields[order]
            for row in todo.pop(order):
                tx.write_row(row, derived.field, derived.compute(self, row))

    def _stamp(self, row: Row, flags: int) -> None:
        table = self.tables[row.api_class]
        if flags & DELETED:
            table.recent.pop(row.ref, None)
            table.note_deletion(row.ref, self.generation, row.created_generation)
            return
        if flags & CREATED:
            set_generations(row, self.generation, self.generation)
        table.stamp(row, self.generation)

    def batch_of(self, keys: Iterable[RowKey]) -> Batch:
        """Give the present state of the named rows, for the engine."""
        batch = Batch()
        for cls, ref in keys:
            if not cls:
                continue
            row = self.find(cls, ref)
            if row is None:
                batch.deleted.append((cls, ref))
            else:
                batch.rows.append(self._codecs[cls].dump(row))
        if self._short_of_generations():
            batch.reserved = self._reserved = self.generation + RESERVED_AT_ONCE
        return batch

    def _short_of_generations(self) -> bool:
        return self.generation > self._reserved - RESERVED_AT_ONCE // 2

    def take_back(self, commits: list[Commit], error: ApiError) -> None:
        """Undo commits the engine did not keep, newest first.

        Who saw them through ``changes`` sees the reverse as a further change.
        Commits with nothing to store are done again on what is left.
        """
        self._reserved = 0  # the reservation may have been in the lost batch
        touched: dict[Row, int] = {}
        for commit in commits:
            for row, flags in commit.touched.items():
                touched[row] = touched.get(row, 0) | flags
        for reader in self.before_change:
            for row in touched:
                reader(row)
        for commit in reversed(commits):
            roll_back(commit.undo)
        self._lost = (commits[-1].generation, error)
        self.generation += 1
        for cls in {row.api_class for row in touched}:
            self.tables[cls].forget_deletions_from(commits[0].generation)
        for row, flags in touched.items():
            self._stamp_undone(row, flags)
        self.publish({row.api_class for row in touched})
        for commit in commits:
            if commit.redo is not None:
                commit.redo.apply(self.transaction)

    def _stamp_undone(self, row: Row, flags: int) -> None:
        table = self.tables[row.api_class]
        if table.rows.get(row.ref) is row:
            if flags & DELETED:
                set_generations(row, self.generation, self.generation)
            table.stamp(row, self.generation)
        elif table.rows.get(row.ref) is None:
            table.recent.pop(row.ref, None)
            table.note_deletion(row.ref, self.generation, row.created_generation)

"""Writing: one synchronous block that happens as a whole or not at all."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from xapi_py.base.names import NULL_REF, Ref, new_uuid, ref_of_uuid
from xapi_py.datamodel import errors as err
from xapi_py.db.derived import Change
from xapi_py.db.row import Row
from xapi_py.db.schema import MANY, MUTUAL, SINGLE, Column
from xapi_py.db.table import Table

if TYPE_CHECKING:
    from xapi_py.db.database import Database

CHANGED: Final = 1
CREATED: Final = 2
DELETED: Final = 4
STORED: Final = 8
"""Flags of a touched row; ``STORED``: the engine must hear of it."""

UndoLog = list[tuple[Callable[..., Any], tuple[Any, ...]]]


class Transaction:
    """The open transaction; use as ``with db.transaction() as tx``.

    Writes are visible at once to whoever reads inside the block.  An
    exception takes back what its own block did, exactly; the outermost block
    then ends without any trace.  No ``await`` inside.
    Every method raises HANDLE_INVALID for an object that does not exist, and
    KeyError or TypeError for a field or value outside the model.
    """

    def __init__(self, database: "Database", tables: dict[str, Table]) -> None:
        self._database = database
        self._tables = tables
        self._savepoints: list[tuple[int, int]] = []
        self.undo: UndoLog = []
        self.touched: dict[Row, int] = {}
        self.changes: list[Change] = []

    def __enter__(self) -> Self:
        self._savepoints.append((len(self.undo), len(self.changes)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        undo_mark, change_mark = self._savepoints[-1]
        try:
            if error is None and len(self._savepoints) == 1:
                self._database.finish(self)
        except BaseException:
            error = error or RuntimeError("unfinished")
            raise
        finally:
            self._savepoints.pop()
            if error is not None:
                roll_back(self.undo, undo_mark)
                del self.changes[change_mark:]
            if not self._savepoints:
                self._database.release()

    # -- objects ---------------------------------------------------------

    def create(self, cls: str, values: Mapping[str, Any]) -> Ref:
        """Make an object; absent fields take their defaults.

        ``ref`` and ``uuid`` may be given.  Values for computed collections
        are ignored; required fields are not enforced here.
        Errors: DB_UNIQUENESS_CONSTRAINT_VIOLATION for a used uuid or ref.
        """
        self._check_open()
        table = self._tables[cls]
        given: dict[str, Any] = {}
        mutual: list[tuple[Column, Any]] = []
        ref: Ref | None = None
        for name, value in values.items():
            column = table.columns.get(name)
            if column is None:
                if name != "ref":
                    raise KeyError(f"{cls} has no field {name}")
                ref = value
            elif column.kind == MUTUAL:
                mutual.append((column, value))
            elif column.kind != MANY:
                given[name] = column.check(value)
        if "uuid" in table.columns and not given.get("uuid"):
            given["uuid"] = new_uuid()
        row = self._insert(table, ref or ref_of_uuid(new_uuid()), given)
        for column, value in mutual:
            for other in value:
                self._join_mutual(table, row, column, other)
        return row.ref

    def delete(self, cls: str, ref: str) -> None:
        """Remove an object, also from collections; single references stay."""
        table, row = self._find(cls, ref)
        for column in table.columns.values():
            if column.kind == SINGLE and column.other:
                self._leave(column, row.ref, column.get(row))
            elif column.kind == MUTUAL:
                for other in column.get(row):
                    self._leave(column, row.ref, other)
        self._index(table, row, -1)
        ghost = {c.name: c.get(row) for c in table.definition.many_columns() if c.kind == MANY}
        ghost = {name: refs for name, refs in ghost.items() if refs}
        del table.rows[row.ref]
        self._log(table.rows.__setitem__, row.ref, row)
        if ghost:
            table.ghosts[row.ref] = ghost
            self._log(table.ghosts.pop, row.ref)
        self._touch(row, DELETED | (STORED if table.persist else 0))
        if self._database.derived.watches(table):
            self.changes.append((row, None, ()))

    # -- fields ----------------------------------------------------------

    def set(self, cls: str, ref: str, field: str, value: Any) -> None:
        """Write one field; an equal value is no change."""
        table, row = self._find(cls, ref)
        self._write(table, row, table.columns[field], value)

    def update(self, cls: str, ref: str, **values: Any) -> None:
        """Write several fields of one object."""
        table, row = self._find(cls, ref)
        for name, value in values.items():
            self._write(table, row, table.columns[name], value)

    def add_to_map(self, cls: str, ref: str, field: str, key: Any, value: Any) -> None:
        """Set one key of a map field, replacing what it had."""
        table, row = self._find(cls, ref)
        column = table.columns[field]
        self._write(table, row, column, {**column.get(row), key: value})

    def remove_from_map(self, cls: str, ref: str, field: str, key: Any) -> None:
        """Take one key out of a map field, if it is there."""
        table, row = self._find(cls, ref)
        column = table.columns[field]
        old = column.get(row)
        if key in old:
            self._write(table, row, column, {k: v for k, v in old.items() if k != key})

    def add_to_set(self, cls: str, ref: str, field: str, value: Any) -> None:
        """Append a value to a set field, unless it is there."""
        table, row = self._find(cls, ref)
        column = table.columns[field]
        if column.kind == MUTUAL:
            self._join_mutual(table, row, column, value)
        elif value not in column.get(row):
            self._write(table, row, column, (*column.get(row), value))

    def remove_from_set(self, cls: str, ref: str, field: str, value: Any) -> None:
        """Take a value out of a set field, if it is there."""
        table, row = self._find(cls, ref)
        column = table.columns[field]
        old = column.get(row)
        if value not in old:
            return
        if column.kind == MUTUAL:
            self._leave_mutual(table, row, column, value)
        else:
            self._write(table, row, column, tuple(v for v in old if v != value))

    def touch(self, cls: str, ref: str) -> None:
        """Make an event for an object without changing it."""
        _, row = self._find(cls, ref)
        self._touch(row, CHANGED)

    # -- how -------------------------------------------------------------

    def write_row(self, row: Row, field: str, value: Any) -> None:
        """Write one field of an object at hand; for the database's own use."""
        table = self._tables[row.api_class]
        self._write(table, row, table.columns[field], value)

    def _check_open(self) -> None:
        if not self._savepoints:
            raise RuntimeError("the transaction is over")

    def _find(self, cls: str, ref: str) -> tuple[Table, Row]:
        if not self._savepoints:
            raise RuntimeError("the transaction is over")
        table = self._tables[cls]
        row = table.rows.get(ref)  # type: ignore[call-overload]
        if row is None:
            raise err.HANDLE_INVALID(cls, ref)
        return table, row

    def _log(self, undo: Callable[..., Any], *arguments: Any) -> None:
        self.undo.append((undo, arguments))

    def _touch(self, row: Row, flags: int) -> None:
        old = self.touched.get(row)
        if old is None:
            self.touched[row] = flags
            self.undo.append((self.touched.__delitem__, (row,)))
        elif old | flags != old:
            self.touched[row] = old | flags
            self.undo.append((self.touched.__setitem__, (row, old)))

    def _write(self, table: Table, row: Row, column: Column, value: Any) -> None:
        kind = column.kind
        if kind == MUTUAL:
            self._write_mutual(table, row, column, tuple(value))
            return
        if kind == MANY:
            raise TypeError(f"{column.cls}.{column.name} is computed from {column.target}")
        if type(value) is not column.python_type:
            value = column.check(value)
        old = column.get(row)
        if old == value:
            return
        if column.index:
            self._reindex(table, row, column, old, value)
        column.put(row, value)
        self.undo.append((column.put, (row, old)))
        self._touch(row, CHANGED | STORED if column.persist else CHANGED)
        if column.triggers:
            self.changes.append((row, column, _refs_of(column, old) + _refs_of(column, value)))
        if kind == SINGLE and column.other:
            self._leave(column, row.ref, old)
            self._enter(column, row.ref, value)

    def _reindex(self, table: Table, row: Row, column: Column, old: str, new: str) -> None:
        if column.index == "uuid":
            self._check_unique(table, new)
            table.uuids.pop(old, None)
            table.uuids[new] = row.ref
            self._log(table.uuids.__setitem__, old, row.ref)
            self._log(table.uuids.__delitem__, new)
        else:
            table.names.discard(old, row.ref)
            table.names.add(new, row.ref)
            self._log(table.names.add, old, row.ref)
            self._log(table.names.discard, new, row.ref)

    def _check_unique(self, table: Table, uuid: str) -> None:
        if uuid in table.uuids:
            raise err.DB_UNIQUENESS_CONSTRAINT_VIOLATION(table.name, "uuid", uuid)

    def _insert(self, table: Table, ref: Ref, given: dict[str, Any]) -> Row:
        if ref in table.rows or ref == NULL_REF:
            raise err.DB_UNIQUENESS_CONSTRAINT_VIOLATION(table.name, "_ref", ref)
        if "uuid" in given:
            self._check_unique(table, given["uuid"])
        row = table.new_row(ref, given)
        ghost = table.ghosts.pop(ref, None)
        if ghost is not None:
            self._log(table.ghosts.__setitem__, ref, ghost)
            for name, collection in ghost.items():
                table.columns[name].put(row, collection)
        table.rows[ref] = row
        self._log(table.rows.__delitem__, ref)
        self._index(table, row, +1)
        self._touch(row, CREATED | (STORED if table.persist else 0))
        if self._database.derived.watches(table):
            self.changes.append((row, None, ()))
        for column in table.columns.values():
            if column.kind == SINGLE and column.other:
                self._enter(column, ref, column.get(row))
        return row

    def _index(self, table: Table, row: Row, sign: int) -> None:
        """Enter a row in its table's indexes, or take it out."""
        for column in table.columns.values():
            if not column.index:
                continue
            value = column.get(row)
            if column.index == "uuid":
                if sign > 0:
                    table.uuids[value] = row.ref
                    self._log(table.uuids.__delitem__, value)
                else:
                    table.uuids.pop(value, None)
                    self._log(table.uuids.__setitem__, value, row.ref)
            elif sign > 0:
                table.names.add(value, row.ref)
                self._log(table.names.discard, value, row.ref)
            else:
                table.names.discard(value, row.ref)
                self._log(table.names.add, value, row.ref)

    # -- collections -----------------------------------------------------

    def _enter(self, column: Column, ref: Ref, target: Ref) -> None:
        """Put ``ref`` into the collection of the object its column points to."""
        if target != NULL_REF:
            table = self._tables[column.target]
            self._add_member(table, target, table.columns[column.other], ref)

    def _leave(self, column: Column, ref: Ref, target: Ref) -> None:
        if target != NULL_REF:
            table = self._tables[column.target]
            self._discard_member(table, target, table.columns[column.other], ref)

    def _add_member(self, table: Table, owner: Ref, column: Column, ref: Ref) -> None:
        collection = table.collection(owner, column)
        if collection is not None and ref in collection:
            return
        table.add_member(owner, column, ref, self._database.next_position())
        self.undo.append((table.discard_member, (owner, column, ref)))
        self._note(table, column, owner, ref)

    def _discard_member(self, table: Table, owner: Ref, column: Column, ref: Ref) -> None:
        position = table.discard_member(owner, column, ref)
        if position is not None:
            self.undo.append((table.add_member, (owner, column, ref, position)))
            self._note(table, column, owner, ref)

    def _note(self, table: Table, column: Column, owner: Ref, ref: Ref) -> None:
        """Count the owner of a changed collection as modified."""
        row = table.rows.get(owner)
        if row is not None:
            self._touch(row, CHANGED | STORED if column.persist else CHANGED)
            if column.triggers:
                self.changes.append((row, column, (ref,)))

    def _write_mutual(self, table: Table, row: Row, column: Column, value: tuple[Ref, ...]) -> None:
        wanted = dict.fromkeys(value)
        for ref in column.get(row):
            if ref not in wanted:
                self._leave_mutual(table, row, column, ref)
        for ref in wanted:
            self._join_mutual(table, row, column, ref)

    def _join_mutual(self, table: Table, row: Row, column: Column, ref: Ref) -> None:
        self._add_member(table, row.ref, column, ref)
        self._enter(column, row.ref, ref)

    def _leave_mutual(self, table: Table, row: Row, column: Column, ref: Ref) -> None:
        self._discard_member(table, row.ref, column, ref)
        self._leave(column, row.ref, ref)


def roll_back(log: UndoLog, mark: int = 0) -> None:
    """Take back the newest entries of an undo log down to a mark."""
    while len(log) > mark:
        undo, arguments = log.pop()
        undo(*arguments)


def _refs_of(column: Column, value: Any) -> tuple[Ref, ...]:
    if not column.target:
        return ()
    return value if isinstance(value, tuple) else (value,)

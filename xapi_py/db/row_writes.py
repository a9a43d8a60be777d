"""Changes of rows, indexes and collections, each with how to take it back."""

from collections.abc import Callable
from typing import Any, Final

from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.derived import Change
from xapi_py.db.row import Row
from xapi_py.db.schema import MANY, MUTUAL, SINGLE, Column
from xapi_py.db.table import Table

CHANGED: Final = 1
CREATED: Final = 2
DELETED: Final = 4
STORED: Final = 8
"""Flags of a touched row; ``STORED``: the engine must hear of it."""

UndoLog = list[tuple[Callable[..., Any], tuple[Any, ...]]]


class RowWrites:
    """Writes that keep indexes and both ends of relations true.

    ``undo`` lists how to take everything back, ``touched`` which rows got
    which flags, ``changes`` what derived fields may depend on.
    """

    def __init__(
        self,
        tables: dict[str, Table],
        next_position: Callable[[], int],
        readers: list[Callable[[Row], None]],
    ) -> None:
        self._tables = tables
        self._next_position = next_position
        self._readers = readers
        self.undo: UndoLog = []
        self.touched: dict[Row, int] = {}
        self.changes: list[Change] = []

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
        for reader in self._readers:
            reader(row)
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
        self._before_change(table, owner)
        table.add_member(owner, column, ref, self._next_position())
        self.undo.append((table.discard_member, (owner, column, ref)))
        self._note(table, column, owner, ref)

    def _discard_member(self, table: Table, owner: Ref, column: Column, ref: Ref) -> None:
        self._before_change(table, owner)
        position = table.discard_member(owner, column, ref)
        if position is not None:
            self.undo.append((table.add_member, (owner, column, ref, position)))
            self._note(table, column, owner, ref)

    def _before_change(self, table: Table, owner: Ref) -> None:
        if self._readers and (row := table.rows.get(owner)) is not None:
            for reader in self._readers:
                reader(row)

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

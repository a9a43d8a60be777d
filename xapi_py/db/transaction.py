"""Writing: one synchronous block that happens as a whole or not at all."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from xapi_py.base.names import NULL_REF, Ref, new_uuid, ref_of_uuid
from xapi_py.datamodel import errors as err
from xapi_py.db.derived import DerivedFields
from xapi_py.db.row import Row
from xapi_py.db.row_writes import CHANGED, CREATED, DELETED, STORED, RowWrites, roll_back
from xapi_py.db.schema import MANY, MUTUAL, SINGLE, Column
from xapi_py.db.table import Table


class Owner(Protocol):
    """What a transaction needs of the database."""

    @property
    def next_position(self) -> Callable[[], int]: ...

    @property
    def before_change(self) -> list[Callable[[Row], None]]: ...

    @property
    def derived(self) -> DerivedFields: ...

    def finish(self, tx: "Transaction") -> None: ...

    def release(self) -> None: ...


class Transaction(RowWrites):
    """The open transaction; use as ``with db.transaction() as tx``.

    Writes are visible at once to whoever reads inside the block.  An
    exception takes back what its own block did, exactly; the outermost block
    then ends without any trace.  No ``await`` inside.
    Every method raises HANDLE_INVALID for an object that does not exist, and
    KeyError or TypeError for a field or value outside the model.
    """

    def __init__(self, database: Owner, tables: dict[str, Table]) -> None:
        super().__init__(tables, database.next_position, database.before_change)
        self._database = database
        self._savepoints: list[tuple[int, int]] = []

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
        for reader in self._readers:
            reader(row)
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

    def recompute(self, cls: str, ref: str) -> None:
        """Compute the derived fields of an object, and those that follow from it, anew.

        For changes that no declared dependency reaches, such as those of an
        object that is referenced one way only.
        """
        _, row = self._find(cls, ref)
        self.changes.append((row, None, ()))

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

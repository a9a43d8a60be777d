"""Doing a transaction again after what came before it was taken back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.db.row import Row
from xapi_py.db.row_writes import CREATED, DELETED
from xapi_py.db.schema import MANY, Column
from xapi_py.db.table import Table
from xapi_py.db.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Redo:
    """What a transaction made of objects that the engine does not keep."""

    created: list[tuple[str, dict[str, Any]]]
    deleted: list[tuple[str, Ref]]
    written: list[tuple[str, Ref, str, Any]]

    @classmethod
    def of(cls, tx: Transaction, tables: dict[str, Table]) -> Self:
        """Read it off a finished transaction."""
        created, deleted = [], []
        for row, flags in tx.touched.items():
            if flags & DELETED:
                if not flags & CREATED:
                    deleted.append((row.api_class, row.ref))
            elif flags & CREATED:
                columns = tables[row.api_class].columns.values()
                values = {c.name: c.get(row) for c in columns if c.kind != MANY}
                created.append((row.api_class, {**values, "ref": row.ref}))
        written = {}
        for undo, arguments in tx.undo:
            # The undo of a field write is the setter of its slot.
            if getattr(undo, "__name__", "") == "__set__":
                row = arguments[0]
                name: str = undo.__self__.__name__  # type: ignore[attr-defined]
                column = tables[row.api_class].columns[name]
                if not column.derived and not tx.touched.get(row, 0) & (CREATED | DELETED):
                    written[row, name] = _written(row, column)
        return cls(created, deleted, list(written.values()))

    def apply(self, transaction: Callable[[], Transaction]) -> None:
        """Do what is still possible; what was lost with the rest stays lost."""
        with transaction() as tx:
            for cls, ref in self.deleted:
                _if_possible(lambda: tx.delete(cls, ref))  # noqa: B023 - called at once
            for cls, values in self.created:
                _if_possible(lambda: tx.create(cls, values))  # noqa: B023
            for cls, ref, name, value in self.written:
                _if_possible(lambda: tx.set(cls, ref, name, value))  # noqa: B023


def _written(row: Row, column: Column) -> tuple[str, Ref, str, Any]:
    return row.api_class, row.ref, column.name, column.get(row)


def _if_possible(step: Callable[[], Any]) -> None:
    try:
        step()
    except ApiError as error:
        if error.code not in ("HANDLE_INVALID", "DB_UNIQUENESS_CONSTRAINT_VIOLATION"):
            raise

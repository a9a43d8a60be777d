"""Fields whose value follows from other fields, also of related objects."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from xapi_py.base.names import Ref
from xapi_py.db.row import RefSet, Row
from xapi_py.db.schema import Column
from xapi_py.db.table import Table
from xapi_py.db.view import View

Dependency = tuple[str, str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Derived:
    """A field that the database computes at the end of each transaction.

    Each dependency names a field whose change matters and the fields to
    follow from the changed object to the object that holds the derived field:
    ``("VBD", "currently_attached", ("VM",))``, or ``()`` for the same object.
    Creation and deletion of the object with the field, and changes of the
    references on the way, count as changes of the field.
    ``compute`` is pure; it runs once for each affected object and
    transaction.  A field it depends on may itself be derived if that one was
    declared earlier.
    """

    cls: str
    field: str
    depends: tuple[Dependency, ...]
    compute: Callable[[View, Row], Any]


@dataclass(frozen=True, slots=True)
class Trigger:
    """What a change of one column asks for.

    ``path`` leads to the derived objects: from the changed row, or, when the
    column is a step of the way (``step``), from the objects it points or
    pointed to.
    """

    order: int
    path: tuple[str, ...]
    step: bool


Change = tuple[Row, Column | None, tuple[Ref, ...]]
"""A changed row, its column (``None``: created or deleted) and the references
that came or went."""


class DerivedFields:
    """All derived fields, and the objects a transaction makes them stale for."""

    def __init__(self, tables: dict[str, Table]) -> None:
        self._tables = tables
        self.fields: list[Derived] = []
        self._of_class: dict[str, list[int]] = {}

    def declare(self, derived: Derived) -> None:
        """Add a field.  ValueError for unknown names or a wrong order."""
        column = self._column(derived.cls, derived.field)
        if column.triggers:
            raise ValueError(f"declare {derived.cls}.{derived.field} before what depends on it")
        order = len(self.fields)
        for cls, name, path in derived.depends:
            if (cls, name) == (derived.cls, derived.field):
                raise ValueError(f"{cls}.{name} depends on itself")
            self._add(self._column(cls, name), Trigger(order, path, step=False))
            at = cls
            for position, step in enumerate(path):
                column = self._column(at, step)
                self._add(column, Trigger(order, path[position + 1 :], step=True))
                at = column.target
                if at not in self._tables:
                    raise ValueError(f"{cls}.{step} does not lead to an object")
            if at != derived.cls:
                raise ValueError(f"{path} from {cls} leads to {at}, not to {derived.cls}")
        self._column(derived.cls, derived.field).derived = True
        self.fields.append(derived)
        self._of_class.setdefault(derived.cls, []).append(order)

    def _add(self, column: Column, trigger: Trigger) -> None:
        if trigger not in column.triggers:
            column.triggers.append(trigger)

    def _column(self, cls: str, name: str) -> Column:
        try:
            return self._tables[cls].columns[name]
        except KeyError:
            raise ValueError(f"no field {cls}.{name}") from None

    def watches(self, table: Table) -> bool:
        """Tell whether creating or deleting such a row can matter."""
        return table.name in self._of_class or any(c.triggers for c in table.columns.values())

    def stale(self, change: Change, todo: dict[int, dict[Row, None]]) -> None:
        """Add the objects that one change makes stale, by field order."""
        row, column, refs = change
        if column is not None:
            self._follow_triggers(row, column, refs, todo)
            return
        table = self._tables[row.api_class]
        if table.rows.get(row.ref) is row:
            for order in self._of_class.get(row.api_class, ()):
                todo.setdefault(order, {})[row] = None
        for column in table.columns.values():
            if column.triggers:
                self._follow_triggers(row, column, _refs_in(column, row), todo)

    def _follow_triggers(
        self, row: Row, column: Column, refs: tuple[Ref, ...], todo: dict[int, dict[Row, None]]
    ) -> None:
        for trigger in column.triggers:
            if trigger.step:
                target = self._tables[column.target].rows
                start = [target[ref] for ref in refs if ref in target]
            else:
                start = [row]
            found = todo.setdefault(trigger.order, {})
            for reached in self._follow(start, trigger.path):
                if self._tables[reached.api_class].rows.get(reached.ref) is reached:
                    found[reached] = None

    def _follow(self, rows: Iterable[Row], path: tuple[str, ...]) -> Iterable[Row]:
        for step in path:
            reached: list[Row] = []
            for row in rows:
                column = self._tables[row.api_class].columns[step]
                target = self._tables[column.target].rows
                reached.extend(target[r] for r in _refs_in(column, row) if r in target)
            rows = reached
        return rows


def _refs_in(column: Column, row: Row) -> tuple[Ref, ...]:
    value = column.get(row)
    if isinstance(value, RefSet | tuple):
        return tuple(value)
    return (value,)

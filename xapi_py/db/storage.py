"""Rows to stored bytes and back, by functions made for each class."""

import json
import math
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson

from xapi_py.base.names import Ref
from xapi_py.datamodel.model import DateTime, Float, Int, MapOf
from xapi_py.db.engines.engine import StoredRow
from xapi_py.db.failures import CorruptDatabase
from xapi_py.db.row import Row, set_generations
from xapi_py.db.schema import MUTUAL, Column, TableDef, reader_of
from xapi_py.db.table import Table

Values = dict[str, Any]
Link = tuple[Column, Ref, tuple[Ref, ...]]
"""A many-to-many column, the object that holds it, and what it holds."""


class RowCodec:
    """Stored form of the rows of one class: its persistent fields as JSON.

    All of them are kept, also those that hold their default, so that a later
    change of a default does not change existing objects.
    """

    def __init__(self, definition: TableDef) -> None:
        self._columns = [c for c in definition.columns.values() if c.persist]
        self._values = _values_function(tuple((c.name, c.kind == MUTUAL) for c in self._columns))
        self._readers: list[tuple[str, Callable[[Any], Any]]] = [
            (c.name, reader)
            for c in self._columns
            if (reader := reader_of(c.field.type)) is not None
        ]
        self._mutual = [c for c in self._columns if c.kind == MUTUAL]
        numbered = any(
            isinstance(t := c.field.type, MapOf) and isinstance(t.key, Int | DateTime | Float)
            for c in self._columns
        )
        self._options = (
            orjson.OPT_NON_STR_KEYS if numbered else 0
        )  # it costs where it is not needed

    def dump(self, row: Row) -> StoredRow:
        """Give the stored form of a row as it is now."""
        values = self._values(row)
        try:
            text = orjson.dumps(values, None, self._options)
            if b"null" in text and any(_odd(v) for v in values.values()):
                raise TypeError("not a finite number")
        except TypeError:  # lone surrogates, huge integers, infinities
            text = json.dumps(values).encode()
        return StoredRow(row.api_class, row.ref, text, row.created_generation, row.modified)

    def load(self, table: Table, stored: StoredRow, links: list[Link]) -> Row:
        """Make the row; fields that are not stored take their defaults.

        Collections of many-to-many relations stay empty, what they held is
        appended to ``links``.  Raises ``CorruptDatabase``.
        """
        values = parse_values(stored)
        try:
            for name, reader in self._readers:
                if name in values:
                    values[name] = reader(values[name])
        except (TypeError, ValueError, AttributeError) as error:
            raise CorruptDatabase(f"{stored.cls} {stored.ref}: {error}") from error
        for column in self._mutual:
            members = values.pop(column.name, None)
            if members:
                links.append((column, Ref(stored.ref), members))
        row = table.new_row(Ref(sys.intern(stored.ref)), values)
        set_generations(row, stored.created, stored.modified)
        return row


def parse_values(stored: StoredRow) -> Values:
    """Parse the stored fields.  Raises ``CorruptDatabase``."""
    try:
        try:
            values = orjson.loads(stored.values)
        except orjson.JSONDecodeError:
            values = json.loads(stored.values)
    except ValueError as error:
        raise CorruptDatabase(f"{stored.cls} {stored.ref}: {error}") from error
    if not isinstance(values, dict):
        raise CorruptDatabase(f"{stored.cls} {stored.ref}: not an object")
    return values


@cache
def _values_function(fields: tuple[tuple[str, bool], ...]) -> Callable[[Row], Values]:
    """Make a function that collects fields of a row by name; those marked become lists."""
    items = ", ".join(f"{n!r}: " + (f"[*row.{n}]" if mark else f"row.{n}") for n, mark in fields)
    namespace: dict[str, Any] = {}
    exec(f"def values(row): return {{{items}}}", namespace)  # names come from the model
    made: Callable[[Row], Values] = namespace["values"]
    return made


def _odd(value: object) -> bool:
    """Tell whether JSON would lose a float in this value."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_odd(v) for v in value.values())
    return False

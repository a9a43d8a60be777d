"""Import from and export to the XML database of the OCaml toolstack."""

from calendar import timegm
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ocaml_compat.sexpr import parse_map, parse_set, render_map, render_set
from ocaml_compat.state_db import StateDb, StateRow, printable
from xapi_py.base.errors import ApiError
from xapi_py.datamodel.model import (
    Bool,
    DateTime,
    Float,
    Int,
    MapOf,
    OptionOf,
    RecordOf,
    SetOf,
    Type,
)
from xapi_py.db.database import Database
from xapi_py.db.row import RefSet, Row
from xapi_py.db.schema import MANY, Column
from xapi_py.db.table import Table
from xapi_py.db.transaction import Transaction

_ROW_REFERENCE = "_ref"  # a copy of the row's reference that every row carries


@dataclass(slots=True)
class ImportReport:
    """What an import brought and what it left out.

    ``unknown_columns`` and ``bad_values`` are keyed by class and database
    name; a bad value was replaced by the default.  ``refused`` objects had a
    reference or uuid that was taken.
    """

    imported: Counter[str] = field(default_factory=Counter)
    unknown_tables: Counter[str] = field(default_factory=Counter)
    unknown_columns: Counter[tuple[str, str]] = field(default_factory=Counter)
    bad_values: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: list[tuple[str, str]] = field(default_factory=list)


def export_database(db: Database, schema: tuple[int, int]) -> StateDb:
    """Give everything persistent in the form of the OCaml toolstack.

    ``schema`` is the version of its database to claim.  Text is cut before a
    character that XML cannot hold, as the OCaml toolstack does.
    """
    tables = {
        name: [_exported(row, table) for row in table.rows.values()] if table.persist else []
        for name, table in sorted(db.tables.items())
    }
    return StateDb(schema, db.generation, tables)


def import_database(db: Database, state: StateDb) -> ImportReport:
    """Create all objects of an XML database in one transaction.

    References to objects that are missing stay as they are.  Fields and
    classes that do not persist are not taken over.
    """
    report = ImportReport()
    with db.transaction() as tx:
        for name, rows in state.tables.items():
            table = db.tables.get(name)
            if table is None:
                if rows:
                    report.unknown_tables[name] += len(rows)
            elif table.persist:
                columns = {c.field.db_name: c for c in table.columns.values()}
                for row in rows:
                    _import_row(tx, name, columns, row, report)
    return report


def _import_row(
    tx: Transaction, cls: str, columns: dict[str, Column], row: StateRow, report: ImportReport
) -> None:
    values: dict[str, Any] = {"ref": row.ref}
    for name, text in row.fields.items():
        if name == _ROW_REFERENCE:
            continue
        column = columns.get(name)
        if column is None:
            report.unknown_columns[cls, name] += 1
        elif column.persist:
            try:
                values[column.name] = value_from_text(column.field.type, text)
            except ValueError:
                report.bad_values[cls, name] += 1
    try:
        tx.create(cls, values)
    except ApiError as error:
        if error.code != "DB_UNIQUENESS_CONSTRAINT_VIOLATION":
            raise
        report.refused.append((cls, row.ref))
    else:
        report.imported[cls] += 1


def _exported(row: Row, table: Table) -> StateRow:
    fields = {_ROW_REFERENCE: str(row.ref)}
    for column in table.columns.values():
        if column.persist or (column.kind == MANY and column.field.persist):
            text = value_to_text(column.field.type, column.get(row))
            if text is not None:
                fields[column.field.db_name] = text
    return StateRow(row.ref, fields, row.created_generation, row.modified)


def value_to_text(t: Type, value: Any) -> str | None:
    """Write a data value as field text; ``None``: the field is left out."""
    match t:
        case Bool():
            return "true" if value else "false"
        case Float():
            return f"{value:.18g}"
        case DateTime():
            return datetime.fromtimestamp(value, UTC).strftime("%Y%m%dT%H:%M:%SZ")
        case SetOf(element):
            members = value if isinstance(value, RefSet | tuple) else tuple(value)
            return render_set(value_to_text(element, v) or "" for v in members)
        case MapOf(key_type, item_type):
            return render_map(
                {
                    value_to_text(key_type, k) or "": value_to_text(item_type, v) or ""
                    for k, v in value.items()
                }
            )
        case OptionOf(element):
            return None if value is None else value_to_text(element, value)
        case RecordOf(_):
            return None
        case _:
            return printable(str(value))


def value_from_text(t: Type, text: str) -> Any:
    """Read field text.  Raises ``ValueError``."""
    match t:
        case Bool():
            if text not in ("true", "false"):
                raise ValueError(f"not a bool: {text!r}")
            return text == "true"
        case Int():
            return int(text)
        case Float():
            return float(text)
        case DateTime():
            return _seconds(text)
        case SetOf(element):
            return tuple(value_from_text(element, v) for v in parse_set(text))
        case MapOf(key_type, item_type):
            return {
                value_from_text(key_type, k): value_from_text(item_type, v)
                for k, v in parse_map(text).items()
            }
        case OptionOf(element):
            return value_from_text(element, text)
        case RecordOf(_):
            raise ValueError("records are never stored")
        case _:
            return text


def _seconds(text: str) -> int:
    """Read ``20170223T09:30:00Z``, also with dashes or without the Z."""
    moment = datetime.strptime(text.replace("-", "").removesuffix("Z"), "%Y%m%dT%H:%M:%S")
    return timegm(moment.timetuple())

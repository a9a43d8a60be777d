"""The data model compiled into tables and columns of the database."""

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from xapi_py.datamodel.model import (
    AnyRecord,
    Bool,
    ClassDef,
    DateTime,
    EnumOf,
    FieldDef,
    Float,
    Int,
    MapOf,
    Model,
    OptionOf,
    RecordOf,
    RefOf,
    SetOf,
    Type,
)
from xapi_py.db.row import EMPTY_REFS, Row

PLAIN: Final = 0
"""A value that takes part in nothing else."""
SINGLE: Final = 1
"""The single end of a relation, or a plain reference without other end."""
MANY: Final = 2
"""The many end of a relation, computed from the single ends."""
MUTUAL: Final = 3
"""Either end of a many-to-many relation."""

_RESERVED = frozenset(Row.__slots__) | {"api_class"}


@dataclass(eq=False, slots=True)
class Column:
    """One field, with what a write to it must keep true."""

    cls: str
    name: str
    field: FieldDef
    kind: int
    persist: bool
    python_type: type
    default: Any
    optional: bool = False
    index: str = ""  # "uuid" or "name_label" where the field is indexed
    target: str = ""  # class that references point to
    other: str = ""  # field at the other end of the relation
    put: Callable[[Row, Any], None] = object.__setattr__  # type: ignore[assignment]
    get: Callable[[Row], Any] = repr
    derived: bool = False
    triggers: list[Any] = dataclasses.field(default_factory=list)  # derived.Trigger

    def check(self, value: Any) -> Any:
        """Give the value as it is stored; TypeError when it cannot be one."""
        if isinstance(value, self.python_type):
            return value
        if self.python_type is tuple:
            return tuple(value)
        if self.python_type is float and isinstance(value, int):
            return float(value)
        if value is None and self.optional:
            return None
        raise TypeError(f"{self.cls}.{self.name} cannot hold {value!r}")


@dataclass(eq=False, slots=True)
class TableDef:
    """One class: its row type and its columns by name."""

    name: str
    persist: bool
    row_type: type[Row]
    columns: dict[str, Column]

    def many_columns(self) -> list[Column]:
        return [c for c in self.columns.values() if c.kind in (MANY, MUTUAL)]


def compile_schema(model: Model) -> dict[str, TableDef]:
    """Build the tables of all classes that live in the database.

    Alerts live there too, although the model gives them no implicit messages.
    """
    return {
        name: _table(definition)
        for name, definition in model.classes.items()
        if definition.in_db or name == "message"
    }


def _table(definition: ClassDef) -> TableDef:
    columns = {name: _column(definition, f) for name, f in definition.fields.items()}
    clash = _RESERVED & columns.keys()
    if clash:
        raise ValueError(f"{definition.name} has fields with reserved names: {sorted(clash)}")
    row_type = _row_type(definition.name, tuple(columns))
    for column in columns.values():
        descriptor = row_type.__dict__[column.name]
        column.put, column.get = descriptor.__set__, descriptor.__get__
    return TableDef(definition.name, definition.persist, row_type, columns)


@cache
def _row_type(name: str, fields: tuple[str, ...]) -> type[Row]:
    return type(f"{name}_row", (Row,), {"__slots__": fields, "api_class": name})


def _column(definition: ClassDef, f: FieldDef) -> Column:
    kind, target, other = _relation(f)
    index = f.name if f.name in ("uuid", "name_label") else ""
    return Column(
        cls=definition.name,
        name=f.name,
        field=f,
        kind=kind,
        persist=definition.persist and f.persist and kind != MANY,
        python_type=_python_type(f.type),
        default=EMPTY_REFS if kind in (MANY, MUTUAL) else f.default,
        optional=isinstance(f.type, OptionOf),
        index=index,
        target=target,
        other=other,
    )


@cache
def _relation(f: FieldDef) -> tuple[int, str, str]:
    """Tell kind, referenced class and field at the other end."""
    target = ""
    match f.type:
        case RefOf(cls) | SetOf(RefOf(cls)):
            target = cls
    single = isinstance(f.type, RefOf)
    relation = f.relation
    # A class related to itself through one field, such as role.subroles, has
    # a direction, so it is stored as it was written.
    if relation is None or (relation.other_cls, relation.other_field) == (f.cls, f.name):
        return (SINGLE if single else PLAIN), target, ""
    if relation.kind == "many-to-many":
        return MUTUAL, target, relation.other_field
    return (SINGLE if single else MANY), target, relation.other_field


@cache
def _python_type(t: Type) -> type:
    match t:
        case Int() | DateTime():
            return int
        case Float():
            return float
        case Bool():
            return bool
        case SetOf(_):
            return tuple
        case MapOf(_, _) | RecordOf(_) | AnyRecord():
            return dict
        case OptionOf(element):
            return _python_type(element)
        case _:
            return str


Reader = Callable[[Any], Any]


def reader_of(t: Type) -> Reader | None:
    """Give what turns a JSON value into a data value; ``None``: nothing to do."""
    match t:
        case SetOf(element):
            read = reader_of(element)
            return tuple if read is None else _tuple_reader(read)
        case MapOf(key, value):
            return _map_reader(key, value)
        case OptionOf(element):
            read = reader_of(element)
            return None if read is None else _option_reader(read)
        case Float():
            return float
        case RefOf(_) | EnumOf(_):
            return sys.intern
        case _:
            return None


def _tuple_reader(read: Reader) -> Reader:
    return lambda values: tuple([read(v) for v in values])


def _option_reader(read: Reader) -> Reader:
    return lambda value: None if value is None else read(value)


def _map_reader(key_type: Type, value_type: Type) -> Reader | None:
    read = reader_of(value_type)
    if isinstance(key_type, Int | DateTime):
        if read is None:
            return lambda v: {int(k): x for k, x in v.items()}
        return lambda v: {int(k): read(x) for k, x in v.items()}
    return None if read is None else lambda v: {k: read(x) for k, x in v.items()}

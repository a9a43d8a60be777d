"""Exchange with the XML database of the OCaml toolstack."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocaml_compat.state_db import StateDb, StateRow, parse, printable, render
from xapi_py.datamodel.model import (
    Bool,
    DateTime,
    Float,
    Int,
    MapOf,
    RefOf,
    SetOf,
    String,
    Type,
)
from xapi_py.db.dict_view import DictView
from xapi_py.db.schema import Column
from xapi_py.db.xml_database import (
    ImportReport,
    export_database,
    import_database,
    value_from_text,
    value_to_text,
)

TEXT = st.text(max_size=12).map(printable)


def values_of(column: Column) -> st.SearchStrategy[Any]:
    """Any value of a column's type."""
    return strategy(column.field.type)


def strategy(t: Type) -> st.SearchStrategy[Any]:
    match t:
        case Int():
            return st.integers(-(2**63), 2**63 - 1)
        case Bool():
            return st.booleans()
        case Float():
            return st.floats(allow_nan=False)
        case DateTime():
            return st.integers(0, 2**33)
        case SetOf(element):
            return st.lists(strategy(element), max_size=3).map(tuple)
        case MapOf(key, value):
            return st.dictionaries(strategy(key), strategy(value), max_size=3)
        case _:
            return TEXT


@pytest.mark.parametrize(
    ("t", "value", "text"),
    [
        (Bool(), True, "true"),
        (Int(), -5, "-5"),
        (Float(), 0.5, "0.5"),
        (DateTime(), 0, "19700101T00:00:00Z"),
        (DateTime(), 1487842200, "20170223T09:30:00Z"),
        (SetOf(RefOf("VM")), ("OpaqueRef:1",), "('OpaqueRef:1')"),
        (MapOf(Int(), Float()), {0: 0.25}, "(('0' '0.25'))"),
        (String(), "it's", "it's"),
    ],
)
def test_field_texts(t: Type, value: Any, text: str) -> None:
    assert value_to_text(t, value) == text
    assert value_from_text(t, text) == value


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_everything_persistent_comes_back(data: st.DataObject) -> None:
    db = DictView()
    skipped = {"uuid", "VM", "VDI", "groups"}
    columns = [c for c in db.tables["VM"].columns.values() if c.persist and c.name not in skipped]
    chosen = data.draw(st.lists(st.sampled_from(columns), max_size=6, unique=True))
    vm = db.add("VM", **{c.name: data.draw(values_of(c)) for c in chosen})
    vbds = tuple(db.add("VBD", VM=vm.ref).ref for _ in range(2))
    db.add("VBD", VM="OpaqueRef:missing")
    update = db.add("pool_update")
    host = db.add("host", updates=(update.ref,))
    state = parse(b"".join(render(export_database(db, (5, 108)))))
    again = DictView()
    report = import_database(again, state)
    assert report == ImportReport(imported=report.imported)
    copy = again.row("VM", vm.ref)
    for column in db.tables["VM"].columns.values():
        if column.persist:
            assert getattr(copy, column.name) == getattr(vm, column.name), column.name
    assert copy.VBDs == vbds
    assert again.row("pool_update", update.ref).hosts == (host.ref,)
    assert again.count("VBD") == 3


def test_what_is_unknown_is_left_out_and_reported() -> None:
    rows = [
        StateRow("OpaqueRef:1", {"_ref": "OpaqueRef:1", "uuid": "u1", "colour": "red"}),
        StateRow("OpaqueRef:2", {"uuid": "u2", "memory__static_max": "much", "tags": "('a'"}),
        StateRow("OpaqueRef:3", {"uuid": "u1"}),
        StateRow("OpaqueRef:1", {"uuid": "u4", "name__label": "again"}),
    ]
    tables = {"VM": rows, "Unicorn": [StateRow("OpaqueRef:9", {})], "Gone": []}
    db = DictView()
    report = import_database(db, StateDb((5, 1), 1, tables))
    assert dict(report.imported) == {"VM": 2}
    assert dict(report.unknown_tables) == {"Unicorn": 1}
    assert dict(report.unknown_columns) == {("VM", "colour"): 1}
    assert dict(report.bad_values) == {("VM", "memory__static_max"): 1, ("VM", "tags"): 1}
    assert report.refused == [("VM", "OpaqueRef:3"), ("VM", "OpaqueRef:1")]
    assert db.row("VM", "OpaqueRef:2").memory_static_max == 0


def test_group_fields_have_two_underscores_and_nothing_volatile_is_written() -> None:
    db = DictView()
    db.add("VM", name_label="x", allowed_operations=("start",))
    db.add("task")
    state = export_database(db, (5, 108))
    (row,) = state.tables["VM"]
    assert row.fields["name__label"] == "x"
    assert "name_label" not in row.fields and "allowed_operations" not in row.fields
    assert state.tables["task"] == []

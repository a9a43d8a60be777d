"""Records: generated encoders, and fragments shared while they are fresh."""

import xmlrpc.client
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from xapi_py.datamodel.model import (
    Bool,
    ClassDef,
    DateTime,
    Float,
    Int,
    MapOf,
    OptionOf,
    SetOf,
    Type,
)
from xapi_py.datamodel.profiles import load_model
from xapi_py.wire.fragments import FragmentCache
from xapi_py.wire.jsonrpc import JsonRpc2
from xapi_py.wire.xmlrpc import XmlRpc

MODEL = load_model("7.1")
VM = MODEL.classes["VM"]


def some(type_: Type) -> Any:
    match type_:
        case Int():
            return 42
        case Bool():
            return True
        case Float():
            return 1.5
        case DateTime():
            return 1487842200
        case SetOf(element):
            return (some(element), some(element))
        case MapOf(_, value):
            return {"<k>": some(value)}
        case OptionOf():
            return None
    return 'te<x>t & "more"'


def make_row(cls: ClassDef = VM, ref: str = "OpaqueRef:1", modified: int = 1) -> Any:
    values = {field.name: some(field.type) for field in cls.wire_fields}
    return SimpleNamespace(**{"ref": ref, **values}, modified=modified)


@pytest.mark.parametrize("cls", MODEL.classes.values(), ids=lambda c: c.name)
def test_every_class_is_encoded_in_full(cls: ClassDef) -> None:
    row = make_row(cls)
    xml = b"".join(XmlRpc().success([XmlRpc().record(row, cls)]))
    (answer,), _ = xmlrpc.client.loads(xml)
    found = answer["Value"]
    plain = orjson.loads(JsonRpc2().record(row, cls))
    assert list(found) == list(plain) == [f.name for f in cls.wire_fields]
    for field in cls.wire_fields:
        value = getattr(row, field.name)
        if isinstance(field.type, Int):
            assert (found[field.name], plain[field.name]) == (str(value), value)
        elif isinstance(field.type, DateTime):
            assert str(found[field.name]) == plain[field.name] == "20170223T09:30:00Z"
        elif isinstance(value, str | bool | float):
            assert found[field.name] == plain[field.name] == value


def test_many_records_are_one_map_in_chunks() -> None:
    rows = [make_row(ref=f"OpaqueRef:{i}") for i in range(3)]
    for dialect in (XmlRpc(), JsonRpc2()):
        chunks = dialect.success(dialect.records(rows, VM), 1)
        if isinstance(dialect, XmlRpc):
            found = xmlrpc.client.loads(b"".join(chunks))[0][0]["Value"]
        else:
            found = orjson.loads(b"".join(chunks))["result"]
        assert list(found) == [row.ref for row in rows]
        empty = b"".join(dialect.records([], VM))
        assert empty in (b"<value><struct></struct></value>", b"{}")


def test_a_fragment_is_made_once_per_generation() -> None:
    dialect = XmlRpc()
    row = make_row()
    first = dialect.record(row, VM)
    row.name_label = "changed but not yet committed"
    assert dialect.record(row, VM) is first
    assert dialect.listed(row, VM) is first
    row.modified = 2
    assert b"changed but" in dialect.record(row, VM)
    assert len(dialect.fragments) == 1


def rows_of(count: int) -> Iterator[Any]:
    return (SimpleNamespace(ref=f"r{i}", modified=1) for i in range(count))


def test_the_cache_stays_below_its_limit_and_drops_the_oldest() -> None:
    cache = FragmentCache(limit_bytes=10_000)
    for row in rows_of(100):
        cache.put(row, VM, b"x" * 800)
    assert cache.used_bytes <= 10_000
    assert [r.ref for r in rows_of(100) if cache.get(r, VM)] == [f"r{i}" for i in range(90, 100)]


def test_a_listing_that_does_not_fit_leaves_the_cache_alone() -> None:
    cache = FragmentCache(limit_bytes=10_000)
    for row in rows_of(100):
        cache.put(row, VM, b"x" * 800, listing=True)
    assert [r.ref for r in rows_of(100) if cache.get(r, VM)] == [f"r{i}" for i in range(10)]


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    cache = FragmentCache(limit_bytes=100)
    (row,) = rows_of(1)
    cache.put(row, VM, b"x" * 800)
    assert (len(cache), cache.used_bytes) == (0, 0)


def test_replacing_a_fragment_counts_its_bytes_once() -> None:
    cache = FragmentCache(limit_bytes=10_000)
    (row,) = rows_of(1)
    for modified in range(50):
        row.modified = modified
        cache.put(row, VM, b"x" * 800)
    assert (len(cache), cache.used_bytes) == (1, 1000)
    cache.clear()
    assert (len(cache), cache.used_bytes) == (0, 0)

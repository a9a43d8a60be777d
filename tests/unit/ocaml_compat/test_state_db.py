"""The XML database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaml_compat.state_db import (
    StateDb,
    StateDbError,
    StateRow,
    parse,
    printable,
    protect,
    render,
    unprotect,
)

SAMPLE = b"""<?xml version="1.0" encoding="UTF-8"?>
<database><manifest><pair key="schema_major_vsn" value="5"/><pair key="schema_minor_vsn"
value="108"/><pair key="generation_count" value="72945"/></manifest>
<table name="Bond"/><table name="VM"><row ref="OpaqueRef:1" __ctime="3" __mtime="9"
_ref="OpaqueRef:1" name__label="my%.vm%%&lt;" other_config="(('a'%.'b'))"/>
<row ref="OpaqueRef:2" name__label="x"/></table></database>"""

XML_TEXT = st.text().map(printable)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda n: n != "ref")
ROWS = st.builds(
    StateRow,
    ref=XML_TEXT,
    fields=st.dictionaries(NAMES, XML_TEXT, max_size=4),
    created=st.integers(0, 2**62),
    modified=st.integers(0, 2**62),
)
DATABASES = st.builds(
    StateDb,
    schema=st.tuples(st.integers(0, 9), st.integers(0, 999)),
    generation=st.integers(0, 2**62),
    tables=st.dictionaries(NAMES, st.lists(ROWS, max_size=3), max_size=3),
    manifest=st.dictionaries(st.sampled_from(["pool_token", "product_brand"]), XML_TEXT),
)


def test_a_known_file() -> None:
    first = StateRow(
        "OpaqueRef:1",
        {"_ref": "OpaqueRef:1", "name__label": "my vm%<", "other_config": "(('a' 'b'))"},
        3,
        9,
    )
    second = StateRow("OpaqueRef:2", {"name__label": "x"})
    assert parse(SAMPLE) == StateDb((5, 108), 72945, {"Bond": [], "VM": [first, second]})


def test_escapes() -> None:
    assert protect("a b\tc\nd\re%") == "a%.b%tc%nd%re%%"
    assert unprotect("a%_b%x%") == "a  b%x%"


@given(st.text())
def test_protected_text_comes_back(text: str) -> None:
    assert unprotect(protect(text)) == text


@given(DATABASES)
def test_what_is_written_is_read_again(database: StateDb) -> None:
    assert parse(b"".join(render(database))) == database


def test_the_reference_is_the_first_attribute_of_a_row() -> None:
    database = StateDb((5, 1), 1, {"VM": [StateRow("OpaqueRef:1", {"a": "b"})]})
    assert b'<row ref="OpaqueRef:1" ' in b"".join(render(database))


@pytest.mark.parametrize("name", ["ref", "__ctime", "a b", "", "1x", "a='1' b"])
def test_impossible_column_names_are_refused(name: str) -> None:
    with pytest.raises(StateDbError):
        list(render(StateDb((5, 1), 1, {"VM": [StateRow("r", {name: "x"})]})))


def test_text_that_xml_cannot_hold_is_refused_and_can_be_cut() -> None:
    with pytest.raises(StateDbError):
        list(render(StateDb((5, 1), 1, {"VM": [StateRow("r", {"a": "x\x00"})]})))
    assert printable("ab\x01cd") == "ab"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<other/>",
        b"<database>",
        b"<database/>",
        SAMPLE.replace(b"<row", b"<cow"),
        SAMPLE.replace(b'value="5"', b'value="x"'),
        SAMPLE.replace(b'ref="OpaqueRef:2"', b""),
        SAMPLE[:-40],
        b'<!DOCTYPE d [<!ENTITY a "x">]>' + SAMPLE.partition(b"\n")[2],
    ],
)
def test_broken_files_are_refused(text: bytes) -> None:
    with pytest.raises(StateDbError):
        parse(text)

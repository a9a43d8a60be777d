"""Metrics as clients read them."""

import contextlib
import json
import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaml_compat import rrd_xml
from ocaml_compat.rrd_xml import Archive, Rrd, RrdError, Source, Xport

numbers = st.sampled_from(
    [0.0, 1.0, 0.125, 1e300, -3.5, math.inf, -math.inf, math.nan, 123456789.0]
)


def same(one: object, other: object) -> bool:
    return repr(one) == repr(other)


@st.composite
def rrds(draw: st.DrawFn) -> Rrd:
    names = draw(st.lists(st.from_regex(r"[a-z_<&0-9]{1,8}", fullmatch=True), max_size=3))
    row = st.lists(numbers, min_size=len(names), max_size=len(names))
    totals = draw(row)
    archives = [
        Archive("AVERAGE", points, draw(st.lists(row, max_size=4)), totals, [1] * len(names))
        for points in draw(st.lists(st.integers(1, 17280), max_size=2))
    ]
    sources = [Source(n, "DERIVE", 300.0, draw(numbers), draw(numbers), 1.0) for n in names]
    return Rrd(5, draw(st.integers(0, 2**40)), sources, archives)


@given(rrds())
def test_archives_come_back(rrd: Rrd) -> None:
    assert same(rrd_xml.parse("".join(rrd_xml.render(rrd)).encode()), rrd)
    json.loads("".join(rrd_xml.render_json(rrd)))


def test_numbers_are_written_as_clients_know_them() -> None:
    values = [0.0, -0.0, 1.0, 0.1, 1 / 3, math.nan, math.inf, -math.inf]
    texts = ["0.0", "0.0", "1", "0.1", "0.333333333333333", "NaN", "Infinity", "-Infinity"]
    assert [rrd_xml.number(v) for v in values] == texts


def test_an_excerpt_has_no_space_and_a_value_for_each_entry() -> None:
    xport = Xport(5, 5, 10, ["AVERAGE:vm:u:cpu0", "AVERAGE:vm:u:m"], [10, 5], [[0.5, 1], [0, 2]])
    text = "".join(rrd_xml.xport_xml(xport))
    assert text == (
        "<xport><meta><start>5</start><step>5</step><end>10</end><rows>2</rows><columns>2</columns>"
        "<legend><entry>AVERAGE:vm:u:cpu0</entry><entry>AVERAGE:vm:u:m</entry></legend></meta>"
        "<data><row><t>10</t><v>0.5</v><v>1</v></row><row><t>5</t><v>0.0</v><v>2</v></row></data>"
        "</xport>"
    )
    whole = json.loads("".join(rrd_xml.xport_json(xport)))
    assert whole["data"] == [{"t": 10, "values": ["0.5", "1"]}, {"t": 5, "values": ["0.0", "2"]}]
    assert whole["meta"]["legend"] == xport.legend and whole["meta"]["rows"] == 2


def test_empty_excerpts_are_well_formed() -> None:
    empty = Xport(0, 5, 0, [], [5], [[]])
    ET.fromstring("".join(rrd_xml.xport_xml(empty)))
    assert json.loads("".join(rrd_xml.xport_json(empty)))["data"] == [{"t": 5, "values": []}]


@given(st.binary(max_size=300), st.integers(0, 600))
def test_damage_is_an_error_of_our_own(damage: bytes, at: int) -> None:
    rrd = Rrd(5, 10, [Source("a")], [Archive("AVERAGE", 1, [[1.0]])])
    text = bytearray("".join(rrd_xml.render(rrd)).encode())
    text[at : at + len(damage)] = damage
    with contextlib.suppress(RrdError):
        rrd_xml.parse(bytes(text))


@pytest.mark.parametrize("text", [b"", b"<rrd></rrd>", b'<!DOCTYPE a [<!ENTITY b "c">]><rrd/>'])
def test_what_is_no_archive_is_refused(text: bytes) -> None:
    with pytest.raises(RrdError):
        rrd_xml.parse(text)

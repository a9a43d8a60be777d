"""Values by declared type: decoded, encoded, and both ways round."""

import math
import xmlrpc.client
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xapi_py.base.errors import ApiError
from xapi_py.datamodel.model import (
    Bool,
    DateTime,
    EnumOf,
    Float,
    Int,
    MapOf,
    OptionOf,
    RecordOf,
    RefOf,
    SetOf,
    String,
    Type,
    Void,
)
from xapi_py.datamodel.profiles import load_model
from xapi_py.wire.decode import decode
from xapi_py.wire.dialect import Dialect
from xapi_py.wire.jsonrpc import JSONRPC1, JSONRPC2, JSONRPC_ELY
from xapi_py.wire.raw import RawBase64, RawDate
from xapi_py.wire.xml_request import parse as parse_xml
from xapi_py.wire.xmlrpc import XMLRPC, XMLRPC_JSON_VALUE, xml_value_text

MODEL = load_model("newest")
AFTER = EnumOf("on_normal_exit")


def xml(value: Any, type_: Type) -> str:
    return XMLRPC.encode(value, type_, MODEL).decode()


@pytest.mark.parametrize(
    ("raw", "type_", "value"),
    [
        ("5", Int(), 5),
        (6, Int(), 6),
        ("0x0d", Int(), 13),
        (True, Bool(), True),
        (1.5, Float(), 1.5),
        (2, Float(), 2.0),
        ("5.5", Float(), 5.5),
        (RawDate("19700101T00:00:01Z"), DateTime(), 1),
        ("1970-01-01T00:00:02Z", DateTime(), 2),
        (" kept ", String(), " kept "),
        ("junk", RefOf("host"), "junk"),
        ("Destroy", AFTER, "destroy"),
        (["a", "b", "a"], SetOf(String()), ("a", "b", "a")),
        ({}, MapOf(String(), String()), {}),
        ({"5": "x"}, MapOf(Int(), String()), {5: "x"}),
        (None, OptionOf(String()), None),
        ("x", OptionOf(String()), "x"),
    ],
)
def test_a_fitting_value_is_decoded(raw: Any, type_: Type, value: Any) -> None:
    found = decode(raw, type_, MODEL)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("raw", "type_"),
    [
        (15.0, Int()),
        (True, Int()),
        (None, Int()),
        (2**63, Int()),
        (" 10 ", Int()),
        (RawDate("20200101T00:00:00Z"), Int()),
        ("true", Bool()),
        (1, Bool()),
        (True, Float()),
        ("x", Float()),
        (5, DateTime()),
        ("yesterday", DateTime()),
        (5, String()),
        (False, String()),
        (None, String()),
        ({}, String()),
        (RawBase64(b"hello"), String()),
        ("\x01", String()),
        ("\uffff", String()),
        ("\ud800", String()),
        (5, RefOf("VM")),
        ("preserve_", AFTER),
        ("", AFTER),
        (True, AFTER),
        ("a", SetOf(String())),
        ({}, SetOf(String())),
        (["a", 5], SetOf(String())),
        ([], MapOf(String(), String())),
        ({"a": 5}, MapOf(String(), String())),
        ({"nosuch": "x"}, MapOf(AFTER, String())),
    ],
)
def test_a_value_that_does_not_fit_is_an_internal_error(raw: Any, type_: Type) -> None:
    with pytest.raises(ApiError) as caught:
        decode(raw, type_, MODEL)
    assert caught.value.code == "INTERNAL_ERROR"


def test_a_record_keeps_known_settable_members_only() -> None:
    raw = {"name_label": "x", "user_version": "1", "nosuch": [], "domid": [], "VBDs": "junk"}
    assert decode(raw, RecordOf("VM"), MODEL) == {"name_label": "x", "user_version": 1}


def array(*texts: str) -> str:
    items = "".join(f"<value>{text}</value>" for text in texts)
    return f"<value><array><data>{items}</data></array></value>"


def member(name: str, text: str) -> str:
    return (
        f"<value><struct><member><name>{name}</name><value>{text}</value></member></struct></value>"
    )


@pytest.mark.parametrize(
    ("value", "type_", "text"),
    [
        (42, Int(), "<value>42</value>"),
        (True, Bool(), "<value><boolean>1</boolean></value>"),
        (1000.0, Float(), "<value><double>1000</double></value>"),
        (3.14159265358979323846, Float(), "<value><double>3.141592653589793</double></value>"),
        (123456789012345678.0, Float(), "<value><double>1.234567890123457e+17</double></value>"),
        (math.nan, Float(), "<value><double>nan</double></value>"),
        (math.inf, Float(), "<value><double>inf</double></value>"),
        (0, DateTime(), "<value><dateTime.iso8601>19700101T00:00:00Z</dateTime.iso8601></value>"),
        ("<>&\"'", String(), "<value>&lt;&gt;&amp;&quot;'</value>"),
        ("a\tb\nc\rd\x00e\x1bf\x7f", String(), "<value>a\tb\nc\rdef\x7f</value>"),
        ("日本語 🚀", String(), "<value>日本語 🚀</value>"),
        ((), SetOf(String()), array()),
        (("a", "<"), SetOf(String()), array("a", "&lt;")),
        ((1,), SetOf(Int()), array("1")),
        ({}, MapOf(String(), Int()), "<value><struct></struct></value>"),
        ({7: "&"}, MapOf(Int(), String()), member("7", "&amp;")),
        ({"<k>": "v"}, MapOf(String(), String()), member("&lt;k&gt;", "v")),
        (None, Void(), "<value></value>"),
    ],
)  # fmt: skip
def test_xml_is_written_without_white_space_or_type_names(
    value: Any, type_: Type, text: str
) -> None:
    assert xml(value, type_) == text
    assert xml_value_text(value, type_, MODEL) == text


@pytest.mark.parametrize(
    ("value", "type_", "newest", "ely"),
    [
        (42, Int(), "42", "42"),
        (True, Bool(), "true", "true"),
        (2.0, Float(), "2.0", "2.000000"),
        (math.nan, Float(), "NaN", "NaN"),
        (math.inf, Float(), "Infinity", "Infinity"),
        (0, DateTime(), '"19700101T00:00:00Z"', '"19700101T00:00:00Z"'),
        ("a/b\"\n", String(), '"a/b\\"\\n"', '"a\\/b\\"\\n"'),
        ((1, 2), SetOf(Int()), "[1,2]", "[1,2]"),
        ((1.5,), SetOf(Float()), "[1.5]", "[1.500000]"),
        ({5: 1}, MapOf(Int(), Int()), '{"5":1}', '{"5":1}'),
        ({"a": 0}, MapOf(String(), DateTime()), *['{"a":"19700101T00:00:00Z"}'] * 2),
        (None, Void(), '""', '""'),
    ],
)  # fmt: skip
def test_json_is_written_as_each_profile_does(
    value: Any, type_: Type, newest: str, ely: str
) -> None:
    assert JSONRPC2.encode(value, type_).decode() == newest
    assert JSONRPC_ELY.encode(value, type_).decode() == ely


def test_the_empty_option_is_left_out_of_a_record() -> None:
    optional = [
        (c.name, f.name)
        for c in MODEL.classes.values()
        for f in c.wire_fields
        if isinstance(f.type, OptionOf)
    ]
    for cls, field in optional:
        assert field not in orjson.loads(JSONRPC1.encode({field: None}, RecordOf(cls), MODEL))
        assert xml({field: None}, RecordOf(cls)) == "<value><struct></struct></value>"


def test_post_json_of_7_1_answers_json_text_inside_xml() -> None:
    fragment = XMLRPC_JSON_VALUE.encode(("a/b",), SetOf(String()))
    answer = b"".join(XMLRPC_JSON_VALUE.success([fragment]))
    (found,), _ = xmlrpc.client.loads(answer)
    assert found == {"Status": "Success", "Value": '["a\\/b"]'}


def scalars() -> st.SearchStrategy[tuple[Type, Any]]:
    text = st.text(
        st.characters(exclude_categories=("Cs",), exclude_characters="\r\ufffe\uffff")
        .filter(lambda c: ord(c) >= 32 or c in "\t\n")
    )  # fmt: skip
    return st.one_of(
        st.tuples(st.just(String()), text),
        st.tuples(st.just(RefOf("VM")), text),
        st.tuples(st.just(Int()), st.integers(-(2**63), 2**63 - 1)),
        st.tuples(st.just(Bool()), st.booleans()),
        st.tuples(st.just(Float()), st.floats(allow_nan=False).map(lambda f: float(f"{f:.15g}"))),
        st.tuples(st.just(DateTime()), st.integers(-(10**10), 10**11)),
        st.tuples(st.just(AFTER), st.sampled_from(MODEL.enums["on_normal_exit"])),
    )


@st.composite
def typed(draw: st.DrawFn) -> tuple[Type, Any]:
    type_, first = draw(scalars())
    kind = draw(st.sampled_from(["scalar", "set", "map"]))
    if kind == "scalar":
        return type_, first
    values = [first, first]
    if kind == "set":
        return SetOf(type_), tuple(values)
    return MapOf(String(), type_), {"k1": first, " <&> ": first}


@given(typed(), st.sampled_from([XMLRPC, JSONRPC1, JSONRPC2]))
def test_every_value_survives_a_round_trip(case: tuple[Type, Any], dialect: Dialect) -> None:
    type_, value = case
    fragment = dialect.encode(value, type_, MODEL)
    if dialect is XMLRPC:
        call = parse_xml(
            b"<methodCall><methodName>m</methodName><params><param>"
            + fragment
            + b"</param></params></methodCall>"
        )
    else:
        call = dialect.parse_request(b'{"method":"m","params":[' + fragment + b'],"id":1}')
    assert dialect.decode(call.params[0], type_, MODEL) == value

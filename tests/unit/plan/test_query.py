"""Query expressions as recorded servers read them."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xapi_py.base.errors import ApiError
from xapi_py.plan import query

LEXING = 'Failure("lexing: empty token")'
PARSING = "Xapi_database.Db_filter_parse.MenhirBasics.Error"

FIELDS = {
    "name__label": lambda row: row.name_label,
    "is_a_template": lambda row: query.stored_text(row.is_a_template),
    "tags": lambda row: query.stored_text(row.tags),
    "VCPUs__max": lambda row: query.stored_text(row.VCPUs_max),
}
ROWS = [
    SimpleNamespace(name_label="q0", is_a_template=False, tags=("t0", "all"), VCPUs_max=1),
    SimpleNamespace(name_label="q1", is_a_template=False, tags=(), VCPUs_max=2),
    SimpleNamespace(name_label="q2", is_a_template=True, tags=("t0", "all"), VCPUs_max=1),
]


def matching(expression: str) -> list[str]:
    test = query.compile_test(query.parse(expression), FIELDS)
    return [row.name_label for row in ROWS if test(row)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('field "name__label" = "q0"', ["q0"]),
        ('field "name__label"="q1"', ["q1"]),
        ('"q0" = field "name__label"', ["q0"]),
        ('field\n"name__label"\t=\n"q0"', ["q0"]),
        ('field "name__label" = "q0" or field "name__label" = "q1"', ["q0", "q1"]),
        ('(field "name__label" = "q0") and (field "is_a_template" = "false")', ["q0"]),
        ('field "is_a_template" = "1"', []),
        ('field "tags" = "t0"', []),
        ("field \"tags\" = \"('t0' 'all')\"", ["q0", "q2"]),
        ('field "tags" = "()"', ["q1"]),
        ('field "VCPUs__max" = "01"', []),
        ("false", []),
        ("((false))", []),
        ("true and false", []),
        ("not true", []),
        ("not not false", []),
        # "not" takes everything that follows.
        ("not false and false", ["q0", "q1", "q2"]),
        ('not field "name__label" = "q0" and false', ["q0", "q1", "q2"]),
        ("false or not true or true", []),
        ('"a" = "a" and field "name__label" = "q0"', ["q0"]),
        ('"a" = "b"', []),
        ('field "name__label" = field "name__label"', ["q0", "q1", "q2"]),
    ],
)  # fmt: skip
def test_matches(expression: str, expected: list[str]) -> None:
    assert matching(expression) == expected


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", PARSING), (" ", PARSING), ("field", PARSING), ('field "name__label"', PARSING),
        ('field "name__label" = ', PARSING), ('field "name__label" == "x"', PARSING),
        ("not", PARSING), ("(", PARSING), ("()", PARSING), ("false)", PARSING),
        ("true false", PARSING), ("and", PARSING), ("false and", PARSING),
        ("true or (true and", PARSING), ('field "is_a_template" = true', PARSING),
        ('field "name__label" = q0', LEXING), ("field 'name__label' = 'x'", LEXING),
        ('field name__label = "x"', LEXING), ('name__label = "x"', LEXING),
        ('field "name__label" != "x"', LEXING), ('field "name__label" < "x"', LEXING),
        ("TRUE", LEXING), ("True", LEXING), ('field "name__label" = "a\\"b"', LEXING),
        ('field "name__label" = "a"b"', LEXING), ("false AND true", LEXING),
        ("false && true", LEXING), ("false;", LEXING), ("1", LEXING), ("bad(", LEXING),
        ('field "name__label" contains "qry"', LEXING),
    ],
)  # fmt: skip
def test_bad_syntax(expression: str, reason: str) -> None:
    with pytest.raises(ApiError) as caught:
        query.parse(expression)
    assert caught.value.description == ["INVALID_VALUE", expression, reason]


def test_unknown_field() -> None:
    with pytest.raises(ApiError) as caught:
        matching('field "name_label" = "q0"')
    assert caught.value.description == ["INTERNAL_ERROR", "missing field", "name_label", ""]


@pytest.mark.parametrize("text", ["(" * 5000 + "true" + ")" * 5000, "not " * 5000 + "true"])
def test_deep_nesting_is_refused_not_a_crash(text: str) -> None:
    with pytest.raises(ApiError, match="INVALID_VALUE"):
        query.parse(text)


def test_long_flat_expressions_are_fine() -> None:
    text = " or ".join(f'field "name__label" = "x{n}"' for n in range(2000)) + ' or "a" = "a"'
    assert matching(text) == ["q0", "q1", "q2"]


@given(st.text(max_size=60))
def test_any_text_parses_or_is_invalid_value(text: str) -> None:
    try:
        query.parse(text)
    except ApiError as error:
        assert error.code == "INVALID_VALUE"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"), (-1, "-1"), (1.0, "1"), (0.25, "0.25"), ((), "()"), ({}, "()"),
        ({"order": "dc"}, "(('order' 'dc'))"), (("a'b",), "('a\\'b')"), ("plain", "plain"),
    ],
)  # fmt: skip
def test_stored_text(value: Any, text: str) -> None:
    assert query.stored_text(value) == text


@pytest.mark.parametrize(
    ("expression", "key"),
    [
        ('field "uuid" = "u"', ("uuid", "u")),
        ('field "is_a_template" = "true" and "n" = field "name__label"', ("name__label", "n")),
        ('field "uuid" = "u" or true', None),
        ('not field "uuid" = "u"', None),
    ],
)
def test_unique_key(expression: str, key: tuple[str, str] | None) -> None:
    assert query.unique_key(query.parse(expression)) == key

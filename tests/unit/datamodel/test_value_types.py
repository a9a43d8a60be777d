"""Types are interned and have a notation."""

import pytest

from xapi_py.datamodel.value_types import (
    EnumOf,
    Int,
    MapOf,
    OptionOf,
    RecordOf,
    RefOf,
    SetOf,
    String,
    parse_type,
)

NESTED = "map(ref VM->map(string->set(record data_source)))"


def test_equal_types_are_the_same_object() -> None:
    assert RefOf("VM") is RefOf("VM")
    assert RefOf("VM") is not RefOf("VDI")
    assert SetOf(RefOf("VM")) is parse_type("set(ref VM)")
    assert parse_type(NESTED) is parse_type(NESTED)
    assert String() is String()


def test_nested_notation_is_parsed_and_printed() -> None:
    parsed = parse_type(NESTED)
    assert parsed is MapOf(RefOf("VM"), MapOf(String(), SetOf(RecordOf("data_source"))))
    assert str(parsed) == NESTED
    assert parse_type("option(enum vm_operations)") is OptionOf(EnumOf("vm_operations"))


@pytest.mark.parametrize("text", ["", "strings", "set(", "set()", "map(string)", "map(int->)"])
def test_nonsense_is_no_type(text: str) -> None:
    with pytest.raises(ValueError):
        parse_type(text)


def test_types_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        RefOf("VM").cls = "VDI"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Int().notation = "text"  # type: ignore[misc]

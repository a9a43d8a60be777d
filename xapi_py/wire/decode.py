"""Apply declared types to raw values, as leniently as clients rely on.

Source: facts/wire.md "Values", traces "types" and "text".
"""

import re
from collections.abc import Callable
from typing import Any

from xapi_py.datamodel.model import (
    AnyRecord,
    Bool,
    ClassDef,
    DateTime,
    EnumOf,
    Float,
    Int,
    MapOf,
    Model,
    OptionOf,
    RecordOf,
    SetOf,
    Type,
    Void,
)
from xapi_py.wire.errors import internal_error
from xapi_py.wire.raw import Raw, RawDate, describe
from xapi_py.wire.scalars import INT64_MAX, INT64_MIN, parse_date, parse_float, parse_int

Decoder = Callable[[Raw], Any]

_NOT_STORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

_decoders: dict[tuple[Type, Model], Decoder] = {}


def decode(raw: Raw, type_: Type, model: Model) -> Any:
    """Give the data value of a raw value of the declared type.

    Errors: INTERNAL_ERROR when the value does not fit.
    """
    return decoder(type_, model)(raw)


def decoder(type_: Type, model: Model) -> Decoder:
    """Give the function that decodes values of a type; made once per type."""
    found = _decoders.get((type_, model))
    if found is None:
        found = _decoders[type_, model] = _make(type_, model)
    return found


def _make(type_: Type, model: Model) -> Decoder:
    match type_:
        case Int():
            return decode_int
        case Bool():
            return decode_bool
        case Float():
            return decode_float
        case DateTime():
            return decode_date
        case EnumOf(name):
            return _enum_decoder(name, model.enums[name])
        case SetOf(element):
            return _set_decoder(decoder(element, model))
        case MapOf(key, value):
            return _map_decoder(decoder(key, model), decoder(value, model))
        case OptionOf(element):
            return _option_decoder(decoder(element, model))
        case RecordOf(cls):
            return _record_decoder(model.classes[cls], model)
        case Void():
            return _decode_void
        case AnyRecord():
            return _decode_any
    return decode_string


def decode_string(raw: Raw) -> str:
    """Decode a string or reference: only strings, of storable characters."""
    if type(raw) is not str:
        raise internal_error(f"a string is expected here, not {describe(raw)}")
    if not raw.isprintable() and _NOT_STORABLE.search(raw):
        raise internal_error("a string holds a character that cannot be stored")
    return raw


def decode_int(raw: Raw) -> int:
    """Decode an integer: an int, or a string in OCaml's integer syntax."""
    if type(raw) is int:
        if INT64_MIN <= raw <= INT64_MAX:
            return raw
        raise internal_error(f"the integer {str(raw)[:40]} is beyond 64 bits")
    if type(raw) is not str:
        raise internal_error(f"an integer is expected here, not {describe(raw)}")
    if len(raw) < 18 and raw.isdecimal() and raw.isascii():
        return int(raw)
    try:
        return parse_int(raw)
    except ValueError as error:
        raise internal_error(str(error)) from error


def decode_bool(raw: Raw) -> bool:
    """Decode a boolean: only booleans."""
    if type(raw) is not bool:
        raise internal_error(f"a boolean is expected here, not {describe(raw)}")
    return raw


def decode_float(raw: Raw) -> float:
    """Decode a float: a float, an int, or a string in OCaml's float syntax."""
    if type(raw) is float:
        return raw
    if type(raw) is int:
        return float(raw)
    if type(raw) is not str:
        raise internal_error(f"a float is expected here, not {describe(raw)}")
    try:
        return parse_float(raw)
    except ValueError as error:
        raise internal_error(str(error)) from error


def decode_date(raw: Raw) -> int:
    """Decode a date: a date element or a string, as unix seconds."""
    if isinstance(raw, RawDate):
        text = raw.text
    elif type(raw) is str:
        text = raw
    else:
        raise internal_error(f"a date is expected here, not {describe(raw)}")
    try:
        return parse_date(text)
    except ValueError as error:
        raise internal_error(str(error)) from error


def _decode_void(raw: Raw) -> None:
    return None


def _decode_any(raw: Raw) -> Any:
    return raw


def _enum_decoder(name: str, values: tuple[str, ...]) -> Decoder:
    table = {value.lower(): value for value in values}

    def decode_enum(raw: Raw) -> str:
        found = table.get(raw) or table.get(raw.lower()) if type(raw) is str else None
        if found is None:
            raise internal_error(f"{describe(raw)} is no value of {name}")
        return found

    return decode_enum


def _set_decoder(element: Decoder) -> Decoder:
    def decode_set(raw: Raw) -> tuple[Any, ...]:
        if type(raw) is not list:
            raise internal_error(f"an array is expected here, not {describe(raw)}")
        return tuple([element(item) for item in raw])

    return decode_set


def _map_decoder(key: Decoder, value: Decoder) -> Decoder:
    def decode_map(raw: Raw) -> dict[Any, Any]:
        if type(raw) is not dict:
            raise internal_error(f"a struct is expected here, not {describe(raw)}")
        return {key(name): value(item) for name, item in raw.items()}

    return decode_map


def _option_decoder(inner: Decoder) -> Decoder:
    return lambda raw: None if raw is None else inner(raw)


def _record_decoder(class_def: ClassDef, model: Model) -> Decoder:
    """Decode the struct given to a constructor: the known members present.

    Unknown members and those of dynamic fields are ignored whatever they hold.
    """
    members: dict[str, Decoder] | None = None

    def decode_record(raw: Raw) -> dict[str, Any]:
        nonlocal members
        if members is None:
            members = {
                field.name: decoder(field.type, model)
                for field in class_def.wire_fields
                if field.qualifier != "dynamic"
            }
        if type(raw) is not dict:
            raise internal_error(f"a struct is expected here, not {describe(raw)}")
        return {name: member(raw[name]) for name, member in members.items() if name in raw}

    return decode_record

"""Records of an export as data values; writers differ in how they put types."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ocaml_compat.xmlrpc_value import Date, Value
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.model import (
    Bool,
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
)

Fields = dict[str, Any]

_DATE = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d):(\d\d):(\d\d)Z?", re.ASCII)


def fields_of(model: Model, cls: str, snapshot: Mapping[str, Value]) -> Fields:
    """Give the fields a record holds.

    Those the model does not know are left out, and so are values that are no
    longer, or not yet, in an enumeration.  Errors: IMPORT_ERROR naming a field
    whose value makes no sense.
    """
    fields: Fields = {}
    for item in model.classes[cls].wire_fields:
        if item.name not in snapshot or isinstance(item.type, RecordOf):
            continue
        value = snapshot[item.name]
        if isinstance(item.type, EnumOf) and value not in model.enums[item.type.name]:
            continue
        try:
            fields[item.name] = _read(item.type, value)
        except (TypeError, ValueError, OverflowError) as error:
            raise err.IMPORT_ERROR(f"{cls}.{item.name}: {error}") from error
    return fields


def _read(kind: Type, value: Value) -> Any:
    match kind:
        case SetOf(element):
            if not isinstance(value, list):
                raise TypeError("an array is expected")
            return tuple(_read(element, item) for item in value)
        case MapOf(key, element):
            if not isinstance(value, dict):
                raise TypeError("a struct is expected")
            return {_read(key, name): _read(element, item) for name, item in value.items()}
        case OptionOf(element):
            return None if value is None else _read(element, value)
    if isinstance(value, list | dict) or value is None:
        raise TypeError("a plain value is expected")
    return _scalar(kind, value)


def _scalar(kind: Type, value: Any) -> Any:
    match kind:
        case Int():
            number = int(value)
            if not -(2**63) <= number < 2**63:
                raise ValueError(f"{number} has more than 64 bits")
            return number
        case Bool():
            if str(value).lower() not in ("true", "false", "1", "0"):
                raise ValueError(f"{value!r} is no boolean")
            return str(value).lower() in ("true", "1")
        case Float():
            return float(value)
        case DateTime():
            return _seconds(value.text if isinstance(value, Date) else str(value))
        case _:
            return value.text if isinstance(value, Date) else str(value)


def _seconds(text: str) -> int:
    found = _DATE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no date")
    year, month, day, hour, minute, second = map(int, found.groups())
    return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())

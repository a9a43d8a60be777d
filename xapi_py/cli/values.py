"""Printed values that also know what they are, for output in json and yaml."""

import math
from typing import Any

from xapi_py.base.names import NULL_REF
from xapi_py.cli.context import NOT_IN_DATABASE, Context
from xapi_py.cli.rendering import value_text
from xapi_py.cli.table import FieldSpec
from xapi_py.datamodel.model import Bool, Float, Int, MapOf, OptionOf, RefOf, SetOf, Type


class Value(str):
    """A text, and the bool, number, list, map or None it stands for."""

    data: object

    def __new__(cls, text: str, data: object) -> "Value":
        made = super().__new__(cls, text)
        made.data = data
        return made


def data_of(text: str) -> object:
    """Give what a text stands for: itself, unless it is a ``Value``."""
    return text.data if isinstance(text, Value) else str(text)


def typed(context: Context, value: Any, kind: Type) -> object:
    """Give a value of the API for json: no reference (their uuids), no tuple, no NaN."""
    match kind:
        case Bool() | Int():
            return value
        case Float():
            return value if math.isfinite(value) else str(value)
        case RefOf(cls):
            found = NOT_IN_DATABASE if value in (NULL_REF, "") else context.uuid(cls, value)
            return None if found == NOT_IN_DATABASE else found
        case SetOf(element):
            return [typed(context, v, element) for v in value]
        case MapOf(key, item):
            return {value_text(context, k, key): typed(context, v, item) for k, v in value.items()}
        case OptionOf(element):
            return None if value is None else typed(context, value, element)
        case _:
            return value_text(context, value, kind)


def split_text(field: FieldSpec, text: str, several: bool = False) -> object:
    """Give the list or map that a field's text was made from; the text if it is neither.

    ``several`` makes a list of a field that is not known as a set.
    """
    if not (several or field.is_set or field.is_map):
        return None if text == NOT_IN_DATABASE else text
    parts = text.split(field.separator) if text else []
    if several or field.is_set:
        return parts
    return dict(part.partition(": ")[::2] for part in parts)

"""Whether a data value is of a type of the model."""

from collections.abc import Iterable, Mapping

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
    Void,
)


def conforms(value: object, kind: Type, model: Model) -> bool:
    """Whether ``value`` is what the wire would give for ``kind``."""
    match kind:
        case Bool():
            return isinstance(value, bool)
        case Int() | DateTime():
            return isinstance(value, int) and not isinstance(value, bool)
        case Float():
            return isinstance(value, float)
        case EnumOf(name):
            return value in model.enums[name]
        case SetOf(element):
            return isinstance(value, tuple) and _all(value, element, model)
        case MapOf(key, item):
            return (
                isinstance(value, Mapping)
                and _all(value.keys(), key, model)
                and _all(value.values(), item, model)
            )
        case OptionOf(element):
            return value is None or conforms(value, element, model)
        case RecordOf():
            return isinstance(value, Mapping)
        case Void():
            return value is None
        case _:
            return isinstance(value, str)


def _all(values: Iterable[object], kind: Type, model: Model) -> bool:
    return all(conforms(value, kind, model) for value in values)

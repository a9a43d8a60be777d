"""Take the types of the data model apart, for decoders and encoders."""

from typing import Any

from xapi_py.datamodel.value_types import Type


def shape_of(type_: object) -> tuple[str, tuple[Any, ...]]:
    """Give the name of a type's constructor and its arguments in order.

    ``SetOf(RefOf("VM"))`` gives ``("SetOf", (RefOf("VM"),))``.
    """
    if not isinstance(type_, Type):
        raise TypeError(f"{type_!r} is no type of the data model")
    kind = type(type_)
    names = tuple(kind.__dict__.get("__annotations__", ()))
    return kind.__name__, tuple(getattr(type_, name) for name in names)

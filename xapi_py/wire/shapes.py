"""Take the types of the data model apart, for decoders and encoders."""

from dataclasses import fields, is_dataclass
from typing import Any


def shape_of(type_: object) -> tuple[str, tuple[Any, ...]]:
    """Give the name of a type's constructor and its arguments in order.

    ``SetOf(RefOf("VM"))`` gives ``("SetOf", (RefOf("VM"),))``.
    """
    if not is_dataclass(type_):
        raise TypeError(f"{type_!r} is no type of the data model")
    return type(type_).__name__, tuple(getattr(type_, field.name) for field in fields(type_))

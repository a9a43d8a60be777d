"""Text a user typed as values of the API's types."""

import re
from typing import Any

from xapi_py.base.names import NULL_REF
from xapi_py.cli.context import Context
from xapi_py.cli.problems import CommandFailed
from xapi_py.cli.rendering import enum_value
from xapi_py.cli.words import parse_bool
from xapi_py.datamodel.model import (
    Bool,
    DateTime,
    EnumOf,
    Float,
    Int,
    MapOf,
    OptionOf,
    RefOf,
    SetOf,
    Type,
)
from xapi_py.wire.scalars import parse_date, parse_float, parse_int

_SIZE = re.compile(r"([0-9]+)\s*(bytes|B|[KMGT]iB|[KMGT]B|[KMGT])?", re.IGNORECASE | re.ASCII)
_POWERS = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE_WORDS = ("memory", "size", "target", "static", "dynamic", "min", "max", "total")


def parse_size(name: str, text: str) -> int:
    """Read a number of bytes; suffixes are powers of 1024.  Errors: CommandFailed."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise CommandFailed(
            f"Failed to parse field '{name}': expecting an integer "
            f"(possibly with suffix KiB, MiB, GiB, TiB), got '{text}'"
        )
    power: int = _POWERS[match[2][0].lower()] if match[2] else 0
    return int(match[1]) * int(1024**power)


def parse_value(context: Context, name: str, text: str, kind: Type) -> Any:
    """Read the text of parameter ``name`` as a type of the model.

    References are given by uuid, sets as comma separated lists.
    Errors: CommandFailed, UUID_INVALID.
    """
    match kind:
        case Bool():
            return parse_bool(name, text)
        case Int():
            return _parse_int(name, text)
        case Float():
            return _checked(name, text, parse_float, "a floating-point number")
        case DateTime():
            return _checked(name, text, parse_date, "a date such as 20260131T23:59:59Z")
        case EnumOf(enum):
            values = context.model.enums[enum]
            found = enum_value(enum, values, text)
            if found is None:
                raise CommandFailed(
                    f"Failed to parse parameter '{name}': expecting one of "
                    f"{', '.join(values)}, got '{text}'"
                )
            return found
        case RefOf(cls):
            return context.by_uuid(cls, text) if text else NULL_REF
        case SetOf(element):
            parts = [part.strip() for part in text.split(",")]
            return tuple(parse_value(context, name, p, element) for p in parts if p)
        case MapOf():
            pairs = (part.partition("=") for part in text.split(",") if part)
            return parse_members(context, name, {k: v for k, _, v in pairs}, kind)
        case OptionOf(element):
            return parse_value(context, name, text, element)
        case _:
            return text


def parse_members(context: Context, name: str, members: dict[str, str], kind: MapOf) -> Any:
    """Read the members of a map parameter."""
    return {
        parse_value(context, name, key, kind.key): parse_value(context, name, value, kind.value)
        for key, value in members.items()
    }


def _parse_int(name: str, text: str) -> int:
    if any(word in name for word in _SIZE_WORDS) and "VCPUs" not in name:
        return parse_size(name, text)
    return int(_checked(name, text, parse_int, "an integer"))


def _checked(name: str, text: str, read: Any, wanted: str) -> Any:
    try:
        return read(text)
    except ValueError:
        raise CommandFailed(f"Failed to parse parameter '{name}': expecting {wanted}") from None

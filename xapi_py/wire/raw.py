"""Values as they were sent, before their declared type is applied.

A raw value is None, bool, int (64 bit), float, str, ``RawDate``,
``RawBase64``, a list of raw values or a dict from str to raw values.  A
struct that names a member twice keeps the last one.
"""

from dataclasses import dataclass
from typing import Any

Raw = Any
"""A raw value; see the module's docstring for what it can be."""


@dataclass(frozen=True, slots=True)
class RawDate:
    """The text of a ``dateTime.iso8601`` element, not yet understood."""

    text: str


@dataclass(frozen=True, slots=True)
class RawBase64:
    """The decoded content of a ``base64`` element."""

    data: bytes


@dataclass(slots=True)
class RawCall:
    """A call as it came: method name, positional parameters and request id.

    ``id`` is 0 over XML-RPC, else an int or a str.
    """

    method: str
    params: list[Raw]
    id: int | str = 0


def describe(raw: Raw) -> str:
    """Name a raw value for an error text, shortened."""
    if raw is None:
        return "nil"
    if isinstance(raw, RawDate):
        text = f"the date {raw.text}"
    elif isinstance(raw, RawBase64):
        text = f"{len(raw.data)} bytes of base64"
    elif isinstance(raw, list):
        text = f"an array of {len(raw)}"
    elif isinstance(raw, dict):
        text = f"a struct of {len(raw)}"
    else:
        name = {bool: "boolean", int: "int", float: "float", str: "string"}.get(type(raw), "value")
        text = f"the {name} {raw!r}"
    return text if len(text) <= 80 else text[:77] + "..."

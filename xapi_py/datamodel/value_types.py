"""Types of API values, interned: equal types are the same object."""

from dataclasses import dataclass
from typing import Any, ClassVar

_interned: dict[tuple[object, ...], Any] = {}


class _Interned(type):
    """Metaclass that answers the existing instance for the same arguments."""

    def __call__(cls, *args: Any) -> Any:
        key = (cls, *args)
        found = _interned.get(key)
        if found is None:
            found = _interned[key] = super().__call__(*args)
        return found


class Type(metaclass=_Interned):
    """Any type of the data model; ``str()`` gives its notation.

    Instances are interned, so ``is`` compares them and they hash by identity.
    """

    __slots__ = ()
    notation: ClassVar[str] = ""

    def __str__(self) -> str:
        return self.notation


class String(Type):
    """Text; enum values and references are text too but have own types."""

    __slots__ = ()
    notation = "string"


class SecretString(Type):
    """Text that must never reach a log."""

    __slots__ = ()
    notation = "secret_string"


class Int(Type):
    """A 64 bit signed integer."""

    __slots__ = ()
    notation = "int"


class Float(Type):
    """A double precision number."""

    __slots__ = ()
    notation = "float"


class Bool(Type):
    """A truth value."""

    __slots__ = ()
    notation = "bool"


class DateTime(Type):
    """A moment in whole unix seconds, UTC; 0 is the zero date."""

    __slots__ = ()
    notation = "datetime"


class Void(Type):
    """No value."""

    __slots__ = ()
    notation = "void"


class AnyRecord(Type):
    """The record of whichever class an event is about."""

    __slots__ = ()
    notation = "any_record"


@dataclass(frozen=True, slots=True, eq=False)
class RefOf(Type):
    """A reference to a row of class ``cls``."""

    cls: str

    def __str__(self) -> str:
        return f"ref {self.cls}"


@dataclass(frozen=True, slots=True, eq=False)
class RecordOf(Type):
    """A record of class ``cls``: a dict by wire field name."""

    cls: str

    def __str__(self) -> str:
        return f"record {self.cls}"


@dataclass(frozen=True, slots=True, eq=False)
class EnumOf(Type):
    """One of the wire values of the enumeration ``name``."""

    name: str

    def __str__(self) -> str:
        return f"enum {self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class SetOf(Type):
    """A set of ``element``; the data value is a tuple."""

    element: Type

    def __str__(self) -> str:
        return f"set({self.element})"


@dataclass(frozen=True, slots=True, eq=False)
class MapOf(Type):
    """A map; the data value is a dict that is never changed in place."""

    key: Type
    value: Type

    def __str__(self) -> str:
        return f"map({self.key}->{self.value})"


@dataclass(frozen=True, slots=True, eq=False)
class OptionOf(Type):
    """A value that may be absent; absent is ``None``."""

    element: Type

    def __str__(self) -> str:
        return f"option({self.element})"


_PLAIN: dict[str, Type] = {
    str(t): t
    for t in (
        String(),
        SecretString(),
        Int(),
        Float(),
        Bool(),
        DateTime(),
        Void(),
        AnyRecord(),
    )
}
_parsed: dict[str, Type] = dict(_PLAIN)


def parse_type(text: str) -> Type:
    """Give the type a notation such as ``map(string->ref VM)`` stands for.

    Raises ``ValueError`` for anything else.  O(1) for a notation seen before.
    """
    found = _parsed.get(text)
    if found is None:
        found = _parsed[text] = _parse(text)
    return found


def _parse(text: str) -> Type:
    for prefix, simple in (("ref ", RefOf), ("record ", RecordOf), ("enum ", EnumOf)):
        if text.startswith(prefix):
            return simple(text[len(prefix) :])
    if text.endswith(")"):
        if text.startswith("set("):
            return SetOf(parse_type(text[4:-1]))
        if text.startswith("option("):
            return OptionOf(parse_type(text[7:-1]))
        if text.startswith("map("):
            key, value = _split_map(text[4:-1])
            return MapOf(parse_type(key), parse_type(value))
    raise ValueError(f"not a type: {text!r}")


def _split_map(text: str) -> tuple[str, str]:
    """Split at the arrow that is inside no parentheses."""
    depth = 0
    for i, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0 and text.startswith("->", i):
            return text[:i], text[i + 2 :]
    raise ValueError(f"no arrow in map type: {text!r}")

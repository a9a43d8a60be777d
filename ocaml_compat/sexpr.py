"""S-expressions as the toolstack writes sets and maps into text fields.

``('a' 'b')`` is a set, ``(('k' 'v') ('k2' 'v2'))`` a map.  Strings are in
single quotes; a backslash makes the next character (quote or backslash) plain.
Readers also take double quotes, bare words, any white space and comments
from ``;`` to the end of the line.
Source: xapi-project/xen-api, ocaml/libs/sexpr.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

Sexpr: TypeAlias = "str | list[Sexpr]"

_TOKEN: Final = re.compile(
    r"""[ \t\r\n]+ | ;[^\n]*(?:\n|$)
    | "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>(?:[^'\\]|\\.)*)'
    | (?P<bracket>[()]) | (?P<word>[^"' \t\n()][^" \t\n()]*)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "'": "\\'"})


class SexprError(ValueError):
    """The text is no s-expression, or not of the expected form."""


def render(value: Sexpr) -> str:
    """Write a value; lists may be nested to any depth."""
    if isinstance(value, str):
        return f"'{value.translate(_ESCAPES)}'"
    return f"({' '.join(map(render, value))})"


def parse(text: str) -> Sexpr:
    """Read exactly one value.  Raises ``SexprError``."""
    top: list[Sexpr] = []
    outer: list[list[Sexpr]] = []
    current, at = top, 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise SexprError(f"cannot read an s-expression at {text[at : at + 20]!r}")
        at = token.end()
        match token.lastgroup:
            case "bracket" if token["bracket"] == "(":
                outer.append(current)
                current = []
            case "bracket":
                if not outer:
                    raise SexprError("closing bracket without an opening one")
                outer[-1].append(current)
                current = outer.pop()
            case "word":
                current.append(token["word"])
            case "single" | "double" as quote:
                current.append(_ESCAPED.sub(r"\1", token[quote]))
    if outer or len(top) != 1:
        raise SexprError(f"not one complete s-expression: {text[:60]!r}")
    return top[0]


def render_set(items: Iterable[str]) -> str:
    """Write a set of strings."""
    return render(list(items))


def render_map(items: Mapping[str, str]) -> str:
    """Write a map of strings."""
    return render([[key, value] for key, value in items.items()])


def parse_set(text: str) -> list[str]:
    """Read a set of strings, in order.  Raises ``SexprError``."""
    value = parse(text)
    if isinstance(value, list):
        items = [item for item in value if isinstance(item, str)]
        if len(items) == len(value):
            return items
    raise SexprError(f"not a set of strings: {text[:60]!r}")


def parse_map(text: str) -> dict[str, str]:
    """Read a map of strings, in order.  Raises ``SexprError``."""
    value = parse(text)
    found: dict[str, str] = {}
    for pair in value if isinstance(value, list) else [value]:
        match pair:
            case [str(key), str(item)]:
                found[key] = item
            case _:
                raise SexprError(f"not a map of strings: {text[:60]!r}")
    return found

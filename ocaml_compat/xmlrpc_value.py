"""One XML-RPC value as a document of its own: ova.xml and ``task.result``.

    <value><struct><member><name>id</name><value>Ref:0</value></member></struct></value>

Text without an element of its own is a string, and so is what the OCaml
toolstack writes for an integer.  White space between elements means nothing.
Source: xmlrpc.com/spec; xapi-project/xen-api, ocaml/xapi (importexport).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from xml.parsers import expat

MAX_DEPTH: Final = 64

_SPECIAL: Final = re.compile('[<>&"\x00-\x08\x0b\x0c\x0e-\x1f\r\ufffe\uffff\ud800-\udfff]')
_ESCAPES: Final = {"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;", "\r": "&#13;"}


@dataclass(frozen=True, slots=True)
class Date:
    """The text of a ``dateTime.iso8601`` element."""

    text: str


Value: TypeAlias = "None | bool | int | float | str | Date | Sequence[Value] | Mapping[str, Value]"


class XmlRpcValueError(ValueError):
    """The text is no XML-RPC value, or the value cannot be written as one."""


def escape(text: str) -> str:
    """Escape markup; characters that XML cannot carry are left out."""
    return _SPECIAL.sub(lambda found: _ESCAPES.get(found[0], ""), text)


def render(value: Value) -> str:
    """Write a value without white space between elements; integers as bare text."""
    pieces: list[str] = []
    _render(value, pieces)
    return "".join(pieces)


def _render(value: Value, out: list[str]) -> None:
    match value:
        case None:
            out.append("<value></value>")
        case bool():
            out.append(f"<value><boolean>{int(value)}</boolean></value>")
        case int():
            out.append(f"<value>{value}</value>")
        case float():
            out.append(f"<value><double>{value!r}</double></value>")
        case str():
            out.append(f"<value>{escape(value)}</value>")
        case Date(text):
            out.append(f"<value><dateTime.iso8601>{escape(text)}</dateTime.iso8601></value>")
        case Mapping():
            out.append("<value><struct>")
            for name, member in value.items():
                out.append(f"<member><name>{escape(name)}</name>")
                _render(member, out)
                out.append("</member>")
            out.append("</struct></value>")
        case _:
            out.append("<value><array><data>")
            for element in value:
                _render(element, out)
            out.append("</data></array></value>")


def parse(document: bytes) -> Value:
    """Read a value.  Integers with an element are ``int``; bare ones stay text.

    Errors: XmlRpcValueError, also for documents that define entities.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(document, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, XmlRpcValueError):
            raise
        raise XmlRpcValueError(f"not XML: {error}") from error
    return reader.result()


_INSIDE: Final = {
    "": {"value"},
    "value": {
        *("struct", "array", "string", "int", "i4", "i8", "boolean", "double"),
        *("dateTime.iso8601", "base64", "nil"),
    },
    "struct": {"member"},
    "member": {"name", "value"},
    "array": {"data"},
    "data": {"value"},
}
_NUMBER: Final = re.compile(r"\s*[+-]?[0-9]{1,19}\s*", re.ASCII)


class _Reader:
    """Builds the value while the document streams through; no recursion."""

    def __init__(self) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = self._entity
        self.parser = parser
        self._tags: list[str] = [""]
        self._text: list[str] = []
        self._containers: list[list[Value] | dict[str, Value]] = []
        self._names: list[str | None] = []
        self._typed: list[bool] = []
        self._values: list[Value] = []

    def result(self) -> Value:
        return self._values[-1]

    def _entity(self, *declaration: object) -> None:
        raise XmlRpcValueError("entities are not allowed")

    def _characters(self, text: str) -> None:
        self._text.append(text)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        parent = self._tags[-1]
        if tag not in _INSIDE.get(parent, ()):
            raise XmlRpcValueError(f"<{tag}> inside <{parent}>")
        if len(self._tags) > MAX_DEPTH:
            raise XmlRpcValueError("nested too deep")
        if parent == "value":
            if self._typed[-1]:
                raise XmlRpcValueError("two elements in one value")
            self._typed[-1] = True
        self._tags.append(tag)
        self._text.clear()
        if tag == "value":
            self._typed.append(False)
        elif tag == "struct":
            self._containers.append({})
        elif tag == "data":
            self._containers.append([])
        elif tag == "member":
            self._names.append(None)

    def _end(self, tag: str) -> None:
        self._tags.pop()
        text = "".join(self._text)
        self._text.clear()
        if tag == "value":
            value = self._values.pop() if self._typed.pop() else text
            self._put(value)
        elif tag == "name":
            self._names[-1] = text
        elif tag == "member":
            self._names.pop()
        elif tag in ("struct", "data"):
            self._values.append(self._containers.pop())
        elif tag != "array":
            self._values.append(_scalar(tag, text))

    def _put(self, value: Value) -> None:
        parent = self._tags[-1]
        if parent == "member":
            name, record = self._names[-1], self._containers[-1]
            if name is None or not isinstance(record, dict):
                raise XmlRpcValueError("a member without a name")
            record[name] = value
        elif parent == "data":
            elements = self._containers[-1]
            assert isinstance(elements, list)
            elements.append(value)
        else:
            self._values.append(value)


def _scalar(tag: str, text: str) -> Value:
    if tag in ("int", "i4", "i8"):
        if not _NUMBER.fullmatch(text):
            raise XmlRpcValueError(f"not an integer: {text[:40]!r}")
        return int(text)
    if tag == "boolean":
        if text.strip() not in ("0", "1"):
            raise XmlRpcValueError(f"not a boolean: {text[:40]!r}")
        return text.strip() == "1"
    if tag == "double":
        try:
            return float(text)
        except ValueError as error:
            raise XmlRpcValueError(f"not a number: {text[:40]!r}") from error
    if tag == "dateTime.iso8601":
        return Date(text.strip())
    return None if tag == "nil" else text

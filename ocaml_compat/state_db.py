"""The XML file in which the OCaml toolstack keeps its database.

    <database>
      <manifest><pair key="schema_major_vsn" value="5"/>...</manifest>
      <table name="VM"><row ref="OpaqueRef:.." __ctime="1" __mtime="2" name__label=".."/></table>
    </database>

``ref`` is the first attribute of a row; a field of a group has two
underscores in its name.  All values are text; white space in them is written
as ``%.`` ``%t`` ``%n`` ``%r``, a percent sign as ``%%``.
Source: xapi-project/xen-api, ocaml/database (db_xml, xml_spaces).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

_PROTECT: Final = str.maketrans({" ": "%.", "\t": "%t", "\n": "%n", "\r": "%r", "%": "%%"})
_PLAIN: Final = {"_": "  ", ".": " ", "t": "\t", "n": "\n", "r": "\r", "%": "%"}
_PROTECTED: Final = re.compile("%([_.tnr%])")
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class StateDbError(ValueError):
    """The text is no database, or the value cannot be part of one."""


@dataclass(slots=True)
class StateRow:
    """One object; ``fields`` holds plain text by database name."""

    ref: str
    fields: dict[str, str]
    created: int = 0
    modified: int = 0


@dataclass(slots=True)
class StateDb:
    """A whole database; ``manifest`` holds further pairs, not the known ones."""

    schema: tuple[int, int]
    generation: int
    tables: dict[str, list[StateRow]]
    manifest: dict[str, str] = field(default_factory=dict)


def protect(text: str) -> str:
    """Write white space so that XML keeps it."""
    return text.translate(_PROTECT)


def unprotect(text: str) -> str:
    """Undo ``protect``; what is no known escape stays as it is."""
    return _PROTECTED.sub(lambda found: _PLAIN[found[1]], text)


def printable(text: str) -> str:
    """Cut the text before the first character XML cannot hold."""
    found = _NOT_XML.search(text)
    return text if found is None else text[: found.start()]


def render(database: StateDb) -> Iterator[bytes]:
    """Write a database piece by piece.

    Raises ``StateDbError`` for a name or text that XML cannot hold.
    """
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n<database><manifest>'
    major, minor = database.schema
    known = {
        "schema_major_vsn": str(major),
        "schema_minor_vsn": str(minor),
        "generation_count": str(database.generation),
    }
    for key, value in {**known, **database.manifest}.items():
        yield f"<pair key={_quoted(key)} value={_quoted(value)}/>".encode()
    yield b"</manifest>"
    for name, rows in database.tables.items():
        if not rows:
            yield f"<table name={_quoted(name)}/>".encode()
            continue
        yield f"<table name={_quoted(name)}>".encode()
        for row in rows:
            yield _render_row(row)
        yield b"</table>"
    yield b"</database>\n"


def _render_row(row: StateRow) -> bytes:
    parts = [f"<row ref={_quoted(row.ref)}"]
    parts.append(f'__ctime="{row.created}" __mtime="{row.modified}"')
    for name, text in row.fields.items():
        if not _NAME.fullmatch(name) or name in ("ref", "__ctime", "__mtime"):
            raise StateDbError(f"a column cannot be named {name!r}")
        parts.append(f"{name}={_quoted(protect(text))}")
    return (" ".join(parts) + "/>").encode()


def _quoted(text: str) -> str:
    if _NOT_XML.search(text):
        raise StateDbError(f"XML cannot hold {text[:60]!r}")
    return quoteattr(text, {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def parse(text: bytes) -> StateDb:
    """Read a database.  Raises ``StateDbError`` with the place of the error."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EntityDeclHandler = reader.entity
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise StateDbError(f"not a database: {error}") from error
    return reader.finished()


class _Reader:
    def __init__(self) -> None:
        self._pairs: dict[str, str] = {}
        self._tables: dict[str, list[StateRow]] = {}
        self._rows: list[StateRow] | None = None
        self._seen_root = False

    def entity(self, *_: object) -> None:
        raise StateDbError("a database declares no entities")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._seen_root and tag != "database":
            raise StateDbError(f"not a database but {tag!r}")
        match tag:
            case "database":
                self._seen_root = True
            case "manifest":
                pass
            case "pair" if attributes.keys() == {"key", "value"}:
                self._pairs[attributes["key"]] = attributes["value"]
            case "table" if "name" in attributes:
                self._rows = self._tables.setdefault(attributes["name"], [])
            case "row" if "ref" in attributes and self._rows is not None:
                self._rows.append(_row(attributes))
            case _:
                raise StateDbError(f"unexpected element {tag!r}")

    def finished(self) -> StateDb:
        major = _number(self._pairs.pop("schema_major_vsn", ""), "schema version")
        minor = _number(self._pairs.pop("schema_minor_vsn", ""), "schema version")
        generation = _number(self._pairs.pop("generation_count", ""), "generation")
        return StateDb((major, minor), generation, self._tables, self._pairs)


def _row(attributes: dict[str, str]) -> StateRow:
    ref = attributes.pop("ref")
    created = _number(attributes.pop("__ctime", "0"), "generation")
    modified = _number(attributes.pop("__mtime", "0"), "generation")
    fields = {name: unprotect(text) for name, text in attributes.items()}
    return StateRow(ref, fields, created, modified)


def _number(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise StateDbError(f"no {what}: {text[:60]!r}") from None

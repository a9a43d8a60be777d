"""Write values as JSON text, in the style of the newest server or of 7.1.

Source: facts/wire.md "Values" and "Envelope, JSON-RPC".
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from keyword import iskeyword
from typing import Any, Final

import orjson

from xapi_py.datamodel.model import (
    ClassDef,
    DateTime,
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
from xapi_py.wire.scalars import format_date

Plainer = Callable[[Any], Any]
"""Turns a data value into what orjson writes as the right JSON."""

_SURROGATES = re.compile("[\ud800-\udfff]")


class JsonText:
    """One style of JSON: ``escape_slashes`` and ``six_decimals`` are 7.1's."""

    def __init__(self, *, escape_slashes: bool, six_decimals: bool) -> None:
        self._escape_slashes = escape_slashes
        self._float = _six_decimals if six_decimals else _shortest
        self._plainers: dict[tuple[Type, Model | None], Plainer | None] = {}
        self._rows: dict[ClassDef, Plainer] = {}

    def encode(self, value: Any, type_: Type, model: Model | None = None) -> bytes:
        """Give the JSON text of a data value; records need the model."""
        plainer = self._plainer(type_, model)
        return self.dumps(value if plainer is None else plainer(value))

    def text(self, text: str) -> bytes:
        """Give the JSON text of a string."""
        return self.dumps(text)

    def members(self, members: Iterable[tuple[str, bytes]]) -> bytes:
        """Join named JSON texts to the inside of an object."""
        dumps = self.dumps
        return b",".join([b"%b:%b" % (dumps(name), fragment) for name, fragment in members])

    def encode_record(self, row: Any, class_def: ClassDef, model: Model | None) -> bytes:
        """Give the JSON text of a row's full record."""
        plainer = self._rows.get(class_def)
        if plainer is None:
            plainer = self._rows[class_def] = self._generate(class_def, model)
        return self.dumps(plainer(row))

    def dumps(self, plain: Any) -> bytes:
        """Write what a plainer gave."""
        try:
            text = orjson.dumps(plain)
        except TypeError:
            text = orjson.dumps(_without_surrogates(plain))
        return text.replace(b"/", b"\\/") if self._escape_slashes else text

    def _plainer(self, type_: Type, model: Model | None) -> Plainer | None:
        """Give the conversion of a type, None where orjson needs none."""
        key = (type_, model)
        if key not in self._plainers:
            self._plainers[key] = self._make(type_, model)
        return self._plainers[key]

    def _make(self, type_: Type, model: Model | None) -> Plainer | None:
        match type_:
            case Float():
                return self._float
            case DateTime():
                return format_date
            case Void():
                return lambda _: ""
            case SetOf(element):
                plainer = self._plainer(element, model)
                return list if plainer is None else _list_of(plainer)
            case MapOf(key, value):
                return _map_plainer(key, self._plainer(value, model))
            case OptionOf(element):
                return self._plainer(element, model)
            case RecordOf(cls):
                if model is None:
                    raise TypeError(f"encoding a record of {cls} needs the model")
                return self._record(model.classes[cls], model)
        return None

    def _record(self, class_def: ClassDef, model: Model | None) -> Plainer:
        def plain_record(record: Any) -> Any:
            if not isinstance(record, Mapping):
                plainer = self._rows.get(class_def)
                if plainer is None:
                    plainer = self._rows[class_def] = self._generate(class_def, model)
                return plainer(record)
            found = {}
            for field in class_def.wire_fields:
                value = record.get(field.name)
                if value is not None:
                    plainer = self._plainer(field.type, model)
                    found[field.name] = value if plainer is None else plainer(value)
            return found

        return plain_record

    def _generate(self, class_def: ClassDef, model: Model | None) -> Plainer:
        """Compile one expression that makes the dict of all fields of a row."""
        scope: dict[str, Any] = {}
        members: list[str] = []
        optional: list[str] = []
        for number, field in enumerate(class_def.wire_fields):
            plainer = self._plainer(field.type, model)
            name = field.name
            source = f"getattr(row, {name!r})" if iskeyword(name) else f"row.{name}"
            value = source
            if plainer is not None:
                scope[f"p{number}"] = plainer
                value = f"p{number}({value})"
            if isinstance(field.type, OptionOf):
                optional.append(f" if {source} is not None: found[{name!r}] = {value}")
            else:
                members.append(f"{name!r}: {value}")
        lines = [
            "def plain_row(row):",
            f" found = {{{', '.join(members)}}}",
            *optional,
            " return found",
        ]
        exec(compile("\n".join(lines), f"<JSON record of {class_def.name}>", "exec"), scope)
        plain_row: Plainer = scope["plain_row"]
        return plain_row


_KEY_TEXTS: Final[dict[type[Type], Callable[[Any], str]]] = {
    Int: str,
    Float: "{:.16g}".format,
    DateTime: format_date,
}


def _map_plainer(key_type: Type, element: Plainer | None) -> Plainer | None:
    key = _KEY_TEXTS.get(type(key_type))
    if key is not None:
        inner = element or (lambda value: value)
        return lambda values: {key(name): inner(value) for name, value in values.items()}
    if element is None:
        return None
    return lambda values: {name: element(value) for name, value in values.items()}


def _list_of(element: Plainer) -> Plainer:
    return lambda values: [element(value) for value in values]


def _shortest(number: float) -> Any:
    if math.isfinite(number):
        return float(number)
    return orjson.Fragment(
        b"NaN" if number != number else b"Infinity" if number > 0 else b"-Infinity"
    )


def _six_decimals(number: float) -> Any:
    if math.isfinite(number):
        return orjson.Fragment(b"%.6f" % number)
    return _shortest(number)


def _without_surrogates(plain: Any) -> Any:
    """Replace what has no UTF-8 form; integers beyond 64 bits are kept too."""
    if isinstance(plain, str):
        return _SURROGATES.sub("\ufffd", plain)
    if isinstance(plain, dict):
        return {
            _without_surrogates(str(key)): _without_surrogates(value)
            for key, value in plain.items()
        }
    if isinstance(plain, list | tuple):
        return [_without_surrogates(item) for item in plain]
    if isinstance(plain, int) and not isinstance(plain, bool):
        return orjson.Fragment(json.dumps(int(plain)).encode())
    return plain


NEWEST: Final = JsonText(escape_slashes=False, six_decimals=False)
ELY: Final = JsonText(escape_slashes=True, six_decimals=True)

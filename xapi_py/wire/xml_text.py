"""Write values as XML-RPC text, without any white space between elements.

Strings, references, enums and integers are bare text, so an integer looks
like a string.  Source: facts/wire.md "Values", traces "types" and "text".
"""

import re
from collections.abc import Callable, Collection, Mapping
from keyword import iskeyword
from typing import Any

from xapi_py.datamodel.model import (
    AnyRecord,
    Bool,
    ClassDef,
    DateTime,
    EnumOf,
    FieldDef,
    Float,
    Int,
    MapOf,
    Model,
    OptionOf,
    RecordOf,
    RefOf,
    SecretString,
    SetOf,
    String,
    Type,
    Void,
)
from xapi_py.wire.scalars import format_date

TextEncoder = Callable[[Any], str]

_SPECIAL = re.compile('[<>&"\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]')
_REPLACEMENTS = {"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;"}

EMPTY_SET = "<value><array><data></data></array></value>"
EMPTY_MAP = "<value><struct></struct></value>"
VOID = "<value></value>"


def _replace(match: re.Match[str]) -> str:
    return _REPLACEMENTS.get(match[0], "")


def clean(text: str) -> bool:
    """Tell whether text surely needs no escaping; cheap."""
    return not ("<" in text or "&" in text or ">" in text or '"' in text) and text.isprintable()


def escape(text: str) -> str:
    """Escape markup and drop characters that XML cannot carry."""
    if not ("<" in text or "&" in text or ">" in text or '"' in text) and text.isprintable():
        return text
    return _SPECIAL.sub(_replace, text)


def text_value(text: str) -> str:
    """Write a string."""
    return f"<value>{escape(text)}</value>"


def int_value(number: int) -> str:
    """Write an integer as bare text."""
    return f"<value>{number}</value>"


def typed_int_value(number: int) -> str:
    """Write an integer as ``<i4>``; only counts in event answers are."""
    return f"<value><i4>{number}</i4></value>"


def bool_value(truth: bool) -> str:
    """Write a boolean."""
    return f"<value><boolean>{1 if truth else 0}</boolean></value>"


def float_value(number: float) -> str:
    """Write a float with up to 16 significant digits."""
    return f"<value><double>{number:.16g}</double></value>"


def date_value(seconds: int) -> str:
    """Write a date given in unix seconds."""
    return f"<value><dateTime.iso8601>{format_date(seconds)}</dateTime.iso8601></value>"


def text_set_value(texts: Collection[str]) -> str:
    """Write a set of strings or references."""
    if not texts:
        return EMPTY_SET
    if not clean("".join(texts)):
        texts = [escape(text) for text in texts]
    return (
        f"<value><array><data><value>{'</value><value>'.join(texts)}</value></data></array></value>"
    )


def text_map_value(texts: Mapping[str, str]) -> str:
    """Write a map from strings to strings."""
    if not texts:
        return EMPTY_MAP
    if clean("".join(texts)) and clean("".join(texts.values())):
        members = [
            f"<member><name>{key}</name><value>{value}</value></member>"
            for key, value in texts.items()
        ]
    else:
        members = [
            f"<member><name>{escape(key)}</name><value>{escape(value)}</value></member>"
            for key, value in texts.items()
        ]
    return f"<value><struct>{''.join(members)}</struct></value>"


def void_value(_: object) -> str:
    """Write the result of a message without one."""
    return VOID


def any_value(value: Any) -> str:
    """Write a plain Python value of no declared type."""
    if value is None:
        return VOID
    if isinstance(value, bool):
        return bool_value(value)
    if isinstance(value, int):
        return int_value(value)
    if isinstance(value, float):
        return float_value(value)
    if isinstance(value, str):
        return text_value(value)
    if isinstance(value, Mapping):
        return _map_encoder(str, any_value)(value)
    return _set_encoder(any_value)(value)


_SCALARS: dict[type[Type], TextEncoder] = {
    String: text_value,
    SecretString: text_value,
    RefOf: text_value,
    EnumOf: text_value,
    Int: int_value,
    Bool: bool_value,
    Float: float_value,
    DateTime: date_value,
    Void: void_value,
    AnyRecord: any_value,
}
_TEXTS = (String, SecretString, RefOf, EnumOf)

_encoders: dict[tuple[Type, Model | None], TextEncoder] = {}


def encoder(type_: Type, model: Model | None) -> TextEncoder:
    """Give the function that writes values of a type; made once per type.

    ``model`` is needed for records only.
    """
    found = _encoders.get((type_, model))
    if found is None:
        found = _encoders[type_, model] = _make(type_, model)
    return found


def _make(type_: Type, model: Model | None) -> TextEncoder:
    match type_:
        case SetOf(element):
            if isinstance(element, _TEXTS):
                return text_set_value
            return _set_encoder(encoder(element, model))
        case MapOf(key, value):
            if isinstance(key, _TEXTS) and isinstance(value, _TEXTS):
                return text_map_value
            return _map_encoder(_KEY_TEXTS.get(type(key), str), encoder(value, model))
        case OptionOf(element):
            inner = encoder(element, model)
            return lambda value: VOID if value is None else inner(value)
        case RecordOf(cls):
            if model is None:
                raise TypeError(f"encoding a record of {cls} needs the model")
            return record_encoder(model.classes[cls], model)
    return _SCALARS[type(type_)]


_KEY_TEXTS: dict[type[Type], Callable[[Any], str]] = {
    Float: "{:.16g}".format,
    DateTime: format_date,
}


def _set_encoder(element: TextEncoder) -> TextEncoder:
    def encode_set(values: Collection[Any]) -> str:
        if not values:
            return EMPTY_SET
        return f"<value><array><data>{''.join(map(element, values))}</data></array></value>"

    return encode_set


def _map_encoder(key: Callable[[Any], str], element: TextEncoder) -> TextEncoder:
    def encode_map(values: Mapping[Any, Any]) -> str:
        if not values:
            return EMPTY_MAP
        members = [
            f"<member><name>{escape(key(name))}</name>{element(value)}</member>"
            for name, value in values.items()
        ]
        return f"<value><struct>{''.join(members)}</struct></value>"

    return encode_map


def record_encoder(class_def: ClassDef, model: Model | None) -> TextEncoder:
    """Give the function that writes a record of a class.

    It takes a row, or a mapping by wire field name, whose missing members are
    left out of the answer.
    """

    def encode_record(record: Any) -> str:
        if isinstance(record, Mapping):
            members = [
                f"<member><name>{field.name}</name>"
                f"{encoder(field.type, model)(record[field.name])}</member>"
                for field in class_def.wire_fields
                if record.get(field.name) is not None
            ]
            return f"<value><struct>{''.join(members)}</struct></value>"
        return row_encoder(class_def, model)(record)

    return encode_record


_row_encoders: dict[tuple[ClassDef, Model | None], TextEncoder] = {}


def row_encoder(class_def: ClassDef, model: Model | None) -> TextEncoder:
    """Give the function that writes a row of a class; generated once."""
    found = _row_encoders.get((class_def, model))
    if found is None:
        found = _row_encoders[class_def, model] = _generate(class_def, model)
    return found


_BARE: dict[type[Type], str] = {
    String: "escape({0})",
    SecretString: "escape({0})",
    RefOf: "escape({0})",
    EnumOf: "escape({0})",
    Int: "str({0})",
}


def _generate(class_def: ClassDef, model: Model | None) -> TextEncoder:
    """Compile one expression that writes all fields of a row."""
    scope: dict[str, Any] = {"escape": escape}
    pieces: list[str] = []
    literal = "<value><struct>"
    for number, field in enumerate(class_def.wire_fields):
        value = f"getattr(row, {field.name!r})" if iskeyword(field.name) else f"row.{field.name}"
        if isinstance(field.type, OptionOf):
            scope[f"e{number}"] = _optional_member(field, model)
            pieces += [repr(literal), f"e{number}({value})"]
            literal = ""
        elif (bare := _BARE.get(type(field.type))) is not None:
            literal += f"<member><name>{field.name}</name><value>"
            pieces += [repr(literal), bare.format(value)]
            literal = "</value></member>"
        else:
            scope[f"e{number}"] = encoder(field.type, model)
            literal += f"<member><name>{field.name}</name>"
            pieces += [repr(literal), f"e{number}({value})"]
            literal = "</member>"
    pieces.append(repr(literal + "</struct></value>"))
    source = f"def encode_record(row):\n    return ''.join(({', '.join(pieces)},))\n"
    exec(compile(source, f"<XML-RPC record of {class_def.name}>", "exec"), scope)
    encode_record: TextEncoder = scope["encode_record"]
    return encode_record


def _optional_member(field: FieldDef, model: Model | None) -> TextEncoder:
    inner = encoder(field.type, model)
    name = field.name
    return lambda value: (
        "" if value is None else f"<member><name>{name}</name>{inner(value)}</member>"
    )

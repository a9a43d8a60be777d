"""Reading the fields of objects as text, only those that are asked for."""

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF
from xapi_py.cli.context import NOT_IN_DATABASE, Context
from xapi_py.cli.rendering import enum_text, members_text, value_text
from xapi_py.cli.special_fields import SPECIAL_FIELDS
from xapi_py.cli.table import FieldSpec, RecordSpec
from xapi_py.cli.values import Value, split_text, typed
from xapi_py.datamodel.model import DateTime, EnumOf, MapOf, RefOf, SetOf, String, Type

Cell = str | Awaitable[str]
Read = Callable[[Any], Cell]

UNKNOWN_TIME = "<unknown time>"
UNAVAILABLE = {"HANDLE_INVALID": "<invalid reference>", "NOT_IMPLEMENTED": "<not available>"}
"""What stands for a field whose value takes a call that fails in this way."""


class FieldReader:
    """Gives the text of one class's fields; keeps what it found out for its life."""

    def __init__(self, context: Context, record: RecordSpec) -> None:
        self._context = context
        self._record = record
        self._readers: dict[str, Read] = {}

    async def breathe(self) -> None:
        """Let the server do other things now and then."""
        await self._context.api.breathe()

    async def text(self, row: Any, field: FieldSpec) -> str:
        """Give a field of an object as xe prints it."""
        try:
            cell = self.cell(row, field)
            return cell if isinstance(cell, str) else await cell
        except ApiError as error:
            if field.path or error.code not in UNAVAILABLE:
                raise
            return UNAVAILABLE[error.code]

    async def printed(self, row: Any, field: FieldSpec) -> str:
        """Give a field's text for the printer: a ``Value`` where that wants data."""
        text = await self.text(row, field)
        if not self._context.printer.wants_data:
            return text
        if field.path and field.show != "lower-first":
            value, kind = self.value(row, field)
            if value is None:
                return Value(text, None)
            if field.show != "name" and not _shows_values_only(field, kind):
                return Value(text, typed(self._context, value, kind))
        message = self._context.model.messages.get(field.call)
        kind = message.result if message is not None else String()
        return Value(text, split_text(field, text, isinstance(kind, SetOf)))

    def cell(self, row: Any, field: FieldSpec) -> Cell:
        """Give a field's text, or what to await for it."""
        read = self._readers.get(field.name)
        if read is None:
            read = self._readers[field.name] = self._reader(field)
        return read(row)

    def members(self, row: Any, field: FieldSpec) -> dict[str, str] | None:
        """Give a map field's members as text; None when it has to be computed."""
        if field.path:
            value, kind = self.value(row, field)
            if isinstance(kind, MapOf) and value is not None:
                return members_text(self._context, value, kind)
            return {} if value is None else None
        return None

    def value(self, row: Any, field: FieldSpec) -> tuple[Any, Type]:
        """Follow a field's path to its value (None: an object on the way is missing)."""
        return self._follow(row, self._record.cls, field.path)

    def _follow(self, row: Any, cls: str, path: tuple[str, ...]) -> tuple[Any, Type]:
        fields = self._context.model.classes[cls].fields
        kind: Type = fields[path[0]].type if path[0] in fields else String()
        value = getattr(row, path[0], "")
        if len(path) == 1:
            return value, kind
        if isinstance(kind, SetOf) and isinstance(kind.element, RefOf):
            target = kind.element.cls
            found = [
                self._follow(r, target, path[1:]) for ref in value if (r := self._row(target, ref))
            ]
            inner = found[0][1] if found else String()
            return tuple(v for v, _ in found), SetOf(inner)
        assert isinstance(kind, RefOf)
        other = self._row(kind.cls, value)
        if other is None:
            return None, self._kind_at(kind.cls, path[1:])
        return self._follow(other, kind.cls, path[1:])

    def _kind_at(self, cls: str, path: tuple[str, ...]) -> Type:
        field = self._context.model.classes[cls].fields.get(path[0])
        return field.type if field is not None else String()

    def _row(self, cls: str, ref: str) -> Any:
        if ref in (NULL_REF, ""):
            return None
        try:
            return self._context.record(cls, ref)
        except ApiError as error:
            if error.code == "HANDLE_INVALID":
                return None
            raise

    def _reader(self, field: FieldSpec) -> Read:
        context = self._context
        if field.special:
            special = SPECIAL_FIELDS[field.special]
            return lambda row: special(context, row)
        if field.call:
            return lambda row: self._called(field, row)
        if field.path == ("uuid",):
            return lambda row: str(row.uuid)
        return lambda row: self._shown(field, *self.value(row, field))

    def _shown(self, field: FieldSpec, value: Any, kind: Type) -> str:
        context = self._context
        if value is None:
            return UNKNOWN_TIME if isinstance(kind, DateTime) else NOT_IN_DATABASE
        if field.show == "name" and isinstance(kind, RefOf):
            return context.name(kind.cls, value)
        if field.show == "lower-first" and isinstance(kind, EnumOf):
            text = enum_text(kind.name, value)
            return text[:1].lower() + text[1:]
        if _shows_values_only(field, kind):
            assert isinstance(kind, MapOf) and isinstance(kind.value, EnumOf)
            name = kind.value.name
            return field.separator.join(enum_text(name, v) for v in value.values())
        return value_text(context, value, kind, field.separator)

    def _called(self, field: FieldSpec, row: Any) -> Cell:
        message = self._context.model.messages.get(field.call)
        if message is None:
            return ""
        outcome = self._context.api.start(field.call, row.ref)
        if isinstance(outcome, Deferred):
            return self._awaited(field, outcome, message.result)
        return value_text(self._context, outcome, message.result, field.separator)

    async def _awaited(self, field: FieldSpec, waiting: "Deferred[Any]", kind: Type) -> str:
        return value_text(self._context, await waiting, kind, field.separator)


def _shows_values_only(field: FieldSpec, kind: Type) -> bool:
    """Whether a map prints as the set of its values, such as operations by task."""
    return isinstance(kind, MapOf) and not field.is_map and isinstance(kind.value, EnumOf)

"""Implicit messages: what a class in the database offers by rule."""

from collections.abc import Iterator
from functools import cache

from xapi_py.datamodel.model import FieldDef, MessageDef, ParamDef
from xapi_py.datamodel.value_types import (
    MapOf,
    RecordOf,
    RefOf,
    SetOf,
    String,
    Type,
    Void,
)


@cache
def _value(value_type: Type) -> ParamDef:
    return ParamDef("value", value_type)


@cache
def _key(value_type: Type) -> ParamDef:
    return ParamDef("key", value_type)


class ImplicitRules:
    """Derives the implicit messages of one class of one profile.

    The order is: reads of one row, constructor, getters, setters; then, after
    the explicit messages, the reads of all rows.  ``get_all_where`` is newer
    than 7.1.
    """

    def __init__(
        self,
        cls: str,
        *,
        role: str,
        client_cert: bool,
        implicit_role: str,
        removed: bool,
        since: str,
    ) -> None:
        self._cls = cls
        self._role = role
        self._client_cert = client_cert
        self._implicit_role = implicit_role
        self._removed = removed
        self._since = since
        self._ref = RefOf(cls)
        self._self = ParamDef("self", self._ref)

    def _of_class(
        self,
        name: str,
        params: tuple[ParamDef, ...],
        result: Type,
        *,
        write: bool = False,
        hidden: bool = False,
    ) -> MessageDef:
        return MessageDef(
            cls=self._cls,
            name=name,
            wire_name=f"{self._cls}.{name}",
            params=params,
            result=result,
            role=self._role if write else self._implicit_role,
            implicit=name,
            client_cert=self._client_cert if write else False,
            is_async=write,
            hidden=hidden,
            removed=self._removed,
            since=self._since,
            mandatory=len(params),
        )

    def of_row(self, *, ctor: bool, by_name_label: bool) -> Iterator[MessageDef]:
        """Give the messages on one row that are about no single field."""
        yield self._of_class("get_record", (self._self,), RecordOf(self._cls))
        yield self._of_class("get_by_uuid", (ParamDef("uuid", String()),), self._ref)
        if ctor:
            args = ParamDef("args", RecordOf(self._cls))
            yield self._of_class("create", (args,), self._ref, write=True)
            yield self._of_class("destroy", (self._self,), Void(), write=True)
        if by_name_label:
            label = ParamDef("label", String())
            yield self._of_class("get_by_name_label", (label,), SetOf(self._ref))

    def of_all_rows(self, *, where: bool) -> Iterator[MessageDef]:
        """Give the messages on all rows; ``where`` adds get_all_where."""
        expr = (ParamDef("expr", String()),)
        rows, records = SetOf(self._ref), MapOf(self._ref, RecordOf(self._cls))
        yield self._of_class("get_all", (), rows)
        if where:
            yield self._of_class("get_all_where", expr, rows, hidden=True)
        yield self._of_class("get_all_records_where", expr, records, hidden=True)
        yield self._of_class("get_all_records", (), records)

    def _of_field(
        self, kind: str, field: FieldDef, params: tuple[ParamDef, ...], result: Type
    ) -> MessageDef:
        read = kind == "get"
        name = f"{kind}_{field.name}"
        return MessageDef(
            cls=self._cls,
            name=name,
            wire_name=f"{self._cls}.{name}",
            params=(self._self, *params),
            result=result,
            role=field.read_role if read else field.write_role,
            implicit=kind,
            field=field,
            client_cert=False if read else field.client_cert,
            key_roles=field.key_roles if kind in ("add_to", "remove_from") else {},
            removed=self._removed or field.removed,
            since=field.since,
            deprecated=field.deprecated,
            mandatory=1 + len(params),
        )

    def getter(self, field: FieldDef) -> MessageDef:
        """Give the getter of a field."""
        return self._of_field("get", field, (), field.type)

    def setters(self, field: FieldDef, *, many_to_many: bool) -> Iterator[MessageDef]:
        """Give the setters of a field: none unless a client may write it."""
        if field.qualifier != "RW":
            return
        match field.type:
            case SetOf(RefOf()) if not (many_to_many or field.dangling_ok):
                return
        yield self._of_field("set", field, (_value(field.type),), Void())
        match field.type:
            case SetOf(element):
                value = (_value(element),)
                yield self._of_field("add", field, value, Void())
                yield self._of_field("remove", field, value, Void())
            case MapOf(key_type, value_type):
                key = _key(key_type)
                pair = (key, _value(value_type))
                yield self._of_field("add_to", field, pair, Void())
                yield self._of_field("remove_from", field, (key,), Void())

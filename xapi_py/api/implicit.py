"""The messages that follow from the model: getters, setters, create, destroy, listings.

Two thirds of all messages need no code of their own.  Source: facts/README.md,
"Implicit messages, by rule".
"""

from collections.abc import Callable, Coroutine, Sequence
from functools import cache
from types import CoroutineType
from typing import Any, TypeGuard

from xapi_py.api.call import Call
from xapi_py.api.listing import Listing, encode_listing, encode_refs
from xapi_py.api.registry import ResultEncoder
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.model import ClassDef, FieldDef, MessageDef, Model, RefOf, SetOf, Type
from xapi_py.datamodel.unimplemented import ERROR_OF
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.plan import query
from xapi_py.wire.dialect import Dialect
from xapi_py.wire.xmlrpc import xml_value_text

NULL = NULL_REF
Handler = Callable[..., Any]


def is_coroutine(value: object) -> TypeGuard[Coroutine[Any, Any, Any]]:
    """Whether a handler gave work to wait for rather than a value."""
    return type(value) is CoroutineType


def result_text(value: object, kind: Type, model: Model) -> str:
    """Give the text that task.result holds."""
    return xml_value_text(value, kind, model)


def removed(call: Call, *arguments: object) -> None:
    """Answer a message whose life is over.  Errors: MESSAGE_REMOVED."""
    raise err.MESSAGE_REMOVED()


def handler_for(model: Model, message: MessageDef) -> Handler:
    """Make the code of a message that has no function of its own."""
    make = _MAKERS.get(message.implicit or "")
    if make is None:
        return _unimplemented(message)
    return make(model, message)


def encoder_for(message: MessageDef) -> ResultEncoder | None:
    """Give the encoder of messages that answer whole records of rows."""
    match message.implicit:
        case "get_record":
            return _encode_record
        case "get_all_records" | "get_all_records_where":
            return encode_listing
        case "get_all" | "get_all_where":
            return encode_refs
        case _:
            return None


def _encode_record(dialect: Dialect, model: Model, row: Row) -> list[bytes]:
    return [dialect.record(row, model.classes[row.api_class], model)]


_NAMING_THE_MESSAGE = ("NOT_IMPLEMENTED", "MESSAGE_METHOD_UNKNOWN")


def _unimplemented(message: MessageDef) -> Handler:
    """Make the refusal of a message without code.

    What a call names is looked up first, so that a wrong reference gets the
    answer it always will: a host that cannot be asked, then the others.
    """
    code = ERROR_OF.get(message.wire_name, "NOT_IMPLEMENTED")
    params = (message.wire_name,) if code in _NAMING_THE_MESSAGE else ()
    named = [(n, p.type.cls) for n, p in enumerate(message.params) if isinstance(p.type, RefOf)]
    if code == "MESSAGE_METHOD_UNKNOWN":
        named = []
    hosts = [n for n, cls in named if cls == "host"]
    others = [(n, cls) for n, cls in named if cls != "host"]

    def refuse(call: Call, *arguments: Any) -> None:
        for n in hosts:
            if call.db.find("host", arguments[n]) is None:
                raise err.HOST_OFFLINE(arguments[n])
        for n, cls in others:
            call.db.row(cls, arguments[n])
        raise ApiError(code, *params)

    return refuse


def _get(model: Model, message: MessageDef) -> Handler:
    cls, name = message.cls, _field(message).name

    def get(call: Call, ref: Ref) -> object:
        return getattr(call.db.row(cls, ref), name)

    return get


def _set(model: Model, message: MessageDef) -> Handler:
    cls, field = message.cls, _field(message)
    name = field.name

    def set_field(call: Call, ref: Ref, value: object) -> None:
        call.db.row(cls, ref)
        check_reference(call, field, value)
        with call.db.transaction() as tx:
            tx.set(cls, ref, name, value)

    return set_field


def _add(model: Model, message: MessageDef) -> Handler:
    cls, name = message.cls, _field(message).name

    def add(call: Call, ref: Ref, value: object) -> None:
        call.db.row(cls, ref)
        with call.db.transaction() as tx:
            tx.add_to_set(cls, ref, name, value)

    return add


def _remove(model: Model, message: MessageDef) -> Handler:
    cls, name = message.cls, _field(message).name

    def remove(call: Call, ref: Ref, value: object) -> None:
        call.db.row(cls, ref)
        with call.db.transaction() as tx:
            tx.remove_from_set(cls, ref, name, value)

    return remove


def _add_to(model: Model, message: MessageDef) -> Handler:
    cls, field = message.cls, _field(message)
    name = field.name

    def add_to(call: Call, ref: Ref, key: object, value: object) -> None:
        if key in getattr(call.db.row(cls, ref), name):
            raise err.MAP_DUPLICATE_KEY(cls, field.db_name, ref, key)
        if key == "":
            raise err.INTERNAL_ERROR("a key of a map may not be empty")
        with call.db.transaction() as tx:
            tx.add_to_map(cls, ref, name, key, value)

    return add_to


def _remove_from(model: Model, message: MessageDef) -> Handler:
    cls, name = message.cls, _field(message).name

    def remove_from(call: Call, ref: Ref, key: object) -> None:
        call.db.row(cls, ref)
        with call.db.transaction() as tx:
            tx.remove_from_map(cls, ref, name, key)

    return remove_from


def _get_by_uuid(model: Model, message: MessageDef) -> Handler:
    cls = message.cls
    return lambda call, uuid: call.db.by_uuid(cls, uuid)


def _get_by_name_label(model: Model, message: MessageDef) -> Handler:
    cls = message.cls
    return lambda call, label: call.db.by_name_label(cls, label)


def _get_record(model: Model, message: MessageDef) -> Handler:
    cls = message.cls
    return lambda call, ref: call.db.row(cls, ref)


def _get_all(model: Model, message: MessageDef) -> Handler:
    cls = message.cls
    return lambda call: call.db.refs(cls)


def _get_all_records(model: Model, message: MessageDef) -> Handler:
    cls = message.cls
    return lambda call: Listing(call.db, cls, call.db.rows(cls))


def _get_all_records_where(model: Model, message: MessageDef) -> Handler:
    class_def = model.classes[message.cls]
    return lambda call, expression: listing_where(call.db, class_def, expression)


def _get_all_where(model: Model, message: MessageDef) -> Handler:
    class_def = model.classes[message.cls]
    return lambda call, expression: tuple(
        row.ref for row in rows_where(call.db, class_def, expression)
    )


def rows_where(db: Database, class_def: ClassDef, text: str) -> list[Row]:
    """Give the objects an expression matches; by index where it names a key.

    Errors: INVALID_VALUE for bad syntax, INTERNAL_ERROR for unknown fields.
    """
    listing = listing_where(db, class_def, text)
    assert listing.test is not None
    return [row for row in listing.rows if listing.test(row)]


def listing_where(db: Database, class_def: ClassDef, text: str) -> Listing:
    """Give the objects an expression matches, not tested yet.  Errors: as ``rows_where``."""
    expression = query.parse(text)
    matches = query.compile_test(expression, _stored_getters(class_def))
    return Listing(db, class_def.name, _candidates(db, class_def, expression), matches)


def _candidates(db: Database, class_def: ClassDef, expression: query.Expression) -> Sequence[Row]:
    key = query.unique_key(expression)
    name = class_def.name
    if key is None or (key[0] == "name__label" and not class_def.by_name_label):
        return db.rows(name)
    table = db.tables[name]
    refs: Sequence[Ref | None]
    match key:
        case ("_ref", value):
            refs = (Ref(value),)
        case ("uuid", value):
            refs = (table.uuids.get(value),)
        case (_, value):
            refs = db.by_name_label(name, value)
    return [row for ref in refs if ref is not None and (row := db.find(name, ref)) is not None]


@cache
def _stored_getters(class_def: ClassDef) -> dict[str, Callable[[Row], str]]:
    """Map the database names of a class's fields to their stored text."""

    def getter(name: str) -> Callable[[Row], str]:
        return lambda row: query.stored_text(getattr(row, name))

    getters = {field.db_name: getter(field.name) for field in class_def.fields.values()}
    return {"_ref": lambda row: row.ref, **getters}


def _create(model: Model, message: MessageDef) -> Handler:
    cls = message.cls

    def create(call: Call, record: dict[str, Any]) -> Ref:
        with call.db.transaction() as tx:
            return tx.create(cls, constructor_fields(call, cls, record))

    return create


def _destroy(model: Model, message: MessageDef) -> Handler:
    cls = message.cls

    def destroy(call: Call, ref: Ref) -> None:
        call.db.row(cls, ref)
        with call.db.transaction() as tx:
            tx.delete(cls, ref)

    return destroy


def constructor_fields(
    call: Call, cls: str, record: dict[str, Any], *, references: bool = True
) -> dict[str, Any]:
    """Check the struct given to ``create`` and give the fields to store.

    Dynamic members are left out.  Errors: INTERNAL_ERROR naming a required
    member that is missing; with ``references`` HANDLE_INVALID for a reference
    to nothing.
    """
    fields: dict[str, Any] = {}
    for field in call.model.classes[cls].fields.values():
        if field.qualifier == "dynamic" or field.internal:
            continue
        if field.name in record:
            if references:
                check_reference(call, field, record[field.name])
            fields[field.name] = record[field.name]
    check_members(call.model, cls, record)
    return fields


def check_record(model: Model, message: MessageDef, arguments: list[Any]) -> None:
    """Check the struct of a ``create``; other messages pass.  Errors: as ``check_members``."""
    if message.implicit == "create":
        check_members(model, message.cls, arguments[-1])


def check_members(model: Model, cls: str, record: dict[str, Any]) -> None:
    """Refuse a struct for ``create`` that lacks a required member.

    Errors: INTERNAL_ERROR naming the member.
    """
    for field in model.classes[cls].fields.values():
        needed = field.required and field.qualifier != "dynamic" and not field.internal
        if needed and field.name not in record:
            raise err.INTERNAL_ERROR(f"{cls}.create: the member {field.name} is missing")


def check_reference(call: Call, field: FieldDef, value: object) -> None:
    """Refuse a reference to an object that does not exist.

    Null and empty references pass.  Errors: HANDLE_INVALID.
    """
    if field.dangling_ok:
        return
    kind = field.type
    if isinstance(kind, RefOf):
        refs: tuple[Any, ...] = (value,)
    elif isinstance(kind, SetOf) and isinstance(kind.element, RefOf):
        kind, refs = kind.element, tuple(value)  # type: ignore[arg-type]
    else:
        return
    for ref in refs:
        if ref not in (NULL_REF, "") and call.db.find(kind.cls, ref) is None:
            raise err.HANDLE_INVALID(kind.cls, ref)


def _field(message: MessageDef) -> FieldDef:
    assert message.field is not None
    return message.field


_MAKERS: dict[str, Callable[[Model, MessageDef], Handler]] = {
    "get": _get,
    "set": _set,
    "add": _add,
    "remove": _remove,
    "add_to": _add_to,
    "remove_from": _remove_from,
    "get_by_uuid": _get_by_uuid,
    "get_by_name_label": _get_by_name_label,
    "get_record": _get_record,
    "get_all": _get_all,
    "get_all_records": _get_all_records,
    "get_all_records_where": _get_all_records_where,
    "get_all_where": _get_all_where,
    "create": _create,
    "destroy": _destroy,
}


def implicit_kinds() -> frozenset[str]:
    """Give the kinds of implicit messages that need no function."""
    return frozenset(_MAKERS)

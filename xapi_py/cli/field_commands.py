"""PREFIX-list and PREFIX-param-*: all derived from the record tables.

Source: brief CLI-PROTOCOL 4.5; texts as a real server gives them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from xapi_py.base.names import Ref
from xapi_py.cli.context import Context
from xapi_py.cli.fields import FieldReader
from xapi_py.cli.parsing import parse_size, parse_value
from xapi_py.cli.problems import CommandFailed, UnknownField
from xapi_py.cli.selecting import Filter, filters_of, rows_of
from xapi_py.cli.suggestions import closest, did_you_mean
from xapi_py.cli.table import FieldSpec, RecordSpec
from xapi_py.cli.words import OUTPUT_MARK, STANDARD
from xapi_py.datamodel.model import Int, MapOf, String, Type

EXPENSIVE = "<expensive field>"

Verb = Callable[[Context, RecordSpec], Awaitable[None]]


async def run(context: Context) -> None:
    """Run the field command of the context."""
    record = context.command.record
    assert record is not None
    async with chosen_database(context) as there:
        await _VERBS[context.command.verb](there, record)


async def list_objects(context: Context, record: RecordSpec) -> None:
    """Print the objects that pass the filters."""
    filters = filters_of(context)
    named = {key for key, _ in filters}
    filters = [(k, v) for k, v in record.filters.items() if k not in named] + filters
    reader = FieldReader(context, record)
    rows = await rows_of(context, record, filters)
    rows = await Filter(reader, record, filters).matching(rows)
    await print_rows(context, record, rows, "params", reader)


async def print_rows(
    context: Context,
    record: RecordSpec,
    rows: list[Any],
    parameter: str,
    reader: FieldReader | None = None,
) -> None:
    """Print the fields of objects that ``parameter`` names, else the usual ones."""
    reader = reader or FieldReader(context, record)
    asked = context.words.list_of(parameter)
    fields = chosen_fields(record, asked)
    if context.words.output:
        fields = as_asked(record, fields, asked)
    table: list[list[tuple[str, str]]] = []
    for row in rows:
        await reader.breathe()
        cells: list[tuple[str, str]] = []
        for field in fields:
            text = EXPENSIVE if field.expensive else await reader.printed(row, field)
            cells.append((field.label, text))
        if context.printer.streams:
            context.printer.table([cells])
        else:
            table.append(cells)
    if not context.printer.streams:
        context.printer.table(table)


def chosen_fields(record: RecordSpec, asked: list[str]) -> list[FieldSpec]:
    """Give the fields to show, in the table's order; unknown names are left out."""
    names = set(asked or record.shown)
    everything = "all" in asked or not names
    return [f for f in record.fields.values() if not f.hidden and (everything or f.name in names)]


def as_asked(record: RecordSpec, fields: list[FieldSpec], asked: list[str]) -> list[FieldSpec]:
    """Put fields into the order they were asked for; the classic form has its own.

    Errors: CommandFailed for a name that is no field, which the classic form leaves out.
    """
    unknown = [name for name in asked if name not in record.fields and name != "all"]
    if unknown:
        raise CommandFailed(
            f"Unknown field '{unknown[0]}'{did_you_mean(unknown[0], record.fields)}"
        )
    places = {name: place for place, name in enumerate(asked)}
    return sorted(fields, key=lambda f: places.get(f.name, len(places)))


@asynccontextmanager
async def chosen_database(context: Context) -> AsyncIterator[Context]:
    """Give a context that reads what ``database:`` names: a file or disk of the server.

    Without it that is the pool's own database.  Errors: INTERNAL_ERROR,
    COULD_NOT_IMPORT_DATABASE.
    """
    database = context.words.members("database")
    if "filename" in database:
        session = await context.api.call("session.create_from_db_file", database["filename"])
    elif "vdi-uuid" in database:
        vdi = context.by_uuid("VDI", database["vdi-uuid"])
        session = await context.api.call("VDI.open_database", vdi)
    else:
        yield context
        return
    there = context.api.of_session(Ref(session))
    try:
        yield replace(context, api=there, uuids={})
    finally:
        await there.call("session.logout")


async def _object(context: Context, record: RecordSpec) -> Any:
    ref = context.by_uuid(record.cls, context.words.need("uuid"))
    return context.record(record.cls, ref)


def _named_field(context: Context, record: RecordSpec) -> FieldSpec:
    name = context.words.need("param-name")
    field = record.fields.get(name)
    if field is None:
        raise UnknownField(name, closest(name, record.fields))
    return field


async def param_list(context: Context, record: RecordSpec) -> None:
    """Print all fields of one object, the expensive ones too."""
    row = await _object(context, record)
    reader = FieldReader(context, record)
    shown = [f for f in record.fields.values() if not f.hidden]
    context.printer.single([(f.label, await reader.printed(row, f)) for f in shown])


async def param_get(context: Context, record: RecordSpec) -> None:
    """Print one field, or the value of one key of a map."""
    row = await _object(context, record)
    field = _named_field(context, record)
    reader = FieldReader(context, record)
    if not context.words.has("param-key"):
        context.printer.listing([await reader.printed(row, field)])
        return
    key = context.words.get("param-key")
    members = reader.members(row, field)
    if members is None:
        raise CommandFailed(f"Field '{field.name}' is not a map")
    if key not in members:
        raise CommandFailed(f"Key {key} not found in map")
    context.printer.listing([members[key]])


async def param_set(context: Context, record: RecordSpec) -> None:
    """Set scalar fields, and map fields key by key."""
    row = await _object(context, record)
    for key, value in context.words.pairs:
        if key in STANDARD or key == "uuid" or key.startswith(("database:", OUTPUT_MARK)):
            continue
        await _set_one(context, record, row, key, value)


async def _set_one(context: Context, record: RecordSpec, row: Any, key: str, value: str) -> None:
    field = record.fields.get(key)
    if field is not None:
        if field.is_map:
            raise CommandFailed(f"Field '{key}' is a map or set. use the 'name:key=value' syntax.")
        if not field.setter:
            raise CommandFailed(f"Field '{key}' is read-only.")
        await context.api.call(field.setter, row.ref, _parsed(context, field.setter, key, value))
        return
    member = record.member(key)
    if member is not None and member[0].is_map:
        await _set_key(context, record, row, *member, value)
        return
    raise CommandFailed(f"Unknown field '{key}'{did_you_mean(key, record.fields)}")


def _parsed(context: Context, setter: str, name: str, text: str) -> Any:
    """Read the new value of a field as the setter's type."""
    kind = _last_type(context, setter)
    if isinstance(kind, Int) and name.startswith("memory-"):
        return parse_size(name, text)
    return parse_value(context, name, text, kind)


def _last_type(context: Context, method: str) -> Type:
    params = context.model.messages[method].params
    return params[-1].type if len(params) > 1 else String()


async def _set_key(
    context: Context, record: RecordSpec, row: Any, field: FieldSpec, key: str, value: str
) -> None:
    call, ref = context.api.call, row.ref
    if field.set_in_map:
        await call(field.set_in_map, ref, key, value)
        return
    if field.set_map:
        await call(field.set_map, ref, {**_members(context, record, row, field), key: value})
        return
    if not field.adder:
        raise CommandFailed(f"Field '{field.name}' is read-only.")
    typed_key, typed_value = _pair(context, field, key, value)
    if field.remover:
        await call(field.remover, ref, typed_key)
    await call(field.adder, ref, typed_key, typed_value)


def _pair(context: Context, field: FieldSpec, key: str, value: str) -> tuple[Any, Any]:
    params = context.model.messages[field.adder].params
    return (
        parse_value(context, field.name, key, params[1].type),
        parse_value(context, field.name, value, params[2].type),
    )


def _members(context: Context, record: RecordSpec, row: Any, field: FieldSpec) -> dict[str, str]:
    return FieldReader(context, record).members(row, field) or {}


async def param_add(context: Context, record: RecordSpec) -> None:
    """Add a member to a set, or keys to a map."""
    row = await _object(context, record)
    field = _named_field(context, record)
    if field.is_map and (field.adder or field.set_map):
        skipped = {*STANDARD, "uuid", "param-name", "param-key"}
        for key, value in context.words.pairs:
            if key in skipped or key.startswith(OUTPUT_MARK):
                continue
            if field.set_map:
                members = _members(context, record, row, field)
                await context.api.call(field.set_map, row.ref, {**members, key: value})
            else:
                await context.api.call(field.adder, row.ref, *_pair(context, field, key, value))
    elif field.is_set and field.adder:
        if not context.words.has("param-key"):
            raise CommandFailed(
                "When adding a key to a set, use the syntax: "
                "*-param-add param-name=<name> param-key=<key>"
            )
        await _change_set(context, row, field, field.adder, context.words.get("param-key"), True)
    else:
        raise CommandFailed("Can only add to parameters of type Set or Map")


async def _change_set(
    context: Context, row: Any, field: FieldSpec, method: str, key: str, add: bool
) -> None:
    kind = _last_type(context, method)
    name = method.partition(".")[2]
    if not name.startswith("set_"):
        await context.api.call(method, row.ref, parse_value(context, field.name, key, kind))
        return
    (member,) = parse_value(context, field.name, key, kind) or ("",)
    current = tuple(v for v in getattr(row, field.path[0]) if v != member)
    await context.api.call(method, row.ref, (*current, member) if add else current)


async def param_remove(context: Context, record: RecordSpec) -> None:
    """Remove a member of a set or a key of a map; it has to be there."""
    row = await _object(context, record)
    field = _named_field(context, record)
    key = context.words.need("param-key")
    reader = FieldReader(context, record)
    if field.is_map and (field.remover or field.set_map):
        members = reader.members(row, field) or {}
        if key not in members:
            raise CommandFailed(f"Key {key} is not in map")
        if field.remover and not field.set_map:
            kind = _last_type(context, field.remover)
            typed = parse_value(context, field.name, key, kind)
            await context.api.call(field.remover, row.ref, typed)
        else:
            del members[key]
            await context.api.call(field.set_map, row.ref, members)
    elif field.is_set and field.remover:
        if key not in (await reader.text(row, field)).split(field.separator):
            raise CommandFailed(f"Key {key} is not in the set")
        await _change_set(context, row, field, field.remover, key, False)
    else:
        raise CommandFailed("Can only remove from parameters of type Set or Map")


async def param_clear(context: Context, record: RecordSpec) -> None:
    """Remove all members, or set a scalar to the empty text."""
    row = await _object(context, record)
    field = _named_field(context, record)
    if field.is_map:
        await _clear_map(context, record, row, field)
    elif field.is_set:
        await _clear_set(context, row, field)
    elif field.setter:
        value = _parsed(context, field.setter, field.name, "")
        await context.api.call(field.setter, row.ref, value)
    else:
        raise CommandFailed("Can only clear RW parameters")


async def _clear_map(context: Context, record: RecordSpec, row: Any, field: FieldSpec) -> None:
    whole = field.clear_map or field.set_map
    if not whole and field.path:
        setter = f"{record.cls}.set_{field.path[0]}"
        message = context.model.messages.get(setter)
        if message is not None and field.adder and isinstance(message.params[-1].type, MapOf):
            whole = setter
    if not whole:
        raise CommandFailed("Can only clear RW parameters")
    await context.api.call(whole, row.ref, {})


async def _clear_set(context: Context, row: Any, field: FieldSpec) -> None:
    if field.setter:
        await context.api.call(field.setter, row.ref, ())
        return
    if not field.remover:
        raise CommandFailed("Can only clear RW parameters")
    for member in tuple(getattr(row, field.path[0])):
        await context.api.call(field.remover, row.ref, member)


_VERBS: dict[str, Verb] = {
    "list": list_objects,
    "param-list": param_list,
    "param-get": param_get,
    "param-set": param_set,
    "param-add": param_add,
    "param-remove": param_remove,
    "param-clear": param_clear,
}

"""Commands that call one message; arguments and output follow from the model."""

from typing import Any

from xapi_py.api.dispatch import OF_COMMANDS
from xapi_py.base.names import NULL_REF
from xapi_py.cli.context import Context
from xapi_py.cli.multiple import for_each
from xapi_py.cli.parsing import parse_members, parse_size, parse_value
from xapi_py.cli.rendering import value_text
from xapi_py.cli.selecting import SELECTORS, select
from xapi_py.cli.values import Value, typed
from xapi_py.datamodel.model import Int, MapOf, MessageDef, RecordOf, RefOf, SetOf, Type, Void
from xapi_py.datamodel.profiles import load_model

SIZES = ("memory", "target", "min", "max", "static-min", "static-max", "dynamic-min", "dynamic-max")
_ANY_STATE = ("vm-memory", "vm-data-source", "vm-compute", "vm-copy-bios-strings")


async def run(context: Context) -> None:
    """Run the command of the context, once for each selected object."""
    assert context.command.do is not None
    method, _, arguments = context.command.do
    kinds = {a[1][0] if isinstance(a[1], tuple) else a[0] for a in arguments}
    if "selected" not in kinds:
        await _call(context, method, None)
        return
    flag = next((f for f in SELECTORS if f in context.command.flags), "")
    if not flag:  # such a command of 7.1 is about this host
        await _call(context, method, None)
        return
    name = context.command.name
    lenient = name.startswith(_ANY_STATE)
    rows = await select(context, SELECTORS[flag], templates=lenient, control_domains=lenient)

    async def one(row: Any) -> None:
        await _call(context, method, row)

    await for_each(context, rows, one)


async def _call(context: Context, method: str, row: Any) -> None:
    assert context.command.do is not None
    _, takes_record, arguments = context.command.do
    message = context.model.messages.get(method)
    if message is None and method in OF_COMMANDS:
        message = load_model("newest").messages[method]
    if message is None:
        await context.api.call(method)  # the API's own word for what it does not know
        return
    if takes_record:
        values = [_record(context, message, arguments, row)]
    else:
        wanted = message.params[: len(arguments)]
        values = [
            _value(context, argument, param.type, row)
            for argument, param in zip(arguments, wanted, strict=False)
        ]
    print_result(context, message, await context.api.call(method, *values))


def _record(
    context: Context, message: MessageDef, arguments: tuple[Any, ...], row: Any
) -> dict[str, Any]:
    kind = message.params[0].type
    assert isinstance(kind, RecordOf)
    fields = context.model.classes[kind.cls].fields
    given = {
        name: _value(context, argument, fields[name].type, row)
        for name, argument in arguments
        if name in fields
    }
    return constructor_record(context, kind.cls, **given)


def constructor_record(context: Context, cls: str, **given: Any) -> dict[str, Any]:
    """Give the struct for a constructor: the model's defaults but for what is given."""
    fields = context.model.classes[cls].fields
    record = {
        field.name: field.default
        for field in fields.values()
        if field.qualifier != "dynamic" and not field.internal
    }
    return {**record, **{name: value for name, value in given.items() if name in fields}}


def _value(context: Context, argument: tuple[str, str, str], kind: Type, row: Any) -> Any:
    source, name, default = argument
    words = context.words
    if source == "selected":
        return row.ref if row is not None else context.this_host
    if source in ("pool", "host"):
        if name and words.get(name):
            return parse_value(context, name, words.get(name), kind)
        return context.pool.ref if source == "pool" else context.this_host
    if source == "map":
        assert isinstance(kind, MapOf)
        return parse_members(context, name, words.members(name), kind)
    text = words.get(name, default)
    if source == "needed" and isinstance(kind, RefOf) and words.has(name):
        return context.by_uuid(kind.cls, text)  # an empty one, too, is nobody's uuid
    if text == "" and isinstance(kind, RefOf) and not words.has(name):
        return NULL_REF
    if isinstance(kind, Int) and name in SIZES:
        return parse_size(name, text)
    return parse_value(context, name, text, kind)


def print_result(context: Context, message: MessageDef, value: Any) -> None:
    """Print what a message answered: uuids for references, lines for sets."""
    kind = message.result

    def printed(item: Any, of: Type) -> str:
        text = value_text(context, item, of)
        return Value(text, typed(context, item, of)) if context.printer.wants_data else text

    match kind:
        case Void():
            return
        case SetOf(SetOf()):
            rows = [[(str(n), str(cell)) for n, cell in enumerate(row)] for row in value]
            context.printer.table(rows)
        case SetOf(element):
            context.printer.listing(printed(v, element) for v in value)
        case MapOf(key, item):
            pairs = [(value_text(context, k, key), printed(v, item)) for k, v in value.items()]
            if pairs:
                context.printer.single(pairs)
        case _:
            context.printer.listing([printed(value, kind)])

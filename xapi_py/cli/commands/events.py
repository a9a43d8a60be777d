"""event-wait.  Source: brief CLI-PROTOCOL 4.8."""

from typing import Any

from twisted.internet.defer import Deferred

from xapi_py.cli.context import Context
from xapi_py.cli.fields import FieldReader
from xapi_py.cli.problems import CommandFailed
from xapi_py.cli.registry import command
from xapi_py.cli.table import FieldSpec, RecordSpec
from xapi_py.cli.words import OUTPUT_MARK, STANDARD

CLASSES = (
    *("vm", "vdi", "sr", "host", "network", "vif", "pif", "vbd", "pbd", "pool"),
    *("task", "subject", "role", "secret", "vmss"),
)

WAIT_S = 3600.0

Condition = tuple[FieldSpec, str, str, bool]
"""(field, key or "", value, whether it must be equal)."""


@command("event-wait")
async def event_wait(context: Context) -> None:
    """Wait until an object meets all conditions at once."""
    prefix = context.words.need("class").lower()
    record = context.tables.records.get(prefix)
    if prefix not in CLASSES or record is None:
        raise CommandFailed(f"Cli listening for class '{prefix}' not currently implemented")
    conditions = _conditions(context, record)
    while True:
        token = context.api.token()
        reader = FieldReader(context, record)
        for row in context.records(record.cls):
            if await _meets(reader, row, conditions):
                return
        waiting = context.api.start("event.from", (record.cls,), token, WAIT_S)
        if isinstance(waiting, Deferred):
            await context.client.or_gone(waiting)
        context.uuids.clear()


def _conditions(context: Context, record: RecordSpec) -> list[Condition]:
    found = []
    for name, value in context.words.pairs:
        if name in STANDARD or name == "class" or name.startswith(OUTPUT_MARK):
            continue
        equal = not value.startswith("/=")
        text = value if equal else value[2:]
        field, key = _field(record, name)
        found.append((field, key, text, equal))
    return found


def _field(record: RecordSpec, name: str) -> tuple[FieldSpec, str]:
    if name in record.fields:
        return record.fields[name], ""
    member = record.member(name)
    if member is not None and member[0].is_map:
        return member
    raise CommandFailed(f"key missing: {name}")


async def _meets(reader: FieldReader, row: Any, conditions: list[Condition]) -> bool:
    for field, key, wanted, equal in conditions:
        if key:
            text = (reader.members(row, field) or {}).get(key)
        else:
            text = await reader.text(row, field)
        if (text == wanted) != equal:
            return False
    return True

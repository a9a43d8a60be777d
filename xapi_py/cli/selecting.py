"""Finding the objects a command is about: filters on printed fields, selectors, --multiple."""

from typing import Any

from xapi_py.base.errors import ApiError
from xapi_py.cli.context import Context
from xapi_py.cli.fields import FieldReader
from xapi_py.cli.problems import CommandFailed
from xapi_py.cli.suggestions import did_you_mean
from xapi_py.cli.table import FieldSpec, RecordSpec
from xapi_py.cli.words import OUTPUT_MARK, STANDARD, Pairs

SELECTORS = {"vm-selectors": "vm", "host-selectors": "host", "sr-selectors": "sr"}
"""Which objects a command takes, by its flag."""

PLURALS = {"vm": "VMs", "host": "hosts", "sr": "SRs"}
_PSEUDO = {
    "vm": ("uuid", "name-label"),
    "host": ("uuid", "hostname", "name-label"),
    "sr": ("uuid", "name-label"),
}


def filters_of(context: Context, own: frozenset[str] = frozenset()) -> Pairs:
    """Give the parameters that are filters: all but ``own`` and the standard ones."""
    found = []
    for key, value in context.words.pairs:
        base = key.partition(":")[0]
        if key in STANDARD or key in own or f"{base}:" in own or base == "database":
            continue
        if any(o.endswith(":") and key.startswith(f"{o[:-1]}-") for o in own):
            continue
        if key != "params" and not (key.startswith(OUTPUT_MARK)):
            found.append((key, value))
    return found


class Filter:
    """Matches objects of one class against filters, and-ed."""

    def __init__(self, reader: FieldReader, record: RecordSpec, filters: Pairs) -> None:
        self._reader = reader
        self._tests: list[tuple[FieldSpec, str, str]] = []
        self._unknown: list[str] = []
        self._pseudo: list[tuple[tuple[FieldSpec, ...], str]] = []
        for name, value in filters:
            self._add(record, name, value)
        self._record = record

    def _add(self, record: RecordSpec, name: str, value: str) -> None:
        if name in record.fields:
            self._tests.append((record.fields[name], "", value))
            return
        member = record.member(name)
        if member is not None:
            self._tests.append((*member, value))
            return
        self._unknown.append(name)

    def add_either(self, names: tuple[str, ...], value: str) -> None:
        """Match objects of which any of the fields has the value."""
        self._pseudo.append((tuple(self._record.fields[n] for n in names), value))

    async def matching(self, rows: list[Any]) -> list[Any]:
        """Give the rows that match.

        Errors: CommandFailed for a field the class does not have, if any row is left.
        """
        found = []
        for row in rows:
            await self._reader.breathe()
            if await self._matches(row):
                found.append(row)
        if found and self._unknown:
            hint = did_you_mean(self._unknown[0], self._record.fields)
            raise CommandFailed(f"Unknown field '{self._unknown[0]}'{hint}")
        return found

    async def _matches(self, row: Any) -> bool:
        for fields, value in self._pseudo:
            if value not in [await self._reader.text(row, f) for f in fields]:
                return False
        for field, key, value in self._tests:
            if not await self._passes(row, field, key, value):
                return False
        return True

    async def _passes(self, row: Any, field: FieldSpec, key: str, value: str) -> bool:
        if not key:
            text = await self._reader.text(row, field)
            if field.case_insensitive:
                return text.lower() == value.lower()
            return text == value
        if key == "contains" and field.is_set:
            return value in (await self._reader.text(row, field)).split(field.separator)
        members = self._reader.members(row, field)
        if members is None:
            parts = (await self._reader.text(row, field)).split("; ")
            members = dict(p.partition(": ")[::2] for p in parts)
        return key in members and members[key] == value


async def rows_of(context: Context, record: RecordSpec, filters: Pairs) -> list[Any]:
    """Give the rows of a class that may match: one where a uuid is asked for."""
    uuids = [value for key, value in filters if key == "uuid"]
    if uuids:
        try:
            ref = context.by_uuid(record.cls, uuids[0])
            return [context.record(record.cls, ref)]
        except ApiError as error:
            if error.code in ("UUID_INVALID", "HANDLE_INVALID"):
                return []
            raise
    if record.where == "true":
        return context.records(record.cls)
    return await context.api.rows(f"{record.cls}.get_all_records_where", record.where)


async def select(
    context: Context,
    prefix: str,
    *,
    templates: bool = False,
    control_domains: bool = False,
    multiple: bool = True,
) -> list[Any]:
    """Give the rows of the VMs, hosts or SRs the user selected.

    Errors: CommandFailed when none match, or several without --multiple.
    """
    record = context.tables.records[prefix]
    own = frozenset(context.command.required) | frozenset(context.command.optional)
    own |= frozenset(context.command.also)
    own -= {"uuid", prefix} if prefix != "host" or "uuid" not in context.command.required else {""}
    filters = filters_of(context, own)
    chosen = [value for key, value in filters if key == prefix]
    filters = [(key, value) for key, value in filters if key != prefix]
    if prefix == "vm":
        filters += [] if templates else [("is-a-template", "false")]
        filters += [] if control_domains else [("is-control-domain", "false")]
    reader = FieldReader(context, record)
    matcher = Filter(reader, record, filters)
    if chosen:
        matcher.add_either(_PSEUDO[prefix], chosen[0])
    rows = await matcher.matching(await rows_of(context, record, filters))
    plural = PLURALS[prefix]
    if not rows:
        names = {row.name_label for row in context.records(record.cls)}
        hint = "" if not chosen or chosen[0] in names else did_you_mean(chosen[0], names)
        raise CommandFailed(f"No matching {plural} found{hint}")
    if len(rows) > 1 and not (multiple and context.words.flag("multiple")):
        raise CommandFailed(
            f"Multiple matches {plural} found. --multiple required to complete the operation"
        )
    return rows

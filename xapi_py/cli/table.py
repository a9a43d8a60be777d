"""The commands and fields of one profile, built from the generated tables."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from xapi_py.cli._generated.commands import COMMANDS
from xapi_py.cli._generated.records import RECORDS
from xapi_py.datamodel.model import Model
from xapi_py.datamodel.profiles import load_model

STANDARD_LISTS = ("network-list", "sr-list", "vm-list")


@dataclass(frozen=True, slots=True, eq=False)
class FieldSpec:
    """One field as xe shows it.

    ``path`` are the API fields to follow from the object; ``call`` a message
    that gives the value instead, ``special`` a function of special_fields.
    The writers are message names, "" where there is none; ``settable`` fields
    take NAME=VALUE, ``growable`` ones take members.
    """

    name: str
    access: str
    label: str
    path: tuple[str, ...]
    call: str
    special: str
    show: str
    separator: str
    expensive: bool
    hidden: bool
    case_insensitive: bool
    setter: str
    adder: str
    remover: str
    set_in_map: str
    set_map: str
    clear_map: str

    @property
    def is_map(self) -> bool:
        """Whether members are KEY=VALUE pairs."""
        return self.access[0] == "M"

    @property
    def is_set(self) -> bool:
        """Whether the field has members."""
        return self.access[0] == "S"

    @property
    def takes_pairs(self) -> bool:
        """Whether NAME:KEY=VALUE can be written."""
        return bool(self.is_map and (self.adder or self.set_in_map or self.set_map))


@dataclass(frozen=True, slots=True, eq=False)
class RecordSpec:
    """The fields of one command prefix, in the order of output.

    ``shown`` are the fields of a plain list, empty for all.
    """

    prefix: str
    cls: str
    shown: tuple[str, ...]
    filters: dict[str, str]
    where: str
    fields: dict[str, FieldSpec]

    def member(self, name: str) -> tuple[FieldSpec, str] | None:
        """Read NAME:KEY, or NAME-KEY of a map or set, as (field, key).

        Of several fields that fit, the one with the longest name counts.
        """
        for at in range(len(name) - 1, 0, -1):
            if name[at] in ":-":
                field = self.fields.get(name[:at])
                if field is not None and (field.is_map or field.is_set or name[at] == ":"):
                    return field, name[at + 1 :]
        return None


@dataclass(frozen=True, slots=True, eq=False)
class CommandSpec:
    """One command; ``record`` and ``verb`` are set for those on fields of a class.

    ``also`` are parameters it reads although help does not name them.
    """

    name: str
    about: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    flags: frozenset[str]
    also: tuple[str, ...] = ()
    local_session: bool = False
    do: tuple[str, bool, tuple[Any, ...]] | None = None
    record: RecordSpec | None = None
    verb: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """Everything one profile knows."""

    model: Model
    commands: dict[str, CommandSpec]
    records: dict[str, RecordSpec]


@cache
def load_tables(profile: str) -> Tables:
    """Give the tables of a profile; the same object each time."""
    model = load_model(profile)  # type: ignore[arg-type]
    commands = {
        name: _command(name, entry, profile)
        for name, entry in COMMANDS.items()
        if _in(entry, profile)
    }
    records = {
        name: _record(name, entry, model) for name, entry in RECORDS.items() if _in(entry, profile)
    }
    for record in records.values():
        for verb in RECORDS[record.prefix]["commands"]:
            command = _field_command(record, verb)
            commands.setdefault(command.name, command)
    return Tables(model, dict(sorted(commands.items())), records)


def _in(entry: dict[str, Any], profile: str) -> bool:
    return "profiles" not in entry or profile in entry["profiles"]


def _command(name: str, entry: dict[str, Any], profile: str) -> CommandSpec:
    if profile == "7.1" and "in_7_1" in entry:
        entry = {**entry, **entry["in_7_1"]}
    return CommandSpec(
        name=name,
        about=entry["about"],
        required=tuple(entry.get("required", ())),
        optional=tuple(entry.get("optional", ())),
        flags=frozenset(entry.get("flags", ())),
        also=tuple(entry.get("also", ())),
        local_session=entry.get("session") == "local",
        do=entry.get("do"),
    )


def _record(prefix: str, entry: dict[str, Any], model: Model) -> RecordSpec:
    shown = entry.get("list_7_1", entry["list"]) if model.profile == "7.1" else entry["list"]
    fields = (_field(entry["class"], f, model) for f in entry["fields"] if _in(f, model.profile))
    return RecordSpec(
        prefix=prefix,
        cls=entry["class"],
        shown=tuple(shown),
        filters=entry.get("filters", {}),
        where=entry.get("where", "true"),
        fields={field.name: field for field in fields},
    )


def _field(cls: str, entry: dict[str, Any], model: Model) -> FieldSpec:
    access = entry["access"]
    from_call = "call" in entry or "special" in entry
    path = entry.get("from", "" if from_call else entry["name"].replace("-", "_"))
    writes = access.endswith("RW") and path and "." not in path
    kind = access[0]
    standard = {
        "set": f"{cls}.set_{path}" if writes and kind == "R" else "",
        "add": f"{cls}.add_{'to_' if kind == 'M' else ''}{path}" if writes and kind != "R" else "",
        "remove": f"{cls}.remove_{'from_' if kind == 'M' else ''}{path}"
        if writes and kind != "R"
        else "",
        "set_in_map": "",
        "set_map": "",
        "clear_map": "",
    }
    if writes and kind == "S":
        standard["set"] = ""
    writers = {k: entry.get(k, v) for k, v in standard.items()}
    writers = {k: v if v in model.messages else "" for k, v in writers.items()}
    return FieldSpec(
        name=entry["name"],
        access=access,
        label=_label(entry, access),
        path=tuple(path.split(".")) if path else (),
        call=entry.get("call", ""),
        special=entry.get("special", ""),
        show=entry.get("show", ""),
        separator=entry.get("separator", "; "),
        expensive=entry.get("expensive", False),
        hidden=entry.get("hidden", False),
        case_insensitive=entry.get("case_insensitive", False),
        setter=writers["set"],
        adder=writers["add"],
        remover=writers["remove"],
        set_in_map=writers["set_in_map"],
        set_map=writers["set_map"],
        clear_map=writers["clear_map"],
    )


def _label(entry: dict[str, Any], access: str) -> str:
    mark = f" ({access:>3})" + (" [DEPRECATED]" if entry.get("deprecated") else "")
    return f"{entry['name']}{mark}"


_ABOUT = {
    "list": "List objects of kind {0}; any field may be given as filter, params picks the fields.",
    "param-list": "Show all fields of one object of kind {0}.",
    "param-get": "Show one field of an object of kind {0}, or one key of it.",
    "param-set": "Change fields of an object of kind {0}.",
    "param-add": "Add a member to a field of an object of kind {0}.",
    "param-remove": "Remove a member from a field of an object of kind {0}.",
    "param-clear": "Remove all members of a field of an object of kind {0}, or empty it.",
}


def _field_command(record: RecordSpec, verb: str) -> CommandSpec:
    required: tuple[str, ...] = () if verb == "list" else ("uuid",)
    optional: tuple[str, ...] = ()
    shown = [f for f in record.fields.values() if not f.hidden]
    match verb:
        case "list":
            names = [f.name for f in shown]
            members = [f"{f.name}:contains" for f in shown if f.is_set]
            optional = ("params", "database:", *names, *members)
        case "param-list":
            optional = ("database:",)
        case "param-get":
            required, optional = ("uuid", "param-name"), ("param-key", "database:")
        case "param-set":
            names = [f.name for f in shown if f.setter]
            optional = (*names, *(f"{f.name}:" for f in shown if f.takes_pairs))
        case "param-add":
            required, optional = ("uuid", "param-name"), ("param-key",)
        case "param-remove":
            required = ("uuid", "param-name", "param-key")
        case "param-clear":
            required = ("uuid", "param-name")
    name = f"{record.prefix}-{verb}"
    return CommandSpec(
        name=name,
        about=_ABOUT[verb].format(record.prefix),
        required=required,
        optional=optional,
        flags=frozenset({"standard"} if name in STANDARD_LISTS else ()),
        record=record,
        verb=verb,
    )

"""Reads the YAML of the data model and takes the view of one profile.

Used when the generated modules are made and by tests, never by a running
server.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from xapi_py.datamodel.value_types import (
    Bool,
    DateTime,
    EnumOf,
    Float,
    Int,
    MapOf,
    OptionOf,
    RefOf,
    SetOf,
    Type,
    parse_type,
)

DIRECTORY = Path(__file__).parent
PROFILES = ("7.1", "newest", "all")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OVERRIDE = "v7_1"

Entry = dict[str, Any]


class SourceError(ValueError):
    """The YAML contradicts itself; the text names the place."""


@cache
def read_yaml(name: str) -> Any:
    """Read one YAML file of the data model."""
    return yaml.load((DIRECTORY / name).read_text(encoding="utf-8"), Loader=_LOADER)


@dataclass(frozen=True)
class Releases:
    """The order of release names, to tell what 7.1 already has."""

    named: tuple[str, ...]
    versions: frozenset[str]

    def in_7_1(self, release: str | None) -> bool:
        """Tell whether a lifecycle step lies in 7.1 or before."""
        if release is None:
            return False
        if release == "dundee-plus":
            return True
        if release in self.named:
            return self.named.index(release) <= self.named.index("ely")
        if release not in self.versions:
            raise SourceError(f"unknown release {release}")
        return False


@dataclass(frozen=True)
class View:
    """What one profile sees of an entry."""

    profile: str
    releases: Releases

    def sees(self, entry: Entry) -> bool:
        """Tell whether the entry exists in this profile."""
        only = entry.get("only")
        if self.profile == "newest":
            return only is None
        if self.profile == "all":
            return True
        if only == "7.1" or entry.get("in_7_1") is True:
            return True
        if entry.get("in_7_1") is False:
            return False
        if "since" not in entry and "prototyped" not in entry:
            return True
        return self.releases.in_7_1(entry.get("since", entry.get("prototyped")))

    def of(self, entry: Entry) -> Entry:
        """Give the entry with the values this profile has."""
        view = {k: v for k, v in entry.items() if k != _OVERRIDE}
        if self.profile == "7.1":
            view.update(entry.get(_OVERRIDE) or {})
            view = {k: v for k, v in view.items() if v is not None}
        return view

    def removed(self, entry: Entry) -> bool:
        """Tell whether the lifecycle of the entry is over in this profile."""
        gone = entry.get("removed")
        return gone is not None and (self.profile != "7.1" or self.releases.in_7_1(gone))

    def deprecated(self, entry: Entry) -> str:
        """Give the release that deprecated the entry, if this profile knows."""
        when = entry.get("deprecated")
        if when is None or (self.profile == "7.1" and not self.releases.in_7_1(when)):
            return ""
        return str(when)

    def role(self, text: str) -> tuple[str, bool]:
        """Split a role into its name and whether client-cert has it too."""
        name, plus, _ = text.partition("+")
        return name, bool(plus) and self.profile != "7.1"


def read_releases() -> Releases:
    """Read the order of the releases."""
    table = read_yaml("releases.yaml")
    return Releases(
        tuple(r["code"] for r in table["releases"] if r["code"]),
        frozenset(v for row in table["package_versions"] for v in row),
    )


def read_classes() -> dict[str, Entry]:
    """Read all class files, in the order the classes are declared."""
    found = [read_yaml(f"classes/{p.name}") for p in (DIRECTORY / "classes").glob("*.yaml")]
    return {c["class"]: c for c in sorted(found, key=lambda c: int(c["order"]))}


def read_enums(view: View) -> dict[str, tuple[str, ...]]:
    """Read the enumerations of a profile; "all" has every value of both."""
    enums = {}
    for name, entry in read_yaml("enums.yaml").items():
        if not view.sees(entry):
            continue
        values = list(entry["values"])
        older = entry.get(_OVERRIDE) or []
        if view.profile == "7.1" and older:
            values = older
        elif view.profile == "all":
            values += [v for v in older if v not in values]
        enums[name] = tuple(values)
    return enums


def unix_seconds(text: str) -> int:
    """Turn a date such as ``19700101T00:00:00Z`` into unix seconds."""
    moment = datetime.strptime(text, "%Y%m%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return int(moment.timestamp())


def zero_value(value_type: Type, enums: dict[str, tuple[str, ...]]) -> Any:
    """Give the data value a type has when nothing was set."""
    match value_type:
        case Int() | DateTime():
            return 0
        case Float():
            return 0.0
        case Bool():
            return False
        case SetOf():
            return ()
        case MapOf():
            return {}
        case RefOf():
            return "OpaqueRef:NULL"
        case EnumOf(name):
            return enums[name][0]
        case OptionOf():
            return None
    return ""


def data_value(value_type: Type, value: Any, enums: dict[str, tuple[str, ...]]) -> Any:
    """Turn a default of the YAML into a data value of its type.

    Raises ``SourceError`` when it does not fit.  An empty set stands for the
    first value where an enumeration is expected: one parameter has that.
    """
    match value_type, value:
        case (EnumOf(), []):
            return zero_value(value_type, enums)
        case (EnumOf(name), str()) if value in enums[name]:
            return value
        case (DateTime(), str()):
            return unix_seconds(value)
        case (Bool(), bool()):
            return value
        case (Int(), int()) if not isinstance(value, bool):
            return value
        case (Float(), float() | int()):
            return float(value)
        case (SetOf(element), list()):
            return tuple(data_value(element, v, enums) for v in value)
        case (MapOf(key, element), dict()):
            return {
                data_value(key, k, enums): data_value(element, v, enums) for k, v in value.items()
            }
        case (EnumOf() | DateTime() | Bool() | Int() | Float() | SetOf() | MapOf(), _):
            raise SourceError(f"{value!r} is no {value_type}")
        case (_, str()):
            return value
    raise SourceError(f"{value!r} is no {value_type}")


def default_of(entry: Entry, enums: dict[str, tuple[str, ...]]) -> Any:
    """Give the default of a field or parameter, or the zero of its type."""
    value_type = parse_type(entry["type"])
    if "default" not in entry:
        return zero_value(value_type, enums)
    return data_value(value_type, entry["default"], enums)

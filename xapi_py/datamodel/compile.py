"""Turns the YAML of the data model into the modules of ``_generated``.

``python -m xapi_py.datamodel.compile`` writes them; with ``--check`` it
writes nothing and fails when a checked-in module is not what it would write.
"""

import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

from xapi_py.datamodel import compile_tables, generated_modules
from xapi_py.datamodel.source import (
    DIRECTORY,
    PROFILES,
    Entry,
    View,
    default_of,
    read_classes,
    read_enums,
    read_releases,
    read_yaml,
)

OUTPUT = DIRECTORY / "_generated"
HEADER = '''\
# ===========================================================================
#  GENERATED FILE: DO NOT EDIT.
#  Written from the YAML files of xapi_py/datamodel by
#      python -m xapi_py.datamodel.compile
# ===========================================================================
"""{doc}"""

'''


def _params(entries: Iterable[Entry], enums: dict[str, tuple[str, ...]]) -> tuple[Any, ...]:
    return tuple(
        (p["name"], p["type"], default_of(p, enums)) if "default" in p else (p["name"], p["type"])
        for p in entries
    )


def _field(
    view: View, name: str, entry: Entry, enums: dict[str, tuple[str, ...]]
) -> tuple[Any, ...]:
    e = view.of(entry)
    write_role, client_cert = view.role(e.get("writer", ""))
    return (
        name,
        e["type"],
        e.get("db_name", name),
        e["mode"],
        default_of(e, enums),
        "default" in e,
        e.get("required", False),
        e.get("persist", True),
        e.get("internal", False),
        e.get("may_dangle", False),
        write_role,
        e.get("reader", "read-only"),
        client_cert,
        e.get("key_roles", {}),
        view.removed(e),
        e.get("since", e.get("prototyped")),
        view.deprecated(e),
        e.get("doc", ""),
    )


def _message(
    view: View, name: str, entry: Entry, enums: dict[str, tuple[str, ...]]
) -> tuple[Any, ...]:
    e = view.of(entry)
    role, client_cert = view.role(e["role"])
    others = {
        "client_cert": client_cert,
        "key_roles": e.get("key_roles"),
        "errors": tuple(e.get("errors", ())),
        "is_async": e.get("async", True),
        "pool_internal": e.get("pool_internal"),
        "hidden": e.get("hidden"),
        "secret": e.get("secret"),
        "removed": view.removed(e),
        "plugin": e.get("plugin"),
        "since": e.get("since", e.get("prototyped")),
        "deprecated": view.deprecated(e),
        "doc": e.get("doc"),
    }
    given = {k: v for k, v in others.items() if v}
    if e.get("session") is False:
        given["needs_session"] = False
    return name, _params(e["params"], enums), e["result"], role, given


def _class(view: View, entry: Entry, enums: dict[str, tuple[str, ...]]) -> tuple[Any, ...]:
    e = view.of(entry)
    role, client_cert = view.role(e["role"])
    flags = {
        "in_db": e["in_database"],
        "ctor": e["constructor"],
        **{k: e[k] for k in ("events", "get_all", "by_uuid", "by_name_label", "persist")},
        "role": role,
        "client_cert": client_cert,
        "implicit_role": e["implicit_role"],
        "removed": view.removed(e),
        "since": e.get("since", e.get("prototyped")),
        "deprecated": view.deprecated(e),
        "doc": e.get("doc", ""),
    }
    fields = [_field(view, n, f, enums) for n, f in e["fields"].items() if view.sees(f)]
    messages = [_message(view, n, m, enums) for n, m in e["messages"].items() if view.sees(m)]
    return e["class"], flags, fields, messages


def _class_lines(rows: list[tuple[Any, ...]]) -> list[str]:
    lines = ["CLASSES = ("]
    for name, flags, fields, messages in rows:
        lines += [f"    ({name!r},", f"     {flags!r},"]
        for part in (fields, messages):
            lines += ["     (", *(f"      {row!r}," for row in part), "     ),"]
        lines.append("    ),")
    return [*lines, ")"]


def profile_module(profile: str) -> str:
    """Write the module that holds the classes and tables of one profile."""
    view = View(profile, read_releases())
    enums = read_enums(view)
    rows = [_class(view, c, enums) for c in read_classes().values() if view.sees(c)]
    tables = compile_tables.profile_tables(view)
    lines = [f"PROFILE = {profile!r}"]
    for name, value in (("ENUMS", enums), *tables.items()):
        lines += compile_tables.assignment(name, value)
    lines += _class_lines(rows)
    doc = f"Data model, profile {profile}."
    return HEADER.format(doc=doc) + "\n".join(lines) + "\n"


def errors_module() -> str:
    """Write the module of the error codes."""
    table = read_yaml("errors.yaml")
    lines = ["from xapi_py.base.errors import ErrorCode", ""]
    for code, entry in table["errors"].items():
        params = entry["params"] if isinstance(entry, dict) else entry
        shown = None if params is None else tuple(params)
        lines.append(f"{code} = ErrorCode({code!r}, {shown!r})")
    lines += compile_tables.assignment("STORAGE_ERRORS", table["storage"])
    return (
        HEADER.format(doc="Error codes and the numbers of storage errors.")
        + "\n".join(lines)
        + "\n"
    )


@cache
def generate() -> dict[str, str]:
    """Give the text of every generated module by file name."""
    modules = {
        "__init__.py": HEADER.format(doc="Generated modules of the data model.")
        + "__all__: list[str] = []\n",
        "error_codes.py": errors_module(),
    }
    for profile in PROFILES:
        modules[f"profile_{profile.replace('.', '_')}.py"] = profile_module(profile)
    for name, (doc, table) in compile_tables.shared_tables().items():
        lines = ["from typing import Any", ""]
        for key, value in table.items():
            lines += compile_tables.assignment(f"{key}: Any", value)
        modules[f"{name}.py"] = HEADER.format(doc=doc) + "\n".join(lines) + "\n"
    return modules


def main(arguments: list[str] | None = None) -> int:
    """Write the generated modules, or check them; give the exit status."""
    return generated_modules.run("xapi_py.datamodel.compile", generate, OUTPUT, arguments)


if __name__ == "__main__":
    sys.exit(main())

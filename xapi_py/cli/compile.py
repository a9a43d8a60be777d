"""Turns the YAML of the command line into the modules of ``_generated``.

``python -m xapi_py.cli.compile`` writes them; with ``--check`` it writes
nothing and fails when a checked-in module is not what it would write.

tables/commands.yaml: ``do`` says which message a command calls and where the
arguments come from: ``Class.message(a, b=x, c:, @, ^pool)`` means parameter a,
parameter b or the text x, the map parameter c:KEY=VALUE, the selected object,
the pool (``^host``: this host).  ``Class.create{field: a, ...}`` builds the
record of a constructor.  How text becomes a value follows from the model.
"""

import pprint
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from xapi_py.datamodel import generated_modules

DIRECTORY = Path(__file__).parent
TABLES = DIRECTORY / "tables"
OUTPUT = DIRECTORY / "_generated"
HEADER = '''\
# ===========================================================================
#  GENERATED FILE: DO NOT EDIT.
#  Written from the YAML files of xapi_py/cli/tables by
#      python -m xapi_py.cli.compile
# ===========================================================================
"""{doc}"""

from typing import Any

'''
_DO = re.compile(r"(?P<message>\w+\.\w+)(?:\((?P<args>.*)\)|\{(?P<fields>.*)\})")
_ARGUMENT = re.compile(r"(?P<name>[\w-]+?)(?:(?P<map>:)|=(?P<default>.*))?")

Argument = tuple[str, str, str]
"""(kind, name, default): kind is selected, pool, host, map, needed or optional."""


class TableError(Exception):
    """The YAML says something this program does not understand."""


def parse_do(text: str) -> tuple[str, bool, tuple[Any, ...]]:
    """Read a ``do``: the message, whether it takes a record, and its arguments.

    A record's arguments are pairs of field and argument.  Errors: TableError.
    """
    match = _DO.fullmatch(text)
    if match is None:
        raise TableError(f"not a call: {text}")
    if match["args"] is not None:
        words = [word.strip() for word in match["args"].split(",") if word.strip()]
        return match["message"], False, tuple(parse_argument(word) for word in words)
    pairs = (pair.split(": ", 1) for pair in match["fields"].split(", "))
    return match["message"], True, tuple((f.strip(), parse_argument(a.strip())) for f, a in pairs)


def parse_argument(word: str) -> Argument:
    """Read one argument of a ``do``.  Errors: TableError."""
    if word == "@":
        return "selected", "", ""
    if word.startswith("^"):
        return word[1:], "", ""
    match = _ARGUMENT.fullmatch(word)
    if match is None:
        raise TableError(f"not an argument: {word}")
    if match["map"]:
        return "map", match["name"], ""
    default = match["default"]
    if default is None:
        return "needed", match["name"], ""
    if default.startswith("^"):
        return default[1:], match["name"], ""
    return "optional", match["name"], default


def _commands() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load((TABLES / "commands.yaml").read_text("utf-8"))
    for entry in table.values():
        if "do" in entry:
            entry["do"] = parse_do(entry["do"])
    return table


@cache
def generate() -> dict[str, str]:
    """Give the text of every generated module by file name."""
    records = yaml.safe_load((TABLES / "records.yaml").read_text("utf-8"))
    errors = yaml.safe_load((TABLES / "error_texts.yaml").read_text("utf-8"))
    modules = {
        "__init__.py": '"""Generated modules of the command line."""\n\n__all__: list[str] = []\n'
    }
    for name, constant, doc, value in (
        ("commands", "COMMANDS", "The commands written by hand.", _commands()),
        ("records", "RECORDS", "The objects xe shows and their fields.", records),
        ("error_texts", "ERROR_TEXTS", "What xe says about errors of the API.", errors),
    ):
        shown = pprint.pformat(value, width=100, compact=True, sort_dicts=False)
        modules[f"{name}.py"] = f"{HEADER.format(doc=doc)}{constant}: Any = {shown}\n"
    return modules


def main(arguments: list[str] | None = None) -> int:
    """Write the generated modules, or check them; give the exit status."""
    return generated_modules.run("xapi_py.cli.compile", generate, OUTPUT, arguments)


if __name__ == "__main__":
    sys.exit(main())

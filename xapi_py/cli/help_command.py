"""xe help.  Source: brief CLI-PROTOCOL 4.7."""

from collections.abc import Iterable

from xapi_py.cli import topics
from xapi_py.cli.forms import FormPrinter
from xapi_py.cli.printer import MinimalPrinter, Printer, Record
from xapi_py.cli.suggestions import closest
from xapi_py.cli.table import CommandSpec, Tables
from xapi_py.cli.words import OUTPUT_MARK, STANDARD, Words

LINE_LIMIT = 74
PAGE = 80
"""Columns of grouped help that does not go to a terminal."""

USAGE = """\
Usage:
  xe <command>
    [ -s <server> ]            XenServer host
    [ -p <port> ]              XenServer port number
    [ -u <username> -pw <password> | -pwf <password file> ]
                               User authentication (password or file)
    [ --nossl ]                Disable SSL/TLS
    [ --debug ]                Enable debug output
    [ --debug-on-fail ]        Enable debug output only on failure
    [ --traceparent <value> ]  Distributed tracing context
    [ <other arguments> ... ]  Command-specific options

To get help on a specific command:
  xe help <command>
"""
USAGE_7_1 = """\
Usage: xe <command> [-s server] [-pw passwd] [-p port] [-u user] [-pwf password-file]
  [command specific arguments]

To get help on a specific command: xe help <command>
"""
LISTING = """
To get a full listing of commands:
  xe help --all
"""
LISTING_7_1 = "To get a full listing of commands: xe help --all\n"


def show_help(printer: Printer, words: Words, tables: Tables, terminal: int = 0) -> None:
    """Print the help a user asked for.

    On a terminal (of ``terminal`` columns), and with ``--grouped``, it is by
    topic; else, and with ``--plain``, it is what the original prints.
    """
    grouped = words.flag("grouped", bool(terminal) and not words.flag("plain"))
    width = (terminal or PAGE) if grouped and printer.streams else 0
    asked = [
        key
        for key, value in words.pairs
        if key not in STANDARD and not value and not key.startswith(OUTPUT_MARK)
    ]
    if asked:
        for name in asked:
            _one(printer, name, tables, width)
        return
    everything = words.has("all")
    commands = [
        c
        for c in tables.commands.values()
        if "hidden" not in c.flags and (everything or "standard" in c.flags)
    ]
    if isinstance(printer, MinimalPrinter):
        printer.listing(c.name for c in commands)
    elif isinstance(printer, FormPrinter):
        printer.table([description(c) for c in commands])
    elif width and everything:
        topics.show_all(printer, commands, width)
    elif width:
        topics.show_common(printer, USAGE, commands, width)
    else:
        _original(printer, [c.name for c in commands], everything, tables)


def _original(printer: Printer, names: list[str], everything: bool, tables: Tables) -> None:
    old = tables.model.profile == "7.1"
    usage = USAGE_7_1 if old else USAGE
    if not everything:
        usage += LISTING_7_1 if old else LISTING
    heading = "Full command list" if everything else "Common command list"
    head = f"{usage}\n{heading}\n{'-' * len(heading)}\n"
    for line in head.split("\n"):
        printer.message(line)
    groups = _grouped(names) if everything else [names]
    for number, group in enumerate(groups):
        if number:
            printer.message("")
        for line in wrapped(group):
            printer.message(line)


def _grouped(names: list[str]) -> list[list[str]]:
    hosts = [n for n in names if n.startswith("host-")]
    vms = [n for n in names if n.startswith("vm-")]
    others = [n for n in names if not n.startswith(("host-", "vm-"))]
    return [hosts, vms, others]


def wrapped(names: Iterable[str]) -> list[str]:
    """Lay out names in lines that start with four blanks."""
    lines: list[str] = []
    line = ""
    for name in names:
        if line and len(line) + len(name) > LINE_LIMIT:
            lines.append(line)
            line = ""
        line = f"{line}, {name}" if line else f"    {name}"
    return [*lines, line] if line else lines


def _one(printer: Printer, name: str, tables: Tables, width: int) -> None:
    command = tables.commands.get(name)
    if command is None:
        if topics.show_prefix(printer, name, tables, width or PAGE):
            return
        likely = closest(name, tables.commands)
        hint = f" (did you mean '{likely}'?)" if likely else ""
        printer.message(f"Unknown command '{name}'{hint}")
        return
    if width:
        topics.show_command(printer, command, width)
    else:
        printer.single(description(command))


def description(command: CommandSpec) -> Record:
    """Give what help shows about one command."""
    selectors = sorted(f"<{f}>" for f in command.flags if f.endswith("-selectors"))
    return [
        ("command name        ", command.name),
        ("reqd params     ", ", ".join(command.required)),
        ("optional params ", ", ".join([*command.optional, *selectors])),
        ("description     ", command.about),
    ]

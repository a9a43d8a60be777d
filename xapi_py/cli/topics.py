"""Help for people on a terminal: commands by topic, wrapped to its width.

Not in the original, whose own layout is in ``help_command``.
"""

import textwrap
from collections.abc import Iterable

from xapi_py.cli.printer import Printer
from xapi_py.cli.table import CommandSpec, Tables

TOPICS: dict[str, tuple[str, ...]] = {
    "Virtual machines": ("vm", "snapshot", "template", "appliance", "vm-group", "vmss", "console"),
    "Disks and storage": ("vdi", "sr", "pbd", "cd", "sm", "lvhd", "drtask", "blob"),
    "Devices of virtual machines": ("vbd", "vif", "vgpu", "vusb", "vtpm"),
    "Networks": ("network", "pif", "bond", "vlan", "tunnel", "network-sriov", "sdn-controller"),
    "Hosts": ("host", "host-cpu", "host-crashdump", "hostdriver", "hostdriver-variant", "feature"),
    "Devices of hosts": (
        *("pgpu", "gpu-group", "vgpu-type", "pci", "pusb", "usb-group"),
        *("pvs-site", "pvs-server", "pvs-proxy", "pvs-cache-storage"),
    ),
    "Pool": ("pool", "cluster", "cluster-host", "certificate"),
    "Users and access": ("subject", "role", "session", "secret", "user", "caller", "rate-limit"),
    "Updates": ("update", "patch", "repository"),
    "Tasks, events and logs": (
        *("task", "event", "message", "audit-log", "log", "diagnostic", "observer"),
    ),
}
"""Titles, and how the commands below them begin; the longest beginning counts."""

OTHER = "Other"
LABEL = 14
MINIMUM = 40
"""Narrower terminals get lines of this length."""

_TITLES = {prefix: title for title, prefixes in TOPICS.items() for prefix in prefixes}


def prefix_of(name: str) -> str:
    """Give the beginning of a command by which it is sorted, "" when none fits."""
    for at in range(len(name), 0, -1):
        if (at == len(name) or name[at] == "-") and name[:at] in _TITLES:
            return name[:at]
    return ""


def by_topic(commands: Iterable[CommandSpec]) -> dict[str, list[CommandSpec]]:
    """Sort commands under the titles, in the order of these."""
    found: dict[str, list[CommandSpec]] = {title: [] for title in (*TOPICS, OTHER)}
    for command in commands:
        found[_TITLES.get(prefix_of(command.name), OTHER)].append(command)
    return {title: members for title, members in found.items() if members}


def show_common(printer: Printer, usage: str, commands: list[CommandSpec], width: int) -> None:
    """Print the usage and the common commands with what each does."""
    printer.message(usage.rstrip())
    for title, members in by_topic(commands).items():
        printer.message(f"\n{title}")
        _described(printer, members, width)
    printer.message(
        "\nMore: xe help --all            every command by topic\n"
        "      xe help vm               the commands that begin with vm-\n"
        "      xe help vm-start         one command\n"
        "      xe help --plain [--all]  the same as the original prints it\n"
        "Any command: --minimal for values only, --output json|yaml|csv|table for programs"
    )


def show_all(printer: Printer, commands: list[CommandSpec], width: int) -> None:
    """Print the names of all commands by topic; those on fields of a class on one line."""
    for number, (title, members) in enumerate(by_topic(commands).items()):
        printer.message(title if number == 0 else f"\n{title}")
        prefixes = dict.fromkeys(prefix_of(c.name) for c in members)
        for prefix in prefixes:
            names = [c.name for c in members if prefix_of(c.name) == prefix]
            printer.message(_wrapped("", ", ".join(names), width, "  "))


def show_prefix(printer: Printer, word: str, tables: Tables, width: int) -> bool:
    """Print what each command that begins with a word does; whether there is any."""
    members = [
        c
        for c in tables.commands.values()
        if c.name.startswith(f"{word}-") and "hidden" not in c.flags
    ]
    _described(printer, members, width)
    return bool(members)


def show_command(printer: Printer, command: CommandSpec, width: int) -> None:
    """Print what one command does and takes."""
    printer.message(command.name)
    printer.message(_wrapped("", command.about, width, "    "))
    selectors = sorted(f"<{f}>" for f in command.flags if f.endswith("-selectors"))
    for title, names in (
        ("required", command.required),
        ("optional", (*command.optional, *selectors)),
    ):
        if names:
            printer.message(f"\n  {title}:")
            printer.message(_wrapped("", ", ".join(names), width, "    "))


def _described(printer: Printer, members: list[CommandSpec], width: int) -> None:
    column = min(max((len(c.name) for c in members), default=0), 34) + 4
    for command in members:
        label = f"  {command.name}".ljust(column)
        separate = len(label) > column
        if separate:
            printer.message(label)
        printer.message(_wrapped("" if separate else label, command.about, width, " " * column))


def _wrapped(first: str, text: str, width: int, indent: str) -> str:
    return textwrap.fill(
        text,
        max(width, MINIMUM),
        initial_indent=first or indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )

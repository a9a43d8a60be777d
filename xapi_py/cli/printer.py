"""Output of commands: messages, lists and tables, in the form the user asked for.

The classic layout and --minimal are exact.  Source: brief CLI-PROTOCOL 4.4.
"""

import json
from collections.abc import Callable, Iterable, Sequence

import yaml

Record = Sequence[tuple[str, str]]
"""One record of a table: pairs of label and value, in order."""

Say = Callable[[str], None]


class Printer:
    """What a command says.  ``out`` prints a text and a newline, ``error`` as it is.

    ``streams`` printers print what they get at once; for the others it
    matters which records come in one table.
    """

    streams = True

    def __init__(self, out: Say, error: Say) -> None:
        self._out = out
        self._error = error

    def message(self, text: str) -> None:
        """Say something to a person."""
        self._out(text)

    def listing(self, items: Iterable[str]) -> None:
        """Print each item on a line."""
        for item in items:
            self._out(item)

    def table(self, records: Sequence[Record]) -> None:
        """Print each record as a block of aligned lines."""
        for record in records:
            self._out(block(record))

    def warning(self, text: str) -> None:
        """Say something on standard error."""
        self._error(f"{text}\n")

    def flush(self) -> None:
        """Print what was kept for the end."""


def block(record: Record) -> str:
    """Lay out one record: the first label at the left, the others aligned to the right."""
    width = 4 + max((len(label) for label, _ in record), default=0)
    lines = []
    for number, (label, value) in enumerate(record):
        aligned = label.rjust(width) if number else label.ljust(width)
        lines.append(f"{aligned}: {value}")
    return "\n".join(lines) + "\n\n"


class MinimalPrinter(Printer):
    """Values only, joined with commas, in one print at the end."""

    streams = False

    def __init__(self, out: Say, error: Say) -> None:
        super().__init__(out, error)
        self._parts: list[str] = []

    def message(self, text: str) -> None:
        pass

    def warning(self, text: str) -> None:
        pass

    def listing(self, items: Iterable[str]) -> None:
        self._add(list(items))

    def table(self, records: Sequence[Record]) -> None:
        if all(records):
            self._add([record[0][1] for record in records])

    def flush(self) -> None:
        self._out(",".join(reversed(self._parts)))

    def _add(self, values: list[str]) -> None:
        if values:
            self._parts.append(
                ",".join(v.replace("\\", "\\\\").replace(",", "\\,") for v in values)
            )


class FormPrinter(Printer):
    """Collects everything and prints it as json, yaml, csv or a table at the end."""

    streams = False

    def __init__(self, out: Say, error: Say, form: str) -> None:
        super().__init__(out, error)
        self._form = form
        self._records: list[dict[str, str]] = []
        self._items: list[str] = []

    def message(self, text: str) -> None:
        self._items.append(text)

    def listing(self, items: Iterable[str]) -> None:
        self._items += items

    def table(self, records: Sequence[Record]) -> None:
        self._records += [{plain(label): value for label, value in r} for r in records]

    def flush(self) -> None:
        if self._form == "json":
            self._out(json.dumps(self._everything(), indent=2, ensure_ascii=False))
        elif self._form == "yaml":
            text = yaml.safe_dump(self._everything(), sort_keys=False, allow_unicode=True)
            self._out(text.removesuffix("\n"))
        else:
            lines = csv_lines if self._form == "csv" else table_lines
            for item in self._items:
                self._out(item)
            if self._records:
                self._out("\n".join(lines(self._records)))

    def _everything(self) -> object:
        return [*self._items, *self._records] if self._items else self._records


def plain(label: str) -> str:
    """Give a label's name without its access mark and trailing blanks."""
    return label.split(" (", 1)[0].strip()


def _columns(records: list[dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record))


def csv_lines(records: list[dict[str, str]]) -> list[str]:
    """Give records as comma separated values (RFC 4180) with a head line."""

    def quoted(value: str) -> str:
        special = any(c in value for c in ',"\n\r')
        return '"' + value.replace('"', '""') + '"' if special else value

    names = _columns(records)
    rows = [[record.get(name, "") for name in names] for record in records]
    return [",".join(map(quoted, row)) for row in [names, *rows]]


def table_lines(records: list[dict[str, str]]) -> list[str]:
    """Give records as a table with a column for each field."""
    names = _columns(records)
    rows = [names, *([r.get(name, "").replace("\n", " ") for name in names] for r in records)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(names))]
    lines = [
        "  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return [lines[0], "  ".join("-" * w for w in widths), *lines[1:]]


def make_printer(out: Say, error: Say, form: str, minimal: bool) -> Printer:
    """Choose the printer for what the user asked for."""
    if minimal:
        return MinimalPrinter(out, error)
    if form:
        return FormPrinter(out, error, form)
    return Printer(out, error)

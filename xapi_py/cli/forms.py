"""Output for programs: json and yaml with lists and maps, csv and tables with text.

Not in the original.  Everything is kept and rendered at the end, so that what
a program reads is one whole document.
"""

import json
import unicodedata
from collections.abc import Iterable, Sequence

import yaml

from xapi_py.cli.printer import MinimalPrinter, Printer, Record, Say
from xapi_py.cli.values import data_of

FORMS = ("json", "yaml", "csv", "table")
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class FormPrinter(Printer):
    """Collects everything and prints it in one of ``FORMS`` at the end."""

    streams = False

    def __init__(self, out: Say, error: Say, form: str) -> None:
        super().__init__(out, error)
        self.wants_data = form in ("json", "yaml")
        self._form = form
        self._records: list[dict[str, str]] = []
        self._items: list[str] = []
        self._everything: list[str | dict[str, str]] = []
        self._upright = False

    def message(self, text: str) -> None:
        self.listing([text])

    def listing(self, items: Iterable[str]) -> None:
        items = list(items)
        self._items += items
        self._everything += items

    def table(self, records: Sequence[Record]) -> None:
        found = [{plain(label): value for label, value in r} for r in records]
        self._records += found
        self._everything += found

    def single(self, record: Record) -> None:
        self._upright = True
        self.table([record])

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self._items) + sum(map(len, self._records))

    def render(self) -> str:
        """Give the whole text; may be called in another thread."""
        if self.wants_data:
            whole = [
                data_of(x) if isinstance(x, str) else {n: data_of(v) for n, v in x.items()}
                for x in self._everything
            ]
            return written(self._form, whole)
        lines = list(self._items)
        if self._records and self._form == "csv":
            lines += csv_lines(self._records)
        elif self._records:
            lines += (upright_lines if self._upright else table_lines)(self._records)
        return "\n".join(lines)

    def flush(self) -> None:
        text = self.render()
        if text or self.wants_data:
            self._out(text)


def written(form: str, value: object) -> str:
    """Write a value as json or yaml, without a newline at the end."""
    if form == "json":
        return json.dumps(value, indent=2, ensure_ascii=False)
    text = yaml.dump(value, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=1 << 20)
    return str(text).removesuffix("\n").removesuffix("\n...")


def plain(label: str) -> str:
    """Give a label's name without its access mark and trailing blanks."""
    return label.split(" (", 1)[0].strip()


def _columns(records: list[dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record))


def csv_lines(records: list[dict[str, str]]) -> list[str]:
    """Give records as comma separated values (RFC 4180) with a head line."""
    names = _columns(records)
    alone = len(names) == 1

    def quoted(value: str) -> str:
        special = any(c in value for c in ',"\n\r') or (alone and not value)
        return '"' + value.replace('"', '""') + '"' if special else value

    rows = [[record.get(name, "") for name in names] for record in records]
    return [",".join(map(quoted, row)) for row in [names, *rows]]


def table_lines(records: list[dict[str, str]]) -> list[str]:
    """Give records as a table with a column for each field."""
    names = _columns(records)
    rows = [names, *([on_one_line(r.get(name, "")) for name in names] for r in records)]
    widths = [max(cells(row[i]) for row in rows) for i in range(len(names))]
    lines = [
        "  ".join(v + " " * (w - cells(v)) for v, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("-" * w for w in widths), *lines[1:]]


def upright_lines(records: list[dict[str, str]]) -> list[str]:
    """Give each record as lines of name and value."""
    pairs = [{"field": n, "value": v} for record in records for n, v in record.items()]
    return table_lines(pairs)


def on_one_line(text: str) -> str:
    """Give a text without what would break a line."""
    return " ".join(text.splitlines()) if len(text.splitlines()) > 1 else text.strip("\r\n")


def cells(text: str) -> int:
    """Count the places a text takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def make_printer(out: Say, error: Say, form: str, minimal: bool) -> Printer:
    """Choose the printer for what the user asked for."""
    if minimal:
        return MinimalPrinter(out, error)
    if form:
        return FormPrinter(out, error, form)
    return Printer(out, error)


def error_text(form: str, code: str, text: str, params: dict[str, str]) -> str:
    """Give an error in one of ``FORMS``, with a newline at the end."""
    if form in ("json", "yaml"):
        whole = {"error": code, "message": text, "parameters": params}
        return written(form, whole) + "\n"
    record = {"error": code, "message": text, **params}
    lines = csv_lines([record]) if form == "csv" else upright_lines([record])
    return "\n".join(lines) + "\n"

"""Output of commands: messages, lists and tables, in the form the user asked for.

The classic layout and --minimal are exact.  Source: brief CLI-PROTOCOL 4.4.
"""

from collections.abc import Callable, Iterable, Sequence

Record = Sequence[tuple[str, str]]
"""One record of a table: pairs of label and value, in order."""

Say = Callable[[str], None]


class Printer:
    """What a command says.  ``out`` prints a text and a newline, ``error`` as it is.

    ``streams`` printers print what they get at once; for the others it
    matters which records come in one table.
    """

    streams = True
    wants_data = False
    """Whether values are to come as ``Value``, with what they are beside their text."""

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

    def single(self, record: Record) -> None:
        """Print everything about one object."""
        self.table([record])

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

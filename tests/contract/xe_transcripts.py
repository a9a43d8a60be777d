"""Reading recorded runs of xe, and making two runs comparable."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
DATE = re.compile(r"\b\d{8}T\d\d:\d\d:\d\dZ")
SENTENCE = re.compile(
    r"2> (?!Error|Unknown|Required|Syntax|For usage|Authentication|Did you)[A-Z].{15,}\."
)
"""What is said about an error of the API: our own words."""
ABOUT = re.compile(r"1>\s+description\s+: .*")
CUT = re.compile(r"^\.\.\. \(\d+ lines cut\)$")


@dataclass(frozen=True)
class Recorded:
    """One command and what it printed: lines that begin with ``1> `` or ``2> ``."""

    number: int
    command: str
    lines: tuple[str, ...]
    status: int

    @property
    def words(self) -> list[str]:
        """The command's words; values with blanks were recorded without quotes."""
        text = re.sub(r"(=)my pool\b", r"\1'my pool'", self.command)
        return shlex.split(text)[1:]


def read(path: Path) -> list[Recorded]:
    """Give the runs of a transcript."""
    found = []
    for number, block in enumerate(path.read_text("utf-8").split("\n\n$ ")):
        command, *lines = block.removeprefix("$ ").rstrip("\n").split("\n")
        status = int(lines.pop().removeprefix("rc="))
        found.append(Recorded(number, command, tuple(lines), status))
    return found


def produced(stdout: str, stderr: str) -> tuple[str, ...]:
    """Give output in the form of the transcript."""
    lines = [f"1> {line}" for line in stdout.split("\n")[:-1]]
    lines += [f"2> {line}" for line in stderr.split("\n")[:-1]]
    return tuple(lines)


def comparable(lines: tuple[str, ...]) -> list[str]:
    """Replace what differs from run to run, and texts that are not meant to be equal."""
    found = []
    for line in lines:
        line = DATE.sub("DATE", UUID.sub("UUID", line))
        line = "2> SENTENCE" if SENTENCE.fullmatch(line) else ABOUT.sub("1> ABOUT", line)
        found.append(line)
    return found


def same(recorded: tuple[str, ...], ours: tuple[str, ...]) -> bool:
    """Whether two outputs are equal; a cut in the recording stands for any lines."""
    wanted, got = comparable(recorded), comparable(ours)
    for number, line in enumerate(wanted):
        if CUT.match(line):
            tail = wanted[number + 1 :]
            return got[:number] == wanted[:number] and got[len(got) - len(tail) :] == tail
    return got == wanted

"""Modules that a program writes from YAML and that are checked in: writing and comparing them."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Texts = Mapping[str, str]
"""Texts by file name."""


def stale(wanted: Texts, directory: Path) -> list[str]:
    """List the files of a directory that are missing, surplus or not what they should be."""
    present = {p.name: p.read_text(encoding="utf-8") for p in directory.glob("*.py")}
    return sorted(n for n in wanted.keys() | present.keys() if wanted.get(n) != present.get(n))


def run(
    program: str, generate: Callable[[], Texts], directory: Path, arguments: Sequence[str] | None
) -> int:
    """Write the modules, or check them (``--check``); give the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    if parser.parse_args(arguments).check:
        names = stale(generate(), directory)
        for name in names:
            print(f"out of date: {directory.name}/{name}", file=sys.stderr)
        return 1 if names else 0
    directory.mkdir(exist_ok=True)
    for name, text in generate().items():
        (directory / name).write_text(text, encoding="utf-8")
    return 0

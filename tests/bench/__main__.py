"""Measure the performance bars and print one table: ``python -m tests.bench``."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace

from tests.bench import bars_calls, bars_growth, bars_stalls, bars_vms, bars_writes
from tests.bench.measure import QUICK, Line, Scale

GROUPS: dict[str, Callable[[Scale], list[Line]]] = {
    "calls": bars_calls.run,
    "vms": bars_vms.run,
    "growth": bars_growth.run,
    "stalls": bars_stalls.run,
    "writes": bars_writes.run,
}


def table(lines: list[Line]) -> str:
    """Give the lines as an aligned table."""
    head = ("bar", "what; reference", "reference", "ours", "ratio", "limit", "met")
    rows = [head]
    for line in lines:
        met = "" if line.met is None else "yes" if line.met else "NO"
        rows.append((line.bar, line.what, line.reference, line.ours, line.ratio, line.limit, met))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    shown = ["  ".join(word.ljust(w) for word, w in zip(row, widths, strict=True)) for row in rows]
    shown.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(text.rstrip() for text in shown)


def main(argv: list[str] | None = None) -> int:
    """Measure; exit status 0 whether or not the bars are met: timing is no test."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="only show that it works")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    scale = QUICK if options.quick else replace(Scale(), rounds=options.rounds)
    lines: list[Line] = []
    for name, measure in GROUPS.items():
        if not options.groups or name in options.groups:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            lines += measure(scale)
    print(table(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())

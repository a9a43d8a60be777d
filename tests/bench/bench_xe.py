"""What xe costs: start-up, and lists of a pool with 1000 VMs.

Run ``python -m tests.bench.bench_xe``.  Each figure is the best of several
runs; ratios compare runs that were made in turns.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.cli_client import CliClient
from tests.integration.running_pool import running

ROOT = Path(__file__).parents[2]
ROUNDS = 15
VMS = 1000
START_UP_BAR = 3.0
LIST_BAR_S = 0.221
"""What the original takes for the same list with its client on a machine of its own."""


def wall_s(command: list[str], environment: dict[str, str]) -> float:
    """Give the seconds one run of a command takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd="/")
    return time.perf_counter() - start


def in_turns(commands: list[list[str]], environment: dict[str, str]) -> list[float]:
    """Give the best time of each command."""
    rounds = [[wall_s(c, environment) for c in commands] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]


def main() -> None:
    """Measure and print."""
    python = [sys.executable]
    xe = [*python, "-m", "xe"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    bare, version = in_turns([[*python, "-c", "pass"], [*xe, "--version"]], environment)
    print(f"xe --version {version * 1000:.1f} ms, bare Python {bare * 1000:.1f} ms: ", end="")
    print(f"{version / bare:.2f}x (bar {START_UP_BAR:g}x)")
    with running("--profile", "newest") as pool:
        socket = pool.start().host().socket
        client = CliClient(socket)
        first = client.must('vm-install template="Other install media" new-name-label=many')
        for _ in range(VMS - 1):
            client.must(f"vm-clone uuid={first} new-name-label=many")
        environment["XE_SOCKET"] = socket
        for line in (
            "vm-list params=uuid --minimal",
            "vm-list",
            "vm-list params=all",
            f"vm-list uuid={first} params=uuid --minimal",
        ):
            words = line.split()
            bare, took = in_turns([[*python, "-c", "pass"], [*xe, *words]], environment)
            start = time.perf_counter()
            client.run(*words)
            server = time.perf_counter() - start
            shown = line.replace(first, "U")
            print(
                f"{VMS} VMs: xe {shown}: {took * 1000:.0f} ms, {took / bare:.1f}x bare Python; ",
                end="",
            )
            print(f"of it the server {server * 1000:.0f} ms")
        print(f"(bar for the first: {LIST_BAR_S * 1000:.0f} ms)")


if __name__ == "__main__":
    main()

"""What xe costs: start-up, and lists of a pool with 1000 VMs.

Run ``python -m tests.bench.bench_xe``.  What is compared is run in turns; each
figure is the best and the median of several runs.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import XenAPI

from tests.integration.cli_client import CliClient
from tests.integration.running_pool import Endpoint, running

ROOT = Path(__file__).parents[2]
ROUNDS = 7
VMS = 1000
START_UP_BAR = 3.0
LIST_BAR_S = 0.221
"""What the original takes for the same list with its client on a machine of its own."""

FIELDS = (
    "uuid,name-label,name-description,power-state,memory-static-max,memory-dynamic-max,VCPUs-max,"
    "VCPUs-at-startup,resident-on,affinity,other-config,platform,tags,allowed-operations,"
    "current-operations,is-a-template,VBDs,os-version,networks,dom-id"
)
LINES = (
    "vm-list params=uuid --minimal",
    "vm-list",
    f"vm-list params={FIELDS}",
    "vm-list --output=json",
    "vm-list params=all",
    "vm-list uuid={first} params=uuid --minimal",
)


def wall_s(run: Callable[[], object]) -> float:
    """Give the seconds something takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def program(words: list[str], environment: dict[str, str]) -> Callable[[], object]:
    """Make what runs a program and reads all it prints."""
    return lambda: subprocess.run(words, check=True, capture_output=True, env=environment, cwd="/")


def in_turns(*runs: Callable[[], object]) -> list[tuple[float, float]]:
    """Give the best and the median time of each."""
    rounds = [[wall_s(run) for run in runs] for _ in range(ROUNDS)]
    return [(min(times), statistics.median(times)) for times in zip(*rounds, strict=True)]


def sdk_session(host: Endpoint) -> XenAPI.Session:
    """Log in as scripts do."""
    session = XenAPI.Session(host.http_url)
    session.xenapi.login_with_password(host.user, host.password, "2.6", "bench")
    return session


def main() -> None:
    """Measure and print."""
    python = [sys.executable]
    xe = [*python, "-m", "xe"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    nothing = program([*python, "-c", "pass"], environment)
    (bare, bare_50), (version, version_50) = in_turns(
        nothing, program([*xe, "--version"], environment)
    )
    print(f"bare Python {bare * 1000:.1f} ms, xe --version {version * 1000:.1f} ms: ", end="")
    print(f"{version / bare:.2f}x, medians {version_50 / bare_50:.2f}x (bar {START_UP_BAR:g}x)")
    with running("--profile", "newest") as pool:
        host = pool.start().host()
        client = CliClient(host.socket)
        first = client.must('vm-install template="Other install media" new-name-label=many')
        for _ in range(VMS - 1):
            client.must(f"vm-clone uuid={first} new-name-label=many")
        environment["XE_SOCKET"] = host.socket
        session = sdk_session(host)
        records = sorted(wall_s(session.xenapi.VM.get_all_records) for _ in range(5))
        print(
            f"SDK VM.get_all_records: {records[0] * 1000:.0f} ms, median {records[2] * 1000:.0f} ms"
        )
        for line in LINES:
            words = line.format(first=first).split()
            ours, server = in_turns(
                program([*xe, *words], environment), lambda words=words: client.run(*words)
            )
            shown = line.replace(FIELDS, "20 FIELDS")
            print(f"{VMS} VMs: xe {shown}: {ours[0] * 1000:.0f} ms, median {ours[1] * 1000:.0f} ms")
            print(f"    of it the server and the wire {server[0] * 1000:.0f} ms")
        print(f"(bar for the first: {LIST_BAR_S * 1000:.0f} ms)")


if __name__ == "__main__":
    main()

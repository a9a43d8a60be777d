"""What a real server answered, exchange by exchange, against a bare simulated host.

The recordings and the program that plays them lie outside the project; their
folder is given with ``--traces``.  Every exchange that differs is listed in
``recorded_differences.yaml`` with its reason, and that list may only shrink.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.integration.running_pool import RunningPool

pytestmark = [pytest.mark.integration, pytest.mark.slow]

GROUPS = [
    "session",
    "errors",
    "params",
    "types",
    "text",
    "classes",
    "setters",
    "constructors",
    "query",
    "lifecycle",
    "devices",
    "network",
    "poolhost",
    "events",
    "tasks",
    "misc",
    "http",
    "rbac",
]
REQUIRED_EQUAL = 0.98
PASSWORD = "recorded-exchanges"
ROLES = ("pool-admin", "pool-operator", "vm-power-admin", "vm-admin", "vm-operator", "read-only")

_FAIL = re.compile(r"^FAIL (\S+) (.*)$")
_TOTAL = re.compile(r"^(\d+) passed, (\d+) failed")


def known_differences() -> dict[str, str]:
    """Give the reason of each listed exchange."""
    listed = yaml.safe_load(
        (Path(__file__).parent / "recorded_differences.yaml").read_text(encoding="utf-8")
    )
    return {name: entry["reason"] for entry in listed for name in entry["exchanges"]}


def play(pool: RunningPool, traces: Path, group: str) -> tuple[int, dict[str, str]]:
    """Play a group and give the number of equal answers and the differences."""
    host = pool.host()
    command = [sys.executable, str(traces / "replay.py"), host.http_url]
    command += ["-u", host.user, "-p", host.password]
    for role in ROLES:
        command += ["--account", f"{role}=u-{role}:{PASSWORD}"]
    command.append(str(traces / f"{group}.jsonl"))
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    failures: dict[str, str] = {}
    passed: int | None = None
    for line in ran.stdout.splitlines():
        if match := _FAIL.match(line):
            failures[match[1]] = match[2]
        elif match := _TOTAL.match(line):
            passed = int(match[1])
    assert passed is not None, ran.stdout + ran.stderr
    return passed, failures


def test_answers_equal_those_of_a_real_server(
    make_pool, traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    described = tmp_path / "bare.yaml"
    users = [
        {"name": f"u-{role}", "sid": f"u200{i}", "password": PASSWORD}
        for i, role in enumerate(ROLES, 1)
    ]
    xapi = {"directory": {"users": users}, "forbidden_features": ["enable_xha"]}
    described.write_text(yaml.safe_dump({"bare": True, "xapi": xapi}))
    pool = make_pool("--bare", "--profile", "newest", "--simulator", str(described)).start()
    known, equal, different = known_differences(), 0, {}
    for group in GROUPS:
        if group == "rbac":
            add_subjects(pool)
        passed, failures = play(pool, traces, group)
        equal += passed
        different.update(failures)
        with capsys.disabled():
            print(f"\n{group}: {passed} equal, {len(failures)} different", end="")
    total = equal + len(different)
    unlisted = {k: v for k, v in different.items() if k not in known}
    assert not unlisted, "\n".join(f"{k} {v}" for k, v in unlisted.items())
    assert equal / total >= REQUIRED_EQUAL, f"{equal} of {total}"
    repaired = sorted(set(known) - set(different))
    assert not repaired, f"these are equal now: take them off the list: {repaired}"


def add_subjects(pool: RunningPool) -> None:
    """Join the directory and make one subject with each role, as on the recorded server.

    The other groups were recorded without a directory.
    """
    with pool.host().session() as session:
        api = session.xenapi
        (pool_ref,) = api.pool.get_all()
        credentials = {"user": f"u-{ROLES[0]}", "pass": PASSWORD}
        api.pool.enable_external_auth(pool_ref, credentials, "example.com", "AD")
        for i, role in enumerate(ROLES, 1):
            (role_ref,) = api.role.get_by_name_label(role)
            subject = api.subject.create({"subject_identifier": f"u200{i}", "other_config": {}})
            api.subject.add_to_roles(subject, role_ref)

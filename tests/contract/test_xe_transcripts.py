"""What the original xe printed against a real server, command by command, against ours.

The recording lies outside the project; its folder is given with
``--xe-transcripts``.  What differs is listed in ``transcript_differences.yaml``
with the reason, and that list may only shrink.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.contract.xe_transcripts import produced, read, same
from tests.integration.running_pool import RunningPool, running

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
REQUIRED_EQUAL = 60
SR = "aaaaaaaa-0000-0000-0000-000000000001"
BENCH_1 = "379c9774-753e-84f3-e239-823cd517672f"
BENCH_2 = "fa3e559b-b49f-c547-b881-75c080b22dd5"
HOST = "11111111-2222-3333-4444-555555555555"
POOL = "531eb4a0-ccbd-f4d0-77a2-739c4b4b6e1f"
CONTROL_DOMAIN = "66666666-7777-8888-9999-aaaaaaaaaaaa"


class Client:
    """Runs our xe over the unix socket of a pool."""

    def __init__(self, pool: RunningPool, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **os.environ,
            "XE_SOCKET": pool.host().socket,
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "xe", *words],
            capture_output=True,
            text=True,
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    def must(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.strip()


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[Client]:
    with running("--bare", "--profile", "newest") as pool:
        yield Client(pool.start(), tmp_path_factory.mktemp("xe"))


@pytest.fixture(scope="module")
def known(client: Client) -> dict[str, str]:
    """Make the objects the recording is about; gives our uuid for each recorded one."""
    found = {
        HOST: client.must("host-list", "--minimal"),
        POOL: client.must("pool-list", "--minimal"),
        CONTROL_DOMAIN: client.must("vm-list", "is-control-domain=true", "--minimal"),
        SR: client.must("sr-introduce", "name-label=sr1", "type=dummy", f"uuid={SR}"),
    }
    client.must("host-param-set", f"uuid={found[HOST]}", "name-label=xapi-test")
    for number in range(1, 6):
        name = f"bench-{number}"
        uuid = client.must("vm-install", "template=Other install media", f"new-name-label={name}")
        described = "bench" if number in (1, 3, 4) else ""
        sizes = ("static-max", "dynamic-max", "dynamic-min")
        client.must(
            "vm-param-set",
            f"uuid={uuid}",
            f"name-description={described}",
            *(f"memory-{size}=512MiB" for size in sizes),
        )
        found |= {BENCH_1: uuid} if number == 1 else {BENCH_2: uuid} if number == 2 else {}
    seed = client.must(
        "vm-param-get", f"uuid={found[BENCH_1]}", "param-name=other-config", "param-key=mac_seed"
    )
    client.must("vm-param-clear", f"uuid={found[BENCH_1]}", "param-name=other-config")
    client.must(
        "vm-param-add",
        f"uuid={found[BENCH_1]}",
        "param-name=other-config",
        "k593=v",
        f"mac_seed={seed}",
        "base_template_name=Other install media",
        "install-methods=cdrom",
    )
    client.must("vm-start", "vm=bench-4")
    return found


def test_output_and_status_are_those_of_the_original(transcripts, client, known):
    differences: dict[str, str] = yaml.safe_load(
        (Path(__file__).parent / "transcript_differences.yaml").read_text("utf-8")
    )
    anything = re.compile("|".join(map(re.escape, known)))
    differing, equal = {}, 0
    for recorded in read(transcripts / "real.txt"):
        words = [anything.sub(lambda m: known[m[0]], word) for word in recorded.words]
        done = client.run(*words)
        ours = produced(done.stdout, done.stderr)
        if done.returncode == recorded.status and same(recorded.lines, ours):
            equal += 1
        else:
            differing[recorded.command] = (done.returncode, ours)
    unknown = [f"{c}: {d}" for c, d in differing.items() if c not in differences]
    assert not unknown, "\n".join(unknown)
    assert not set(differences) - set(differing), "these are equal now, take them off the list"
    assert equal >= REQUIRED_EQUAL

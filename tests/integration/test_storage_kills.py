"""kill -9 of smd, of disks' backends and of everything at once, in the middle of operations.

``--storage-kill-rounds 200`` for the long run; the default is short.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemon_process import DaemonProcess
from tests.integration.storage_kills import VICTIMS, Killed
from tests.integration.test_smd_files import pytestmark as needs
from tests.integration.test_smd_files import smd

__all__ = ["smd"]
pytestmark = [*needs, pytest.mark.slow]


@pytest.fixture
def trial(smd: DaemonProcess, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Killed]:
    yield Killed(smd, tmp_path, request.config.getoption("--kill-seed"))


def test_disks_hold_what_they_must_whoever_is_killed(
    trial: Killed, request: pytest.FixtureRequest
) -> None:
    rounds = request.config.getoption("--storage-kill-rounds")
    for number in range(rounds):
        victim = VICTIMS[number % len(VICTIMS)]
        trial.attempt(victim, 10 ** trial.choice.uniform(-3.5, -0.7))
        found = trial.problems()
        last = "\n".join(trial.history[-6:])
        assert not found, f"round {number}: {found} after\n{last}\nin use: {trial.active}"
    trial.end()
    print(f"\n{rounds} kills; finished: {trial.done}, cut short: {trial.cut}")

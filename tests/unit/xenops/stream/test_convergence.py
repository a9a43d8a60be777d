"""When a live migration stops the guest."""

import pytest

from xenops.backends.xen.stream.convergence import Limits, policy

GIB = 1 << 30


@pytest.mark.parametrize(
    ("rounds", "written", "dirty", "elapsed_s", "chosen"),
    [
        (0, 0, -1, 0.0, "continue"),
        (1, 262144, 5000, 1.0, "continue"),
        (1, 262144, 64, 1.0, "stop"),
        (12, 300000, 5000, 1.0, "stop"),
        (3, 3 * 262144, 5000, 1.0, "stop"),
        (3, 300000, 5000, 600.0, "stop"),
    ],
)
def test_limits(rounds: int, written: int, dirty: int, elapsed_s: float, chosen: str) -> None:
    assert policy(Limits(), rounds, written, dirty, GIB, elapsed_s) == chosen


def test_a_guest_that_never_rests_is_stopped_after_all() -> None:
    written, rounds = 0, 0
    while policy(Limits(), rounds, written, 200_000, GIB, 0.0) == "continue":
        written, rounds = written + 200_000, rounds + 1
    assert rounds <= Limits().max_rounds

"""What happens after a guest has stopped by itself."""

import pytest

from tests.unit.xenops.factories import make_md
from xenops.backends.contract import ShutdownReason
from xenops.reactions import Reaction, react

HOUR = 3600.0


@pytest.mark.parametrize(
    ("reason", "uptime_s", "expected"),
    [
        (ShutdownReason.POWEROFF, 1.0, Reaction(("Shutdown",))),
        (ShutdownReason.REBOOT, HOUR, Reaction(("Start",))),
        (ShutdownReason.REBOOT, 119.9, Reaction(("Start",), 15.0)),
        (ShutdownReason.REBOOT, 120.0, Reaction(("Start",))),
        (ShutdownReason.WATCHDOG, HOUR, Reaction(("Start",))),
        (ShutdownReason.CRASH, HOUR, Reaction(("Coredump", "Start"))),
        (ShutdownReason.CRASH, 119.9, Reaction(("Coredump", "Shutdown"))),
        (ShutdownReason.SUSPEND, HOUR, Reaction(("Shutdown",))),
        (ShutdownReason.SOFT_RESET, HOUR, Reaction(("Softreboot",))),
    ],
)
def test_reaction(reason: ShutdownReason, uptime_s: float, expected: Reaction) -> None:
    vm = make_md(on_crash=["Coredump", "Start"]).vm
    assert react(vm, reason, uptime_s) == expected


def test_a_quick_reboot_that_ends_the_vm_is_not_delayed() -> None:
    vm = make_md(on_reboot=["Shutdown"]).vm
    assert react(vm, ShutdownReason.REBOOT, 1.0) == Reaction(("Shutdown",))

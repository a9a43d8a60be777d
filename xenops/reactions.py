"""What to do when a guest stops by itself; pure."""

from dataclasses import dataclass
from typing import Final

from xenops.backends.contract import ShutdownReason
from xenops.metadata import Action, VmConfig

MIN_UPTIME_S: Final = 120.0
"""A guest that crashes sooner after its start is not started again."""

QUICK_REBOOT_DELAY_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Reaction:
    """Actions in order; a start comes after ``delay_s`` seconds."""

    actions: tuple[Action, ...]
    delay_s: float = 0.0


def react(vm: VmConfig, reason: ShutdownReason, uptime_s: float) -> Reaction:
    """Choose what happens to a domain that has stopped after ``uptime_s`` seconds.

    A crash soon after the start ends the VM instead of starting it again, and a
    soon reboot waits a little, so that a broken guest cannot keep the host busy.
    """
    quick = uptime_s < MIN_UPTIME_S
    match reason:
        case ShutdownReason.CRASH:
            actions = vm.on_crash
            if quick:
                ended: tuple[Action, ...] = tuple(
                    "Shutdown" if action == "Start" else action for action in actions
                )
                return Reaction(ended)
            return Reaction(actions)
        case ShutdownReason.REBOOT | ShutdownReason.WATCHDOG:
            delay_s = QUICK_REBOOT_DELAY_S if quick and "Start" in vm.on_reboot else 0.0
            return Reaction(vm.on_reboot, delay_s)
        case ShutdownReason.SOFT_RESET:
            return Reaction(vm.on_softreboot)
        case ShutdownReason.SUSPEND:
            return Reaction(("Shutdown",))
        case _:
            return Reaction(vm.on_shutdown)

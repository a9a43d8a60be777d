"""What happens when a domain stops by itself, and how shutdown calls proceed."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from xapi_py.db.row import Row

CRASH_LOOP_S = 120
FAST_REBOOT_S = 120
FAST_REBOOT_DELAY_S = 15
TOTAL_TIMEOUT_S = 1200


class Action(Enum):
    """One step of a domain's end."""

    SHUTDOWN = "Shutdown"
    START = "Start"
    PAUSE = "Pause"
    COREDUMP = "Coredump"
    SOFTREBOOT = "Softreboot"


_ACTIONS: Mapping[str, tuple[Action, ...]] = {
    "destroy": (Action.SHUTDOWN,),
    "restart": (Action.START,),
    "rename_restart": (Action.START,),
    "preserve": (Action.PAUSE,),
    "coredump_and_destroy": (Action.COREDUMP, Action.SHUTDOWN),
    "coredump_and_restart": (Action.COREDUMP, Action.START),
    "soft_reboot": (Action.SOFTREBOOT,),
}
_REASON_FIELD = {
    "poweroff": "actions_after_shutdown",
    "halt": "actions_after_shutdown",
    "reboot": "actions_after_reboot",
    "watchdog": "actions_after_reboot",
    "crash": "actions_after_crash",
    "soft_reset": "actions_after_softreboot",
}


@dataclass(frozen=True, slots=True)
class Aftermath:
    """The actions to take and how long to wait before a start."""

    actions: tuple[Action, ...]
    delay_s: int = 0


def actions_of(value: str) -> tuple[Action, ...]:
    """Translate a value of the actions_after fields.  KeyError for others."""
    return _ACTIONS[value]


def aftermath(row: Row, reason: str, uptime_s: float) -> Aftermath:
    """Decide after a domain stopped: reason as reported, seconds since start.

    A crash soon after the start does not restart; a fast reboot loop is slowed.
    Unknown reasons count as poweroff.
    """
    actions = _ACTIONS[getattr(row, _REASON_FIELD.get(reason, "actions_after_shutdown"))]
    if Action.START not in actions:
        return Aftermath(actions)
    if reason == "crash" and uptime_s < CRASH_LOOP_S:
        return Aftermath(tuple(Action.SHUTDOWN if a is Action.START else a for a in actions))
    if uptime_s < FAST_REBOOT_S:
        return Aftermath(actions, FAST_REBOOT_DELAY_S)
    return Aftermath(actions)


def clean_timeout_s(shutdown_delay: int) -> int:
    """Give the time VM.shutdown allows the guest before it is forced."""
    return shutdown_delay if shutdown_delay > 0 else TOTAL_TIMEOUT_S


# Operations on the VM that hard_shutdown, hard_reboot and power_state_reset cancel first.
CANCELLED_BY_FORCE = frozenset(
    {
        "clean_shutdown",
        "clean_reboot",
        "hard_reboot",
        "pool_migrate",
        "call_plugin",
        "suspend",
        "shutdown",
    }
)


def to_cancel(current_operations: Mapping[str, str], own_task: str | None) -> tuple[str, ...]:
    """List the tasks to cancel before a forced operation, oldest first."""
    return tuple(
        task
        for task, op in current_operations.items()
        if op in CANCELLED_BY_FORCE and task != own_task
    )


HALTED_FIELDS: Mapping[str, object] = {
    "power_state": "Halted",
    "resident_on": "OpaqueRef:NULL",
    "scheduled_to_be_resident_on": "OpaqueRef:NULL",
    "domid": -1,
}
"""What VM fields become once the domain is gone; its VBDs and VIFs detach too."""

"""Messages of class VMSS: schedules that snapshot VMs.  Source: brief POOL 19."""

from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.implicit import constructor_fields
from xapi_py.api.registry import message
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err

MAX_RETAINED = 10
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MINUTES = ("0", "15", "30", "45")
KEYS = {"hourly": ("min",), "daily": ("hour", "min"), "weekly": ("hour", "min", "days")}
DEFAULTS = {"min": "0", "hour": "0", "days": "Monday"}


def schedule_error(key: str, value: str) -> ApiError | None:
    """Check one entry of a schedule.  Errors: INVALID_VALUE naming the entry."""
    fine = True
    match key:
        case "hour":
            fine = value.isdecimal() and int(value) <= 23
        case "min":
            fine = value in MINUTES
        case "days":
            fine = all(day.strip() in DAYS for day in value.split(","))
        case _:
            return err.INVALID_VALUE("schedule", key)
    return None if fine else err.INVALID_VALUE(f"schedule:{key}", value)


def _complete(frequency: str, schedule: dict[str, str]) -> dict[str, str]:
    """Check a schedule, and fill in what its frequency needs."""
    for key, value in schedule.items():
        problem = schedule_error(key, value)
        if problem is not None:
            raise problem
    return {key: schedule.get(key, DEFAULTS[key]) for key in KEYS[frequency]}


def _check_retained(value: int) -> None:
    if not 1 <= value <= MAX_RETAINED:
        raise err.INVALID_VALUE("retained_snapshots", str(value))


def _store(call: Call, vmss: Ref, **values: object) -> None:
    call.db.row("VMSS", vmss)
    with call.db.transaction() as tx:
        tx.update("VMSS", vmss, **values)


@message("VMSS.create")
def create(call: Call, args: dict[str, Any]) -> Ref:
    """Make a schedule.  Errors: INVALID_VALUE."""
    fields = constructor_fields(call, "VMSS", args)
    fields["schedule"] = _complete(fields["frequency"], fields.get("schedule", {}))
    if "retained_snapshots" in fields:
        _check_retained(fields["retained_snapshots"])
    with call.db.transaction() as tx:
        return tx.create("VMSS", fields)


@message("VMSS.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Remove a schedule no VM has.  Errors: VMSS_HAS_VM."""
    if len(call.db.row("VMSS", self).VMs):
        raise err.VMSS_HAS_VM()
    with call.db.transaction() as tx:
        tx.delete("VMSS", self)


@message("VMSS.snapshot_now")
def snapshot_now(call: Call, vmss: Ref) -> str:
    """Refuse: the plugin that does the work is not there.

    Errors: XENAPI_MISSING_PLUGIN, as on servers without it.
    """
    call.db.row("VMSS", vmss)
    raise err.XENAPI_MISSING_PLUGIN("vmss")


@message("VMSS.set_retained_snapshots")
def set_retained_snapshots(call: Call, self: Ref, value: int) -> None:
    """Set how many snapshots are kept, 1 to 10.  Errors: INVALID_VALUE."""
    call.db.row("VMSS", self)
    _check_retained(value)
    _store(call, self, retained_snapshots=value)


@message("VMSS.set_frequency")
def set_frequency(call: Call, self: Ref, value: str) -> None:
    """Set how often; the schedule keeps what still means something."""
    schedule = call.db.row("VMSS", self).schedule
    _store(call, self, frequency=value, schedule=_complete(value, schedule))


@message("VMSS.set_schedule")
def set_schedule(call: Call, self: Ref, value: dict[str, str]) -> None:
    """Set when.  Errors: INVALID_VALUE."""
    frequency = call.db.row("VMSS", self).frequency
    _store(call, self, schedule=_complete(frequency, value))


@message("VMSS.add_to_schedule")
def add_to_schedule(call: Call, self: Ref, key: str, value: str) -> None:
    """Set one entry of the schedule.  Errors: INVALID_VALUE."""
    row = call.db.row("VMSS", self)
    problem = schedule_error(key, value)
    if problem is not None:
        raise problem
    if key in row.schedule:
        raise err.MAP_DUPLICATE_KEY("VMSS", "schedule", self, key)
    _store(call, self, schedule={**row.schedule, key: value})


@message("VMSS.remove_from_schedule")
def remove_from_schedule(call: Call, self: Ref, key: str) -> None:
    """Remove one entry of the schedule."""
    row = call.db.row("VMSS", self)
    _store(call, self, schedule={k: v for k, v in row.schedule.items() if k != key})


@message("VMSS.set_last_run_time")
def set_last_run_time(call: Call, self: Ref, value: int) -> None:
    """Set when the schedule ran last."""
    _store(call, self, last_run_time=value)


@message("VMSS.set_type")
def set_type(call: Call, self: Ref, value: str) -> None:
    """Set what kind of snapshot is taken."""
    _store(call, self, type=value)

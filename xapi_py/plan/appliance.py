"""Appliances: the order of members and what counts as done."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row

# Operation: (member states acted on, state wanted in the end, call on the member).
_OPERATIONS = {
    "start": (frozenset({"Halted"}), frozenset({"Running", "Paused"}), "VM.start"),
    "clean_shutdown": (frozenset({"Running"}), frozenset({"Halted"}), "VM.clean_shutdown"),
    "hard_shutdown": (
        frozenset({"Running", "Paused", "Suspended"}),
        frozenset({"Halted"}),
        "VM.hard_shutdown",
    ),
    "shutdown": (
        frozenset({"Running", "Paused", "Suspended"}),
        frozenset({"Halted"}),
        "VM.shutdown",
    ),
}


@dataclass(frozen=True, slots=True)
class Group:
    """Members handled in parallel; the next group waits for all of them."""

    order: int
    vms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Groups in the order they run and the call each member gets.

    Delays are not part of it: each VM's own operation sleeps its
    start_delay or shutdown_delay.
    """

    call: str
    groups: tuple[Group, ...]


def plan(operation: str, members: Iterable[Row]) -> Plan:
    """Order the members: starts ascending, shutdowns descending by VM.order.

    Members already there are left out.  KeyError for an unknown operation.
    """
    states, _, call = _OPERATIONS[operation]
    downwards = operation != "start"
    todo = sorted(
        (vm for vm in members if vm.power_state in states),
        key=lambda vm: vm.order,
        reverse=downwards,
    )
    groups = tuple(
        Group(order, tuple(vm.ref for vm in same))
        for order, same in groupby(todo, lambda v: v.order)
    )
    return Plan(call, groups)


def outcome(operation: str, members: Iterable[Row]) -> ApiError | None:
    """Judge the members afterwards: OPERATION_PARTIALLY_FAILED lists the stragglers."""
    wanted = _OPERATIONS[operation][1]
    failed = [vm.ref for vm in members if vm.power_state not in wanted]
    if not failed:
        return None
    # The declared arity is one; servers append the members.
    code = err.OPERATION_PARTIALLY_FAILED.code
    return ApiError(code, f"VM_appliance.{operation}", *failed)

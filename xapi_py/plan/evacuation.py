"""Where the guests of a host go when it has to be empty."""

from collections.abc import Mapping

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan import memory
from xapi_py.plan.operations.host import is_live
from xapi_py.plan.placement import boot_error

Plan = Mapping[str, str | ApiError]
"""VM to the host it goes to, or to why it cannot go."""


def guests(view: View, host: Row) -> list[Row]:
    """List the VMs that run on a host, its control domain left out."""
    rows = (view.find("VM", ref) for ref in host.resident_VMs)
    return [vm for vm in rows if vm is not None and not vm.is_control_domain]


def targets(view: View, host: Row) -> list[Row]:
    """List the other hosts that may take guests: enabled and live."""
    return [
        other
        for other in view.rows("host")
        if other.ref != host.ref and other.enabled and is_live(view, other)
    ]


def plan(view: View, host: Row) -> Plan:
    """Choose a host for each guest, the largest guests first.

    Memory promised to one guest is not offered to the next.  A guest no host
    can take gets the first host's reason; without any host the reason is
    NO_HOSTS_AVAILABLE.  Cost: guests times hosts.  Source: brief POOL 16.
    """
    others = targets(view, host)
    promised: dict[str, int] = {other.ref: 0 for other in others}
    chosen: dict[str, str | ApiError] = {}
    for vm in sorted(guests(view, host), key=lambda row: -row.memory_dynamic_max):
        chosen[vm.ref] = _place(view, vm, others, promised)
    return chosen


def _place(view: View, vm: Row, others: list[Row], promised: dict[str, int]) -> str | ApiError:
    """Choose a host and count the guest's memory as promised there."""

    def free(view: View, host: Row, skip: str) -> int:
        return max(0, memory.free_bytes(view, host, skip) - promised[host.ref])

    first: ApiError | None = None
    for other in others:
        problem = boot_error(view, vm, other, free)
        if problem is None:
            promised[other.ref] += memory.required_bytes(vm)
            return str(other.ref)
        first = first or problem
    return first or err.NO_HOSTS_AVAILABLE(vm.ref)


def obstacles(view: View, host: Row) -> dict[str, ApiError]:
    """Give the guests that cannot leave, and why."""
    return {vm: answer for vm, answer in plan(view, host).items() if isinstance(answer, ApiError)}

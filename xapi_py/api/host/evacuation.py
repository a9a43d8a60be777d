"""Emptying a host of guests."""

from xapi_py.api.call import Call
from xapi_py.api.operations import operation
from xapi_py.api.registry import HANDLERS, message
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.plan import evacuation


@message("host.get_vms_which_prevent_evacuation")
def get_vms_which_prevent_evacuation(call: Call, self: Ref) -> dict[Ref, tuple[str, ...]]:
    """Map each guest that cannot leave to the error description against it."""
    found = evacuation.obstacles(call.db, call.db.row("host", self))
    return {Ref(vm): tuple(problem.description) for vm, problem in found.items()}


@message("host.assert_can_evacuate")
def assert_can_evacuate(call: Call, host: Ref) -> None:
    """Refuse when a guest cannot leave.

    Errors: CANNOT_EVACUATE_HOST with one text: descriptions joined by ``|``.
    """
    found = evacuation.obstacles(call.db, call.db.row("host", host))
    if found:
        raise err.CANNOT_EVACUATE_HOST("|".join(",".join(p.description) for p in found.values()))


@message("host.get_uncooperative_resident_VMs")
def get_uncooperative_resident_vms(call: Call, self: Ref) -> tuple[Ref, ...]:
    """Give the guests that ignore requests to give memory back."""
    call.db.row("host", self)
    return ()


@message("host.get_uncooperative_domains")
def get_uncooperative_domains(call: Call, self: Ref) -> tuple[str, ...]:
    """Give the uuids of those guests."""
    return tuple(call.db.row("VM", r).uuid for r in get_uncooperative_resident_vms(call, self))


@message("host.evacuate")
async def evacuate(
    call: Call, host: Ref, network: Ref = NULL_REF, evacuate_batch_size: int = 0
) -> None:
    """Move every guest to another host, one after another.

    The first guest that has nowhere to go refuses the call before any moves.
    Errors: NO_HOSTS_AVAILABLE and what migration raises.
    """
    row = call.db.row("host", host)
    if network != NULL_REF:
        call.db.row("network", network)
    async with operation(call, ("host", host, "evacuate")):
        chosen = evacuation.plan(call.db, row)
        for answer in chosen.values():
            if isinstance(answer, ApiError):
                raise answer
        migrate = HANDLERS["VM.pool_migrate"].handler if chosen else None
        for number, (vm, target) in enumerate(chosen.items()):
            call.progress(number / len(chosen))
            assert migrate is not None
            await migrate(call, vm, target, {"live": "true"})

"""Messages of class VM_appliance: VMs that start and stop together, in order.

Source: brief POOL 18.
"""

import logging
from collections.abc import Sequence

from xapi_py.api.call import Call
from xapi_py.api.internal import finish, internal_call
from xapi_py.api.operations import operation
from xapi_py.api.registry import message
from xapi_py.api.vm import lifecycle, records
from xapi_py.api.vm.recover import recovered
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.waiting import all_of
from xapi_py.db.row import Row
from xapi_py.plan import appliance

log = logging.getLogger(__name__)


@message("VM_appliance.start")
async def start(call: Call, self: Ref, paused: bool) -> None:
    """Start the members, lowest order first.

    Errors: OPERATION_PARTIALLY_FAILED naming the members that did not start.
    """
    await _perform(call, self, "start", paused=paused)


@message("VM_appliance.clean_shutdown")
async def clean_shutdown(call: Call, self: Ref) -> None:
    """Shut the members down cleanly, highest order first."""
    await _perform(call, self, "clean_shutdown")


@message("VM_appliance.hard_shutdown")
async def hard_shutdown(call: Call, self: Ref) -> None:
    """End the members by force, highest order first."""
    await _perform(call, self, "hard_shutdown")


@message("VM_appliance.shutdown")
async def shutdown(call: Call, self: Ref) -> None:
    """Shut each member down, by force where it does not obey."""
    await _perform(call, self, "shutdown")


async def _perform(call: Call, ref: Ref, name: str, *, paused: bool = False) -> None:
    async with operation(call, ("VM_appliance", ref, name)):
        members = _members(call, ref)
        plan = appliance.plan(name, members)
        for done, group in enumerate(plan.groups):
            works = [_one(call, plan.call, Ref(vm), paused) for vm in group.vms]
            for outcome in await all_of(works):
                if isinstance(outcome, BaseException):
                    log.info("%s of a member of %s failed: %s", plan.call, ref, outcome)
            call.progress((done + 1) / len(plan.groups))
        problem = appliance.outcome(name, _members(call, ref))
        if problem is not None:
            raise problem


def _members(call: Call, ref: Ref) -> Sequence[Row]:
    row = call.db.row("VM_appliance", ref)
    return [call.db.row("VM", vm) for vm in row.VMs]


async def _one(call: Call, name: str, vm: Ref, paused: bool) -> None:
    """Do one member's operation under a task of its own."""
    own = internal_call(call.toolstack, name)
    own.caller.subtask_of = call.task
    try:
        match name:
            case "VM.start":
                await lifecycle.start(own, vm, paused, False)
            case "VM.clean_shutdown":
                await lifecycle.clean_shutdown(own, vm)
            case "VM.hard_shutdown":
                await lifecycle.hard_shutdown(own, vm)
            case _:
                await lifecycle.shutdown_either_way(own, vm)
    finally:
        finish(own)


@message("VM_appliance.get_SRs_required_for_recovery")
def get_srs_required_for_recovery(call: Call, self: Ref, session_to: Ref) -> tuple[str, ...]:
    """List the SRs that hold the members' disks."""
    found: dict[str, None] = {}
    for vm in call.db.row("VM_appliance", self).VMs:
        found.update(dict.fromkeys(records.get_srs_required_for_recovery(call, vm, NULL_REF)))
    return tuple(found)


@message("VM_appliance.assert_can_be_recovered")
def assert_can_be_recovered(call: Call, self: Ref, session_to: Ref) -> None:
    """Tell by the error which SR is missing.  Errors: VM_REQUIRES_SR."""
    for vm in call.db.row("VM_appliance", self).VMs:
        records.assert_can_be_recovered(call, vm, session_to)


@message("VM_appliance.recover")
async def recover(call: Call, self: Ref, session_to: Ref, force: bool) -> None:
    """Recover every member; they stay members.  Errors: as ``VM.recover``."""
    row, db = call.db.row("VM_appliance", self), call.toolstack.db
    for vm in tuple(row.VMs):
        made = await recovered(call, vm, session_to, force)
        with db.transaction() as tx:
            appliance = db.tables["VM_appliance"].uuids.get(row.uuid) or tx.create(
                "VM_appliance",
                {
                    "uuid": row.uuid,
                    "name_label": row.name_label,
                    "name_description": row.name_description,
                },
            )
            for ref in made:
                if not db.row("VM", ref).is_a_snapshot:
                    tx.set("VM", ref, "appliance", appliance)

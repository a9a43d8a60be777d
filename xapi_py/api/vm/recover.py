"""Taking VMs over from another pool's records, or back from this pool's own.

A session on a saved database (``session.create_from_db_file``) has the records
of another pool; with two sessions of this pool a VM is made anew from its own.
"""

from dataclasses import replace

from ocaml_compat.xva import Exported
from xapi_py.api.call import Call
from xapi_py.api.operations import operation
from xapi_py.api.registry import message
from xapi_py.api.vm import imported_records, records
from xapi_py.base.names import Ref
from xapi_py.plan.exporting import ExportChoice, plan_export
from xapi_py.plan.importing import ImportChoice, plan_import


@message("VM.recover")
async def recover(call: Call, self: Ref, session_to: Ref, force: bool) -> None:
    """Make the VM in the pool of ``session_to``, with its uuid and addresses.

    With ``force`` it takes the place of one that is as new.  Errors:
    VM_REQUIRES_SR, SESSION_INVALID, VM_TO_IMPORT_IS_NOT_NEWER_VERSION,
    VM_BAD_POWER_STATE, VDI_LOCATION_MISSING.
    """
    await recovered(call, self, session_to, force)


async def recovered(call: Call, vm: Ref, session_to: Ref, force: bool) -> tuple[Ref, ...]:
    """Do what ``VM.recover`` does and give the new VMs."""
    records.assert_can_be_recovered(call, vm, session_to)
    target = replace(call, session=call.toolstack.sessions.get(session_to))
    async with operation(call, ("VM", vm, "metadata_export")):
        row = call.db.row("VM", vm)
        choice = ExportChoice(power_state=True, snapshots=True)
        objects: list[Exported] = list(plan_export(call.db, call.model, [row], choice).objects)
    wanted = ImportChoice(full=False, restore=True, force=force)
    plan = plan_import(target.db, call.model, objects, wanted)
    made = imported_records.write(target, wanted, plan, {})
    await target.db.durable()
    return made

"""Messages of classes pool_patch and host_patch, the forerunners of updates.

As with updates none can be applied, and records come with the database of
another pool.  Source: facts/traces, errors-135.
"""

from xapi_py.api import pool_update
from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err


def _applied(call: Call, patch: Ref, host: Ref) -> bool:
    held = (call.db.row("host_patch", ref) for ref in call.db.row("pool_patch", patch).host_patches)
    return any(row.host == host and row.applied for row in held)


@message("pool_patch.precheck")
def precheck(call: Call, self: Ref, host: Ref) -> str:
    """Tell by the error why a patch would not be applied.

    Errors: HOST_OFFLINE, PATCH_ALREADY_APPLIED, PATCH_PRECHECK_FAILED_UNKNOWN_ERROR.
    """
    reached(call, host)
    if _applied(call, self, host):
        raise err.PATCH_ALREADY_APPLIED(self)
    raise err.PATCH_PRECHECK_FAILED_UNKNOWN_ERROR(self, pool_update.NO_KEY)


@message("pool_patch.apply")
def apply(call: Call, self: Ref, host: Ref) -> str:
    """Apply a patch.  Errors: HOST_OFFLINE, PATCH_ALREADY_APPLIED, PATCH_APPLY_FAILED."""
    reached(call, host)
    if _applied(call, self, host):
        raise err.PATCH_ALREADY_APPLIED(self)
    raise err.PATCH_APPLY_FAILED(pool_update.NO_KEY)


@message("pool_patch.pool_apply")
def pool_apply(call: Call, self: Ref) -> None:
    """Apply a patch to all hosts.  Errors: PATCH_APPLY_FAILED."""
    call.db.row("pool_patch", self)
    raise err.PATCH_APPLY_FAILED(pool_update.NO_KEY)


@message("pool_patch.pool_clean")
async def pool_clean(call: Call, self: Ref) -> None:
    """Remove the files of a patch: those of the update it stands for."""
    update = call.db.row("pool_patch", self).pool_update
    if call.db.find("pool_update", update) is not None:
        await pool_update.pool_clean(call, update)


@message("pool_patch.clean")
async def clean(call: Call, self: Ref) -> None:
    """Do the same."""
    await pool_clean(call, self)


@message("pool_patch.clean_on_host")
async def clean_on_host(call: Call, self: Ref, host: Ref) -> None:
    """Remove the files of a patch from one host: nothing is kept for a single one."""
    reached(call, host)
    call.db.row("pool_patch", self)


@message("pool_patch.destroy")
async def destroy(call: Call, self: Ref) -> None:
    """Remove a patch that no host has, and what it stands for.  Errors: PATCH_IS_APPLIED."""
    row = call.db.row("pool_patch", self)
    held = [call.db.row("host_patch", ref) for ref in row.host_patches]
    if any(patch.applied for patch in held):
        raise err.PATCH_IS_APPLIED()
    if call.db.find("pool_update", row.pool_update) is not None:
        await pool_update.destroy(call, row.pool_update)
    with call.db.transaction() as tx:
        for patch in held:
            tx.delete("host_patch", patch.ref)
        tx.delete("pool_patch", self)


@message("host_patch.apply")
def apply_to_host(call: Call, self: Ref) -> str:
    """Apply a patch to its host.  Errors: PATCH_ALREADY_APPLIED, PATCH_APPLY_FAILED."""
    if call.db.row("host_patch", self).applied:
        raise err.PATCH_ALREADY_APPLIED(self)
    raise err.PATCH_APPLY_FAILED(pool_update.NO_KEY)


@message("host_patch.destroy")
def destroy_on_host(call: Call, self: Ref) -> None:
    """Remove a patch that is not applied.  Errors: PATCH_IS_APPLIED."""
    if call.db.row("host_patch", self).applied:
        raise err.PATCH_IS_APPLIED()
    with call.db.transaction() as tx:
        tx.delete("host_patch", self)

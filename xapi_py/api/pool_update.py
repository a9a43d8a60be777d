"""Messages of class pool_update: updates on disks.

None can be applied, for there is no key to check one with.  Records come with
the database of another pool.  Source: brief POOL 21.
"""

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.api.vdi.destroy import destroy_vdi
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err

NO_KEY = "its signature cannot be checked: this server has no key for updates"


@message("pool_update.introduce")
def introduce(call: Call, vdi: Ref) -> Ref:
    """Make the record of an update that is on a disk.  Errors: HANDLE_INVALID, INVALID_UPDATE."""
    call.db.row("VDI", vdi)
    raise err.INVALID_UPDATE(NO_KEY)


@message("pool_update.pool_apply")
def pool_apply(call: Call, self: Ref) -> None:
    """Apply an update to all hosts.  Errors: UPDATE_ALREADY_APPLIED_IN_POOL, INVALID_UPDATE."""
    row = call.db.row("pool_update", self)
    if set(call.db.refs("host")) <= set(row.hosts):
        raise err.UPDATE_ALREADY_APPLIED_IN_POOL(self)
    raise err.INVALID_UPDATE(NO_KEY)


@message("pool_update.attach")
def attach(call: Call, self: Ref, use_localhost_proxy: bool = False) -> str:
    """Make the files of an update readable.  Errors: INVALID_UPDATE."""
    call.db.row("pool_update", self)
    raise err.INVALID_UPDATE(NO_KEY)


@message("pool_update.detach")
def detach(call: Call, self: Ref) -> None:
    """Make them readable no longer: they never are."""
    call.db.row("pool_update", self)


@message("pool_update.pool_clean")
async def pool_clean(call: Call, self: Ref) -> None:
    """Destroy the disk an update is on, if it is still there."""
    vdi = call.db.row("pool_update", self).vdi
    if call.db.find("VDI", vdi) is not None:
        await destroy_vdi(call, vdi)


@message("pool_update.destroy")
async def destroy(call: Call, self: Ref) -> None:
    """Remove an update that no host has, with its disk.  Errors: UPDATE_IS_APPLIED."""
    if call.db.row("pool_update", self).hosts:
        raise err.UPDATE_IS_APPLIED()
    await pool_clean(call, self)
    with call.db.transaction() as tx:
        tx.delete("pool_update", self)


@message("pool_update.resync_host")
def resync_host(call: Call, host: Ref) -> None:
    """Write down which updates a host has: those it has records of."""
    reached(call, host)

"""Messages of class crashdump."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.api.vm import disks
from xapi_py.base.names import Ref


@message("crashdump.destroy")
async def destroy(call: Call, self: Ref) -> None:
    """Remove a dump and the disk it is on."""
    row = call.db.row("crashdump", self)
    vdi = row.VDI
    with call.db.transaction() as tx:
        tx.delete("crashdump", self)
        disks.condemn(call.db, tx, [vdi])
    await disks.destroy_condemned(call, [vdi])

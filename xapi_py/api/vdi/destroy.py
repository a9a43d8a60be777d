"""Removing disks: with their data, or only their records."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.api.storage_calls import on_vdi, storage_operation
from xapi_py.base.names import Ref
from xapi_py.pool.storage_records import remove_vdi


@message("VDI.destroy")
async def destroy(call: Call, self: Ref) -> None:
    """Destroy a disk.

    VBDs that name it go with it.  Errors: those of the disk's and the SR's
    operations (VDI_IN_USE, VDI_NOT_MANAGED, HA_IS_ENABLED...), the driver's.
    """
    await destroy_vdi(call, self)


async def destroy_vdi(call: Call, vdi: Ref) -> None:
    """Destroy a disk as the message does."""
    row = call.db.row("VDI", vdi)
    claims = (("SR", Ref(row.SR), "vdi_destroy"), ("VDI", vdi, "destroy"))
    async with storage_operation(call, *claims):
        await on_vdi(call, row, "VDI.destroy")
        _delete_row(call, vdi)


@message("VDI.forget")
async def forget(call: Call, vdi: Ref) -> None:
    """Delete a disk's record; the next scan of its SR finds the disk again."""
    row = call.db.row("VDI", vdi)
    claims = (("SR", Ref(row.SR), "vdi_forget"), ("VDI", vdi, "forget"))
    async with storage_operation(call, *claims):
        _delete_row(call, vdi)


@message("VDI.db_forget")
def db_forget(call: Call, vdi: Ref) -> None:
    """Delete a disk's record; drivers use it."""
    call.db.row("VDI", vdi)
    _delete_row(call, vdi)


def _delete_row(call: Call, vdi: Ref) -> None:
    """Delete the row unless the update consumer was faster."""
    row = call.db.find("VDI", vdi)
    if row is not None:
        with call.db.transaction() as tx:
            remove_vdi(call.db, tx, row)

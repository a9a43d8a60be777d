"""Setters of disks: some belong to the storage too, some to the records only."""

from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.api.storage_calls import hosts_of, on_vdi, storage_operation
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err


@message("VDI.set_name_label")
async def set_name_label(call: Call, self: Ref, value: str) -> None:
    """Rename a disk, on its storage too.  Errors: SR_HAS_NO_PBDS, the driver's."""
    await _set_both(call, self, "name_label", value, name_label=value)


@message("VDI.set_name_description")
async def set_name_description(call: Call, self: Ref, value: str) -> None:
    """Describe a disk, on its storage too.  Errors: SR_HAS_NO_PBDS, the driver's."""
    await _set_both(call, self, "name_description", value, name_description=value)


async def _set_both(call: Call, vdi: Ref, field: str, value: Any, **changes: object) -> None:
    """Change members on storage, then the field of the row."""
    row = call.db.row("VDI", vdi)
    await on_vdi(call, row, "VDI.set", changes=changes)
    _write(call, vdi, field, value)


async def _set_where_plugged(
    call: Call, vdi: Ref, field: str, value: Any, **changes: object
) -> None:
    """Change the field of the row, and the member on storage if that can be reached."""
    row = call.db.row("VDI", vdi)
    if hosts_of(call, call.db.row("SR", row.SR)):
        await on_vdi(call, row, "VDI.set", changes=changes)
    _write(call, vdi, field, value)


def _write(call: Call, vdi: Ref, field: str, value: Any) -> None:
    with call.db.transaction() as tx:
        tx.set("VDI", vdi, field, value)


@message("VDI.set_sharable")
async def set_sharable(call: Call, self: Ref, value: bool) -> None:
    """Say whether several VMs may write to the disk."""
    await _set_where_plugged(call, self, "sharable", value, sharable=value)


@message("VDI.set_read_only")
async def set_read_only(call: Call, self: Ref, value: bool) -> None:
    """Say whether nobody may write to the disk."""
    await _set_where_plugged(call, self, "read_only", value, read_only=value)


@message("VDI.set_is_a_snapshot")
async def set_is_a_snapshot(call: Call, self: Ref, value: bool) -> None:
    """Say whether the disk is a snapshot."""
    await _set_where_plugged(call, self, "is_a_snapshot", value, is_a_snapshot=value)


@message("VDI.set_snapshot_of")
async def set_snapshot_of(call: Call, self: Ref, value: Ref) -> None:
    """Say which disk this one is a snapshot of."""
    original = call.db.find("VDI", value)
    uuid = "" if original is None else original.uuid
    await _set_where_plugged(call, self, "snapshot_of", value or NULL_REF, snapshot_of=uuid)


@message("VDI.set_snapshot_time")
async def set_snapshot_time(call: Call, self: Ref, value: int) -> None:
    """Say when the snapshot was made."""
    await _set_where_plugged(call, self, "snapshot_time", value, snapshot_time=value)


@message("VDI.set_metadata_of_pool")
async def set_metadata_of_pool(call: Call, self: Ref, value: Ref) -> None:
    """Say which pool's database the disk holds a copy of."""
    pool = call.db.find("pool", value)
    uuid = "" if pool is None else pool.uuid
    await _set_where_plugged(
        call, self, "metadata_of_pool", value or NULL_REF, metadata_of_pool=uuid
    )


@message("VDI.set_managed")
def set_managed(call: Call, self: Ref, value: bool) -> None:
    """Write what a driver found."""
    _checked(call, self, "managed", value)


@message("VDI.set_missing")
def set_missing(call: Call, self: Ref, value: bool) -> None:
    """Write what a driver found."""
    _checked(call, self, "missing", value)


@message("VDI.set_virtual_size")
def set_virtual_size(call: Call, self: Ref, value: int) -> None:
    """Write what a driver found."""
    _checked(call, self, "virtual_size", value)


@message("VDI.set_physical_utilisation")
def set_physical_utilisation(call: Call, self: Ref, value: int) -> None:
    """Write what a driver found."""
    _checked(call, self, "physical_utilisation", value)


@message("VDI.set_cbt_enabled")
def set_cbt_enabled(call: Call, self: Ref, value: bool) -> None:
    """Write what a driver found."""
    _checked(call, self, "cbt_enabled", value)


@message("VDI.set_allow_caching")
def set_allow_caching(call: Call, self: Ref, value: bool) -> None:
    """Say whether hosts may keep a local copy of what is read."""
    _checked(call, self, "allow_caching", value)


def _checked(call: Call, vdi: Ref, field: str, value: object) -> None:
    call.db.row("VDI", vdi)
    _write(call, vdi, field, value)


@message("VDI.set_on_boot")
async def set_on_boot(call: Call, self: Ref, value: str) -> None:
    """Say whether the disk keeps what a VM wrote when the VM starts again.

    Errors: SR_OPERATION_NOT_SUPPORTED, VDI_CBT_ENABLED, VDI_IN_USE, the driver's.
    """
    row = call.db.row("VDI", self)
    claims = (("SR", Ref(row.SR), "vdi_set_on_boot"), ("VDI", self, "set_on_boot"))
    async with storage_operation(call, *claims):
        await on_vdi(call, row, "VDI.set_persistent", persistent=value != "reset")
        _write(call, self, "on_boot", value)


@message("VDI.force_unlock")
def force_unlock(call: Call, vdi: Ref) -> None:
    """Refuse: there are no such locks.  Errors: MESSAGE_DEPRECATED."""
    raise err.MESSAGE_DEPRECATED()

"""What disks hold: size, changed blocks, going back to a snapshot, checksums."""

import hashlib
import xmlrpc.client
from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.device_secrets import in_clear
from xapi_py.api.disk_files import DiskReader, in_thread, io_error, open_reader
from xapi_py.api.registry import message
from xapi_py.api.storage_calls import on_sr, on_vdi, storage_operation
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.pool.storage_records import put_vdi

CHUNK_BYTES = 1 << 20


@message("VDI.resize")
async def resize(call: Call, vdi: Ref, size: int) -> None:
    """Grow a disk that no VM uses.  Errors: those of the operations, the driver's."""
    await _changed_on_storage(call, vdi, "resize", "vdi_resize", "VDI.resize", new_size=size)


@message("VDI.resize_online")
async def resize_online(call: Call, vdi: Ref, size: int) -> None:
    """Grow a disk a VM may be using.  Errors: as ``resize``."""
    await _changed_on_storage(
        call, vdi, "resize_online", "vdi_resize_online", "VDI.resize_online", new_size=size
    )


@message("VDI.update")
async def update(call: Call, vdi: Ref) -> None:
    """Refresh a disk's record.  Errors: SR_OPERATION_NOT_SUPPORTED, the driver's."""
    await _changed_on_storage(call, vdi, "update", "vdi_update", "VDI.stat")


@message("VDI.enable_cbt")
async def enable_cbt(call: Call, self: Ref) -> None:
    """Start to record which blocks are written; nothing to do when that is on.

    Errors: VDI_INCOMPATIBLE_TYPE, OPERATION_NOT_ALLOWED, SR_OPERATION_NOT_SUPPORTED...
    """
    await _changed_on_storage(call, self, "enable_cbt", "vdi_enable_cbt", "VDI.enable_cbt")


@message("VDI.disable_cbt")
async def disable_cbt(call: Call, self: Ref) -> None:
    """Stop recording which blocks are written.  Errors: as ``enable_cbt``."""
    await _changed_on_storage(call, self, "disable_cbt", "vdi_disable_cbt", "VDI.disable_cbt")


@message("VDI.data_destroy")
async def data_destroy(call: Call, self: Ref) -> None:
    """Delete a snapshot's data but keep its record of changed blocks.

    Errors: OPERATION_NOT_ALLOWED, VDI_NO_CBT_METADATA, VDI_IN_USE...
    """
    await _changed_on_storage(call, self, "data_destroy", "vdi_data_destroy", "VDI.data_destroy")


@message("VDI.revert")
async def revert(call: Call, snapshot: Ref) -> None:
    """Make the disk a snapshot was taken of hold what the snapshot holds.

    Errors: VDI_MISSING when the disk is gone, SR_OPERATION_NOT_SUPPORTED...
    """
    source = call.db.row("VDI", snapshot)
    disk = call.db.find("VDI", source.snapshot_of)
    if disk is None:
        raise err.VDI_MISSING(source.SR, source.snapshot_of)
    claims = (
        ("SR", Ref(source.SR), "vdi_revert"),
        ("VDI", Ref(disk.ref), "revert_to"),
        ("VDI", snapshot, "revert_from"),
    )
    async with storage_operation(call, *claims):
        found = await on_vdi(call, disk, "VDI.revert", snapshot=source.uuid)
        _refresh(call, Ref(disk.ref), found)


async def _changed_on_storage(
    call: Call, vdi: Ref, operation: str, sr_operation: str, method: str, **params: object
) -> None:
    row = call.db.row("VDI", vdi)
    claims = (("SR", Ref(row.SR), sr_operation), ("VDI", vdi, operation))
    async with storage_operation(call, *claims):
        found = await on_vdi(call, row, method, **params)
        _refresh(call, vdi, found)


def _refresh(call: Call, vdi: Ref, found: Any) -> None:
    row = call.db.find("VDI", vdi)
    sr = None if row is None else call.db.find("SR", row.SR)
    if sr is not None:
        with call.db.transaction() as tx:
            put_vdi(call.db, tx, sr, found)


@message("VDI.list_changed_blocks")
async def list_changed_blocks(call: Call, vdi_from: Ref, vdi_to: Ref) -> str:
    """Give the blocks of 64 KiB that differ between two disks: base64, first block in bit 7.

    Errors: SR_OPERATION_NOT_SUPPORTED, SR_BACKEND_FAILURE_460 for unrelated disks...
    """
    older, newer = call.db.row("VDI", vdi_from), call.db.row("VDI", vdi_to)
    claims = (
        ("SR", Ref(newer.SR), "vdi_list_changed_blocks"),
        ("VDI", vdi_to, "list_changed_blocks"),
    )
    async with storage_operation(call, *claims):
        sr = call.db.row("SR", newer.SR)
        uuids = {"vdi_from": older.uuid, "vdi_to": newer.uuid}
        return str(await on_sr(call, sr, "VDI.list_changed_blocks", **uuids))


@message("VDI.checksum")
async def checksum(call: Call, self: Ref) -> str:
    """Give the MD5 of all the disk holds, in hexadecimal; reads the whole disk."""
    reader = await open_reader(call, self)
    try:
        return str(await in_thread(_md5, reader))
    except OSError as problem:
        raise io_error(call, self, problem) from problem
    finally:
        await reader.release()


def _md5(reader: DiskReader) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for offset in range(0, reader.size, CHUNK_BYTES):
        digest.update(reader.read(offset, min(CHUNK_BYTES, reader.size - offset)))
    return digest.hexdigest()


@message("VDI.generate_config")
def generate_config(call: Call, host: Ref, vdi: Ref) -> str:
    """Give a call of the driver that attaches the disk without an API server: XML-RPC.

    Errors: SR_HAS_NO_PBDS when the host has no PBD of the SR.
    """
    row = call.db.row("VDI", vdi)
    sr = call.db.row("SR", row.SR)
    call.db.row("host", host)
    for ref in sr.PBDs:
        pbd = call.db.row("PBD", ref)
        if pbd.host == host:
            content = {
                "command": "vdi_attach_from_config",
                "device_config": {**in_clear(call.db, pbd.device_config), "SRmaster": "true"},
                "sr_uuid": sr.uuid,
                "vdi_uuid": row.uuid,
            }
            return xmlrpc.client.dumps((content,), "vdi_attach_from_config")
    raise err.SR_HAS_NO_PBDS(sr.ref)


@message("VDI.open_database")
def open_database(call: Call, self: Ref) -> Ref:
    """Open the copy of another pool's database a disk holds.

    Errors: VDI_INCOMPATIBLE_TYPE, VDI_CONTAINS_METADATA_OF_THIS_POOL,
    COULD_NOT_IMPORT_DATABASE when there is none.
    """
    row = call.db.row("VDI", self)
    if row.type != "metadata":
        raise err.VDI_INCOMPATIBLE_TYPE(self, row.type)
    if row.metadata_of_pool == call.toolstack.pool:
        raise err.VDI_CONTAINS_METADATA_OF_THIS_POOL(self, row.metadata_of_pool)
    raise err.COULD_NOT_IMPORT_DATABASE("no database was found on the disk")


@message("VDI.read_database_pool_uuid")
def read_database_pool_uuid(call: Call, self: Ref) -> str:
    """Give the uuid of the pool whose database the disk holds, or an empty text."""
    row = call.db.row("VDI", self)
    pool = call.db.find("pool", row.metadata_of_pool)
    return "" if pool is None else str(pool.uuid)

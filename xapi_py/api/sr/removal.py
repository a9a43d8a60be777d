"""Removing SRs: with their content, or only from the pool's records."""

from xapi_py.api import device_secrets, pbd
from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.api.storage_calls import on_host, storage_operation
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.undo import Undo
from xapi_py.datamodel import errors as err
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.db.transaction import Transaction
from xapi_py.pool.storage_records import remove_vdi

_POOL_FIELDS = ("default_SR", "suspend_image_SR", "crash_dump_SR")
_HOST_FIELDS = ("suspend_image_sr", "crash_dump_sr", "local_cache_sr")


def delete_rows(db: Database, tx: Transaction, sr: Ref) -> None:
    """Delete an SR's row, its PBDs with their secrets, its disks and blobs.

    Fields of the pool and of hosts that name the SR are cleared.
    """
    row = db.row("SR", sr)
    for ref in tuple(row.PBDs):
        device_secrets.forget(db, tx, db.row("PBD", ref).device_config)
        tx.delete("PBD", ref)
    for ref in tuple(row.VDIs):
        remove_vdi(db, tx, db.row("VDI", ref))
    for ref in row.blobs.values():
        if db.find("blob", ref) is not None:
            tx.delete("blob", ref)
    tx.delete("SR", sr)
    for cls, fields in (("pool", _POOL_FIELDS), ("host", _HOST_FIELDS)):
        for owner in db.rows(cls):
            for field in fields:
                if getattr(owner, field) == sr:
                    tx.set(cls, owner.ref, field, NULL_REF)


@message("SR.forget")
async def forget(call: Call, sr: Ref) -> None:
    """Remove an SR from the records; what is on storage stays.

    Errors: SR_HAS_PBD while it is plugged anywhere, SR_IS_CACHE_SR.
    """
    call.db.row("SR", sr)
    async with storage_operation(call, ("SR", sr, "forget")):
        _check_no_cache(call, sr)
        with call.db.transaction() as tx:
            delete_rows(call.db, tx, sr)


@message("SR.destroy")
async def destroy(call: Call, sr: Ref) -> None:
    """Erase an SR from its storage and remove it from the records.

    Errors: SR_HAS_PBD while it is plugged, SR_INDESTRUCTIBLE,
    SR_HAS_NO_PBDS, SR_NOT_EMPTY, the driver's.
    """
    row = call.db.row("SR", sr)
    async with storage_operation(call, ("SR", sr, "destroy")):
        _check_no_cache(call, sr)
        access = _access(call, row)
        async with Undo() as undo:
            await pbd.attach(call, access, row)
            undo.push(
                "detach the SR",
                lambda: on_host(call, access.host, "SR.detach", {"sr": row.uuid}, sr=sr),
            )
            await on_host(call, access.host, "SR.destroy", {"sr": row.uuid}, sr=sr)
        with call.db.transaction() as tx:
            delete_rows(call.db, tx, sr)


def _access(call: Call, sr: Row) -> Row:
    """Choose the PBD to destroy through: of a live host, the master's first."""
    master = call.db.row("pool", call.toolstack.pool).master
    live = {gateway.host for gateway in call.toolstack.hosts.live()}
    pbds = [call.db.row("PBD", ref) for ref in sr.PBDs]
    usable = sorted((p for p in pbds if p.host in live), key=lambda p: p.host != master)
    if not usable:
        raise err.SR_HAS_NO_PBDS(sr.ref)
    return usable[0]


def _check_no_cache(call: Call, sr: Ref) -> None:
    for host in call.db.rows("host"):
        if host.local_cache_sr == sr:
            raise err.SR_IS_CACHE_SR(host.ref)

"""Copying and moving the data of disks."""

from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from xapi_py.api.call import Call
from xapi_py.api.operations import Claim
from xapi_py.api.registry import message
from xapi_py.api.storage_calls import (
    COPY_DEADLINE_S,
    hosts_of,
    on_host,
    read_on_host,
    storage_operation,
)
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref, new_uuid
from xapi_py.base.waiting import sleep
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.pool.storage_records import expecting, put_vdi

_NOTHING = ("", NULL_REF)
PROGRESS_S: Final = 0.5
T = TypeVar("T")


@message("VDI.copy")
async def copy(call: Call, vdi: Ref, sr: Ref, base_vdi: Ref, into_vdi: Ref) -> Ref:
    """Copy a disk's data to a new disk on ``sr``, or over ``into_vdi``; gives the target.

    ``base_vdi`` only saves work and must exist if it is given.  Errors: HANDLE_INVALID,
    VDI_READONLY, VDI_TOO_SMALL, those of the disk's and the SR's operations.
    """
    call.db.row("VDI", vdi)
    if base_vdi not in _NOTHING:
        call.db.row("VDI", base_vdi)
    if into_vdi in _NOTHING:
        return await copy_to_sr(call, vdi, sr)
    return await _copy_into(call, call.db.row("VDI", vdi), call.db.row("VDI", into_vdi))


async def copy_to_sr(call: Call, vdi: Ref, sr: Ref, operation: str = "copy") -> Ref:
    """Copy a disk's data to a new disk.  Errors: as ``copy``."""
    row, target = call.db.row("VDI", vdi), call.db.row("SR", sr)
    host = common_host(call, call.db.row("SR", row.SR), target)
    source_claim: Claim = ("VDI", vdi, operation)
    async with storage_operation(call, ("SR", sr, "vdi_create"), source_claim):
        call.allow_cancel()
        uuid = new_uuid()
        with expecting(uuid):
            made = await copy_data(call, host, row, target, {"vdi_info": info_of(row, uuid)})
        fresh = {
            "other_config": row.other_config,
            "tags": row.tags,
            "xenstore_data": row.xenstore_data,
            "allow_caching": row.allow_caching,
        }
        with call.db.transaction() as tx:
            return put_vdi(call.db, tx, call.db.row("SR", sr), made, fresh)


def info_of(row: Row, uuid: str) -> dict[str, object]:
    return {
        "uuid": uuid,
        "name_label": row.name_label,
        "name_description": row.name_description,
        "type": row.type,
        "virtual_size": row.virtual_size,
        "sharable": row.sharable,
        "read_only": row.read_only,
    }


async def _copy_into(call: Call, row: Row, into: Row) -> Ref:
    if into.read_only:
        raise err.VDI_READONLY(into.ref)
    if into.virtual_size < row.virtual_size:
        raise err.VDI_TOO_SMALL(into.ref, row.virtual_size)
    target = call.db.row("SR", into.SR)
    host = common_host(call, call.db.row("SR", row.SR), target)
    async with storage_operation(call, ("VDI", row.ref, "copy"), ("VDI", into.ref, "copy")):
        call.allow_cancel()
        made = await copy_data(call, host, row, target, {"dest_vdi": into.uuid})
        if call.db.find("VDI", into.ref) is not None:
            with call.db.transaction() as tx:
                put_vdi(call.db, tx, target, made)
    return into.ref


async def copy_data(
    call: Call, host: Ref, row: Row, target: Row, more: Mapping[str, object], share: float = 0.95
) -> Any:
    """Copy on a host, which the call's progress follows; gives the target's record."""
    source = call.db.row("SR", row.SR)
    params = {"sr": source.uuid, "vdi": row.uuid, "dest_sr": target.uuid, **more}
    about = {"sr": target.ref, "vdi": row.ref}
    work = on_host(call, host, "VDI.copy", params, **about, deadline_s=COPY_DEADLINE_S)
    info: Any = more.get("vdi_info")
    made = str(info["uuid"] if info else more["dest_vdi"])
    try:
        return await following(call, host, target.uuid, made, share, work)
    except ApiError:
        if info:  # a daemon that ended could not undo what it did
            with suppress(ApiError):
                await on_host(call, host, "VDI.destroy", {"sr": target.uuid, "vdi": made})
        raise


async def following(
    call: Call, host: Ref, sr: str, vdi: str, share: float, work: Coroutine[Any, Any, T]
) -> T:
    """Wait for work of a host's storage daemon that fills a disk.

    The call's progress, up to ``share``, is what the daemon says of it.  When
    the call is cancelled, the daemon has undone what it did before this ends.
    """
    running: Deferred[T] = Deferred.fromCoroutine(work)
    watching = Deferred.fromCoroutine(_watch(call, host, {"sr": sr, "vdi": vdi}, share))
    watching.addErrback(lambda failure: None)
    try:
        return await running
    except CancelledError:
        with suppress(ApiError):
            await on_host(call, host, "VDI.settled", {"sr": sr, "vdi": vdi})
        raise
    finally:
        watching.cancel()


async def _watch(call: Call, host: Ref, where: dict[str, object], share: float) -> None:
    while True:
        await sleep(call.toolstack.clock, PROGRESS_S)
        call.progress(share * await read_on_host(call, host, "VDI.progress", where))


def common_host(call: Call, source: Row, target: Row) -> Ref:
    """Choose a host that has both SRs plugged, one that holds the target's lead first.

    Errors: SR_HAS_NO_PBDS of an SR that is plugged nowhere; SR_NOT_ATTACHED
    when no host reaches both.
    """
    readers, writers = hosts_of(call, source), hosts_of(call, target)
    for sr, hosts in ((source, readers), (target, writers)):
        if not hosts:
            raise err.SR_HAS_NO_PBDS(sr.ref)
    for host in writers:
        if host in readers:
            return host
    raise err.SR_NOT_ATTACHED(source.ref)

"""Making disks: new ones, snapshots, clones, and records of disks that are there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.implicit import constructor_fields
from xapi_py.api.registry import message
from xapi_py.api.storage_calls import host_of, on_sr, on_vdi, storage_operation, supports
from xapi_py.api.vdi.copy import copy_to_sr
from xapi_py.base.names import NULL_REF, Ref, Uuid, new_uuid, ref_of_uuid
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.pool.storage_records import expecting, find_uuid, put_vdi

_COPIED = ("other_config", "tags", "xenstore_data", "allow_caching")
"""Fields that a snapshot or clone takes over and that only the database knows."""

_INFO = ("name_label", "name_description", "type", "virtual_size", "sharable", "read_only")


@dataclass(frozen=True, slots=True)
class VdiWanted:
    """What a new disk is to be: ``info`` for the daemon, ``fresh`` for its row only."""

    info: Mapping[str, object]
    fresh: Mapping[str, Any]


@message("VDI.create")
async def create(call: Call, record: dict[str, Any]) -> Ref:
    """Make an empty disk; its size is rounded up as the driver needs it.

    Errors: HANDLE_INVALID, VDI_INCOMPATIBLE_TYPE, SR_OPERATION_NOT_SUPPORTED,
    SR_HAS_NO_PBDS, the driver's.
    """
    fields = constructor_fields(call, "VDI", record)
    sr = call.db.row("SR", fields["SR"])
    if fields["type"] == "cbt_metadata":
        raise err.VDI_INCOMPATIBLE_TYPE("", fields["type"])
    info = {name: fields[name] for name in _INFO if name in fields}
    info["sm_config"] = dict(fields.get("sm_config", {}))
    database_only = ("other_config", "xenstore_data", "tags")
    fresh = {name: fields[name] for name in database_only if name in fields}
    return await make(call, sr, VdiWanted(info, fresh))


async def make(call: Call, sr: Row, wanted: VdiWanted) -> Ref:
    """Make a disk and its record.  The record and what the caller writes in the same turn
    become durable together."""
    uuid = new_uuid()
    async with storage_operation(call, ("SR", sr.ref, "vdi_create")):
        with expecting(uuid):
            info = {**wanted.info, "uuid": uuid}
            made = await on_sr(call, sr, "VDI.create", vdi_info=info)
        return record_made(call, sr.ref, made, wanted.fresh)


def record_made(call: Call, sr: Ref, made: Mapping[str, Any], fresh: Mapping[str, Any]) -> Ref:
    """Write the row of a disk the daemon has just made.  Errors: HANDLE_INVALID of the SR."""
    row = call.db.row("SR", sr)
    with call.db.transaction() as tx:
        return put_vdi(call.db, tx, row, made, fresh)


@message("VDI.snapshot")
async def snapshot(call: Call, vdi: Ref, driver_params: dict[str, str]) -> Ref:
    """Make a snapshot of a disk: what it holds now, never to change.

    Errors: those of the disk's and the SR's operations, the driver's.
    """
    fresh = {"is_a_snapshot": True, "snapshot_of": vdi}
    return await _derive(call, vdi, "snapshot", driver_params, fresh)


@message("VDI.clone")
async def clone(call: Call, vdi: Ref, driver_params: dict[str, str]) -> Ref:
    """Make a new disk with the same content, sharing storage where the driver can.

    Errors: as ``snapshot``.  Where the driver cannot clone, the data is copied.
    """
    row = call.db.row("VDI", vdi)
    sr = call.db.row("SR", row.SR)
    if not supports(call, sr, "VDI_CLONE"):
        return await copy_to_sr(call, vdi, sr.ref, operation="clone")
    return await _derive(call, vdi, "clone", driver_params, {})


async def _derive(
    call: Call, vdi: Ref, kind: str, driver_params: dict[str, str], fresh: dict[str, Any]
) -> Ref:
    row = call.db.row("VDI", vdi)
    claims = (("SR", Ref(row.SR), f"vdi_{kind}"), ("VDI", vdi, kind))
    async with storage_operation(call, *claims):
        uuid = new_uuid()
        info = _info_of(row, uuid, snapshot_time=call.now() if kind == "snapshot" else 0)
        own = {name: getattr(row, name) for name in _COPIED}
        with expecting(uuid):
            made = await on_vdi(call, row, f"VDI.{kind}", vdi_info=info)
        return record_made(call, Ref(row.SR), made, {**own, **fresh})


def _info_of(row: Row, uuid: Uuid, snapshot_time: int) -> dict[str, object]:
    return {
        "uuid": uuid,
        "name_label": row.name_label,
        "name_description": row.name_description,
        "type": row.type,
        "sharable": row.sharable,
        "read_only": row.read_only,
        "persistent": row.on_boot != "reset",
        "snapshot_time": snapshot_time,
    }


@message("VDI.introduce")
async def introduce(
    call: Call,
    uuid: str,
    name_label: str,
    name_description: str,
    sr: Ref,
    type: str,
    sharable: bool,
    read_only: bool,
    other_config: dict[str, str],
    location: str,
    xenstore_data: dict[str, str],
    sm_config: dict[str, str],
    *rest: object,
) -> Ref:
    """Make the record of a disk that is on storage already.

    Errors: SR_OPERATION_NOT_SUPPORTED, SR_HAS_NO_PBDS, LOCATION_NOT_UNIQUE,
    VDI_ALREADY_EXISTS as the driver says it.
    """
    row = call.db.row("SR", sr)
    async with storage_operation(call, ("SR", sr, "vdi_introduce")):
        host_of(call, row)
        for ref in row.VDIs:
            if call.db.row("VDI", ref).location == location:
                raise err.LOCATION_NOT_UNIQUE(sr, location)
        wanted = uuid or location
        found = await on_sr(
            call, row, "VDI.introduce", vdi=wanted, location=location, sm_config=sm_config
        )
        fresh = {
            "name_label": name_label,
            "name_description": name_description,
            "type": type,
            "sharable": sharable,
            "read_only": read_only,
            "other_config": other_config,
            "xenstore_data": xenstore_data,
        }
        return record_made(call, sr, found, fresh)


@message("VDI.pool_introduce")
def pool_introduce(call: Call, *arguments: Any) -> Ref:
    """Make the record of a disk, nothing else; for a host's own use."""
    introduced: Ref = db_introduce(call, *arguments)
    return introduced


@message("VDI.db_introduce")
def db_introduce(
    call: Call,
    uuid: str,
    name_label: str,
    name_description: str,
    sr: Ref,
    type: str,
    sharable: bool,
    read_only: bool,
    other_config: dict[str, str],
    location: str,
    xenstore_data: dict[str, str],
    sm_config: dict[str, str],
    managed: bool,
    virtual_size: int,
    physical_utilisation: int,
    metadata_of_pool: Ref,
    is_a_snapshot: bool,
    snapshot_time: int,
    snapshot_of: Ref,
    cbt_enabled: bool = False,
) -> Ref:
    """Make the record of a disk, nothing else; drivers use it.  Errors: HANDLE_INVALID."""
    call.db.row("SR", sr)
    wanted = Uuid(uuid) if uuid else new_uuid()
    fields = {
        "ref": ref_of_uuid(wanted),
        "uuid": wanted,
        "name_label": name_label,
        "name_description": name_description,
        "SR": sr,
        "type": type,
        "sharable": sharable,
        "read_only": read_only,
        "other_config": other_config,
        "location": location,
        "xenstore_data": xenstore_data,
        "sm_config": sm_config,
        "managed": managed,
        "virtual_size": virtual_size,
        "physical_utilisation": physical_utilisation,
        "metadata_of_pool": metadata_of_pool or NULL_REF,
        "is_a_snapshot": is_a_snapshot,
        "snapshot_time": snapshot_time,
        "snapshot_of": snapshot_of or NULL_REF,
        "cbt_enabled": cbt_enabled,
    }
    if find_uuid(call.db, "VDI", wanted) is not None:
        raise err.DB_UNIQUENESS_CONSTRAINT_VIOLATION("VDI", "uuid", wanted)
    with call.db.transaction() as tx:
        return tx.create("VDI", fields)

"""SR messages about an SR that exists: scanning, names, sizes, what it may be used for."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.api.storage_calls import (
    host_of,
    hosts_of,
    on_sr,
    read_on_host,
    storage_operation,
    supports,
)
from xapi_py.api.vdi.create import VdiWanted, make
from xapi_py.api.vdi.destroy import destroy_vdi
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.pool.storage_records import put_scan, put_sr

STATEFILE_BYTES = 4 << 20
REPLICA_BYTES = 951 * (4 << 20)
"""Room for two copies of the database.  Source: brief STORAGE 5.5."""

METADATA_LABEL = "Metadata for DR"
MAX_REPLICAS = 8


@message("SR.scan")
async def scan(call: Call, sr: Ref) -> None:
    """Bring the records of the SR's disks in step with its storage.

    Errors: SR_HAS_NO_PBDS, OTHER_OPERATION_IN_PROGRESS, the driver's.
    """
    row = call.db.row("SR", sr)
    async with storage_operation(call, ("SR", sr, "scan")):
        host = host_of(call, row)
        since = call.db.generation
        found = await read_on_host(call, host, "SR.scan", {"sr": row.uuid}, sr=sr)
        put_scan(call.db, sr, found["sr"], found["vdis"], since)


@message("SR.update")
async def update(call: Call, sr: Ref) -> None:
    """Refresh the SR's sizes.  Errors: SR_OPERATION_NOT_SUPPORTED, SR_HAS_NO_PBDS."""
    row = call.db.row("SR", sr)
    async with storage_operation(call, ("SR", sr, "update")):
        stat = await on_sr(call, row, "SR.update")
        if call.db.find("SR", sr) is not None:
            with call.db.transaction() as tx:
                put_sr(tx, row, stat)


@message("SR.get_supported_types")
def get_supported_types(call: Call) -> tuple[str, ...]:
    """Give the types of all installed drivers."""
    return tuple(sm.type for sm in call.db.rows("SM"))


@message("SR.set_shared")
def set_shared(call: Call, sr: Ref, value: bool) -> None:
    """Say whether all hosts share the SR.  Errors: SR_HAS_MULTIPLE_PBDS."""
    row = call.db.row("SR", sr)
    if not value and len(row.PBDs) > 1:
        raise err.SR_HAS_MULTIPLE_PBDS(sr)
    with call.db.transaction() as tx:
        tx.set("SR", sr, "shared", value)


@message("SR.set_name_label")
async def set_name_label(call: Call, sr: Ref, value: str) -> None:
    """Rename an SR, on its storage too where it is plugged."""
    await _set_name(call, sr, "name_label", value)


@message("SR.set_name_description")
async def set_name_description(call: Call, sr: Ref, value: str) -> None:
    """Describe an SR, on its storage too where it is plugged."""
    await _set_name(call, sr, "name_description", value)


async def _set_name(call: Call, sr: Ref, field: str, value: str) -> None:
    row = call.db.row("SR", sr)
    if hosts_of(call, row):
        await on_sr(call, row, f"SR.set_{field}", **{field: value})
    with call.db.transaction() as tx:
        tx.set("SR", sr, field, value)


@message("SR.set_physical_size")
def set_physical_size(call: Call, self: Ref, value: int) -> None:
    """Write the size a driver found."""
    _set(call, self, "physical_size", value)


@message("SR.set_virtual_allocation")
def set_virtual_allocation(call: Call, self: Ref, value: int) -> None:
    """Write the sum of disk sizes a driver found."""
    _set(call, self, "virtual_allocation", value)


@message("SR.set_physical_utilisation")
def set_physical_utilisation(call: Call, self: Ref, value: int) -> None:
    """Write the used space a driver found."""
    _set(call, self, "physical_utilisation", value)


def _set(call: Call, sr: Ref, field: str, value: int) -> None:
    call.db.row("SR", sr)
    with call.db.transaction() as tx:
        tx.set("SR", sr, field, value)


@message("SR.get_live_hosts")
def get_live_hosts(call: Call, sr: Ref) -> tuple[Ref, ...]:
    """Give the enabled live hosts that have the SR plugged."""
    row = call.db.row("SR", sr)
    return tuple(host for host in hosts_of(call, row) if call.db.row("host", host).enabled)


@message("SR.assert_can_host_ha_statefile")
def assert_can_host_ha_statefile(call: Call, sr: Ref) -> None:
    """Refuse an SR that cannot hold the file all hosts of a HA pool write.

    Errors: HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED, SR_OPERATION_NOT_SUPPORTED,
    SR_HAS_NO_PBDS, SR_SOURCE_SPACE_INSUFFICIENT.
    """
    row = call.db.row("SR", sr)
    if not row.shared:
        raise err.HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED(sr)
    _check_everywhere(call, row)
    if not supports(call, row, "VDI_GENERATE_CONFIG"):
        raise err.SR_OPERATION_NOT_SUPPORTED(sr)
    if row.physical_size - row.physical_utilisation < STATEFILE_BYTES:
        raise err.SR_SOURCE_SPACE_INSUFFICIENT(sr)


def _check_everywhere(call: Call, sr: Row) -> None:
    """Require a plugged PBD on every host.  Errors: SR_HAS_NO_PBDS."""
    plugged = {p.host for r in sr.PBDs if (p := call.db.row("PBD", r)).currently_attached}
    if any(host not in plugged for host in call.db.refs("host")):
        raise err.SR_HAS_NO_PBDS(sr.ref)


@message("SR.assert_supports_database_replication")
def assert_supports_database_replication(call: Call, sr: Ref) -> None:
    """Refuse an SR that cannot hold a copy of the pool's database.

    Errors: SR_HAS_NO_PBDS unless plugged on all hosts, SR_OPERATION_NOT_SUPPORTED.
    """
    row = call.db.row("SR", sr)
    _check_everywhere(call, row)
    if not supports(call, row, "SR_METADATA"):
        raise err.SR_OPERATION_NOT_SUPPORTED(sr)


def _replicas(call: Call, sr: Row) -> list[Row]:
    rows = (call.db.row("VDI", ref) for ref in sr.VDIs)
    mine = call.toolstack.pool
    return [v for v in rows if v.type == "metadata" and v.metadata_of_pool == mine]


@message("SR.enable_database_replication")
async def enable_database_replication(call: Call, sr: Ref) -> None:
    """Make the disk for a copy of the database; nothing to do when there is one.

    Errors: as ``assert_supports_database_replication``, NO_MORE_REDO_LOGS_ALLOWED,
    SR_SOURCE_SPACE_INSUFFICIENT, the driver's.
    """
    assert_supports_database_replication(call, sr)
    row = call.db.row("SR", sr)
    if _replicas(call, row):
        return
    in_use = sum(1 for v in call.db.rows("VDI") if v.metadata_of_pool == call.toolstack.pool)
    if in_use >= MAX_REPLICAS:
        raise err.NO_MORE_REDO_LOGS_ALLOWED()
    if row.physical_size - row.physical_utilisation < REPLICA_BYTES:
        raise err.SR_SOURCE_SPACE_INSUFFICIENT(sr)
    pool_uuid = call.db.row("pool", call.toolstack.pool).uuid
    info: dict[str, object] = {
        "name_label": METADATA_LABEL,
        "name_description": "Used for disaster recovery",
        "type": "metadata",
        "virtual_size": REPLICA_BYTES,
        "metadata_of_pool": pool_uuid,
        "sm_config": {"type": "raw"},
    }
    await make(call, row, VdiWanted(info, {}))


@message("SR.disable_database_replication")
async def disable_database_replication(call: Call, sr: Ref) -> None:
    """Destroy the copies of this pool's database on an SR."""
    for vdi in _replicas(call, call.db.row("SR", sr)):
        await destroy_vdi(call, vdi.ref)

"""Messages of class PBD: how a host reaches an SR, plugging and unplugging."""

from typing import Any

from xapi_py.api import device_secrets
from xapi_py.api.call import Call
from xapi_py.api.implicit import constructor_fields
from xapi_py.api.registry import message
from xapi_py.api.storage_calls import check_driver, on_host, read_on_host, storage_operation
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan.operations.refusals import in_progress
from xapi_py.pool.storage_records import put_scan

RESERVED_KEY = "SRmaster"
"""Drivers get this key from us; nobody may store it."""

HA_TYPES = ("ha_statefile", "redo_log")


@message("PBD.create")
def create(call: Call, record: dict[str, Any]) -> Ref:
    """Make a PBD, unplugged, with copies of its own of all secrets.

    Errors: HANDLE_INVALID, PBD_EXISTS, INVALID_VALUE for a reserved key.
    """
    db = call.db
    sr, host = Ref(record.get("SR", "")), Ref(record.get("host", ""))
    if "SR" in record and "host" in record and "device_config" in record:
        db.row("SR", sr)
        db.row("host", host)
    fields = constructor_fields(call, "PBD", record)
    if RESERVED_KEY in fields["device_config"]:
        raise err.INVALID_VALUE("device_config", RESERVED_KEY)
    for ref in db.row("SR", sr).PBDs:
        if db.row("PBD", ref).host == host:
            raise err.PBD_EXISTS(sr, host, ref)
    with db.transaction() as tx:
        config = device_secrets.own_copies(db, tx, fields["device_config"])
        return tx.create("PBD", {**fields, "device_config": config, "currently_attached": False})


@message("PBD.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Delete an unplugged PBD and its secrets.

    Errors: OPERATION_NOT_ALLOWED while plugged, OTHER_OPERATION_IN_PROGRESS
    while a PBD of its SR is being plugged.
    """
    row = call.db.row("PBD", self)
    if row.currently_attached:
        raise err.OPERATION_NOT_ALLOWED(f"PBD is plugged: {self}")
    sr = call.db.find("SR", row.SR)
    if sr is not None and "plug" in sr.current_operations.values():
        raise in_progress("SR", sr.ref, sr.current_operations)
    with call.db.transaction() as tx:
        device_secrets.forget(call.db, tx, row.device_config)
        tx.delete("PBD", self)


@message("PBD.set_device_config")
def set_device_config(call: Call, self: Ref, value: dict[str, str]) -> None:
    """Replace the device_config; it counts at the next plug."""
    row = call.db.row("PBD", self)
    if RESERVED_KEY in value:
        raise err.INVALID_VALUE("device_config", RESERVED_KEY)
    with call.db.transaction() as tx:
        config = device_secrets.own_copies(call.db, tx, value)
        device_secrets.forget(call.db, tx, row.device_config)
        tx.set("PBD", self, "device_config", config)


@message("PBD.plug")
async def plug(call: Call, self: Ref) -> None:
    """Attach the SR to the PBD's host and scan it; nothing to do when it is plugged.

    Errors: SR_UNKNOWN_DRIVER, HOST_OFFLINE, HANDLE_INVALID, the driver's.
    """
    row = call.db.row("PBD", self)
    sr = call.db.row("SR", row.SR)
    call.host(row.host)
    if row.currently_attached:
        return
    check_driver(call, sr.type)
    async with storage_operation(call, ("SR", sr.ref, "plug")):
        call.db.row("PBD", self)  # the SR may have been waited for
        await attach(call, row, sr)
        with call.db.transaction() as tx:
            tx.set("PBD", self, "currently_attached", True)
        await read_content(call, row.host, sr)


async def attach(call: Call, pbd: Row, sr: Row) -> None:
    """Have the daemon of the PBD's host attach the SR; idempotent."""
    config = device_secrets.for_driver(
        call.db, call.toolstack.pool, pbd.host, pbd.device_config, shared=sr.shared
    )
    await on_host(
        call,
        pbd.host,
        "SR.attach",
        {
            "sr": sr.uuid,
            "type": sr.type,
            "device_config": config,
            "sm_config": dict(sr.sm_config),
        },
        sr=sr.ref,
    )


async def read_content(call: Call, host: Ref, sr: Row) -> None:
    """Scan an SR on one host and write what it holds."""
    since = call.db.generation
    found = await read_on_host(call, host, "SR.scan", {"sr": sr.uuid}, sr=sr.ref)
    put_scan(call.db, sr.ref, found["sr"], found["vdis"], since)


@message("PBD.unplug")
async def unplug(call: Call, self: Ref) -> None:
    """Detach the SR from the PBD's host; nothing to do when it is not plugged.

    Errors: VDI_IN_USE with the disks in use, HA_IS_ENABLED, the driver's.
    """
    row = call.db.row("PBD", self)
    if not row.currently_attached:
        return
    sr = call.db.row("SR", row.SR)
    call.host(row.host)
    async with storage_operation(call, ("SR", sr.ref, "unplug")):
        check_unused(call, row, sr)
        await on_host(call, row.host, "SR.detach", {"sr": sr.uuid}, sr=sr.ref)
        if call.db.find("PBD", self) is not None:
            with call.db.transaction() as tx:
                tx.set("PBD", self, "currently_attached", False)


def check_unused(call: Call, pbd: Row, sr: Row) -> None:
    """Refuse to unplug what a domain of the host uses.

    Cost: the disks of the SR and their VBDs.
    """
    db = call.db
    pool = db.row("pool", call.toolstack.pool)
    used: list[Ref] = []
    for ref in sr.VDIs:
        vdi = db.row("VDI", ref)
        if pool.ha_enabled and vdi.type in HA_TYPES and vdi.uuid in pool.ha_statefiles:
            raise err.HA_IS_ENABLED()
        if any(_used_on(call, vbd, pbd.host) for vbd in vdi.VBDs):
            used.append(ref)
    if used:
        raise ApiError("VDI_IN_USE", *used)


def _used_on(call: Call, vbd: Ref, host: Ref) -> bool:
    row = call.db.row("VBD", vbd)
    if not (row.currently_attached or row.reserved):
        return False
    vm = call.db.find("VM", row.VM)
    return vm is not None and host in (vm.resident_on, vm.scheduled_to_be_resident_on)

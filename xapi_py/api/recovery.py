"""What a start of the server finds half done, and puts right.

Disks of unfinished operations are destroyed, and marks of operations that no
longer run are cleared.  VMs follow the domain daemons, see
``xapi_py.pool.xenops_updates``.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.internal import finish, internal_call
from xapi_py.api.message import create_alert
from xapi_py.api.toolstack import Toolstack
from xapi_py.api.vm import disks, storage_motion
from xapi_py.api.vm.domain import DAEMON_FAILURES
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.rpc.errors import RpcError
from xapi_py.db.row import Row
from xapi_py.plan import events_text
from xapi_py.pool.domain_state import Place
from xapi_py.pool.gateway import HostGateway
from xapi_py.pool.xenops_updates import XenopsUpdates

log = logging.getLogger(__name__)


def clear_marks(toolstack: Toolstack) -> None:
    """Clear reservations of an earlier life; linear in the number of VMs, once."""
    db = toolstack.db
    with db.transaction() as tx:
        for vm in db.rows("VM"):
            if vm.scheduled_to_be_resident_on != NULL_REF:
                tx.set("VM", vm.ref, "scheduled_to_be_resident_on", NULL_REF)
        for cls in ("VBD", "VIF"):
            for row in db.rows(cls):
                if row.reserved:
                    tx.set(cls, row.ref, "reserved", False)
    toolstack.reservations.bind(db)


async def recover(toolstack: Toolstack) -> None:
    """Finish what was cut short; call once the storage and the daemons are followed.

    What to finish is found in the first turn: call it in that in which clients
    are let in, for what they begin is not to be mistaken for it.  Errors are
    logged: what cannot be put right now is found again at the next start.
    """
    call = internal_call(toolstack, "recovery")
    db = toolstack.db
    suspending = list(_suspending(toolstack))
    moving = storage_motion.cut_short(db)
    found = [row.ref for row in db.rows("VDI") if disks.PENDING in row.other_config]
    found.extend(Ref(vm.suspend_VDI) for vm in suspending)
    try:
        await _settle_suspends(call, suspending)
        left, open_ended = await _settle_moves(call, moving)
        found = [ref for ref in (*found, *left) if ref not in open_ended]
        rows = (db.find("VDI", ref) for ref in dict.fromkeys(found))
        pending = [vdi.ref for vdi in rows if vdi and disks.PENDING in vdi.other_config]
        await disks.destroy_condemned(call, pending)
    finally:
        finish(call)


def _suspending(toolstack: Toolstack) -> Iterable[Row]:
    """List VMs that were being suspended or resumed: an image beside the wrong state."""
    for vm in toolstack.db.rows("VM"):
        if vm.suspend_VDI != NULL_REF and not (
            vm.power_state == "Suspended" and vm.last_booted_record
        ):
            yield vm


async def _settle_suspends(call: Call, vms: list[Row]) -> None:
    for vm in vms:
        try:
            await _settle(call, vm)
        except DAEMON_FAILURES as problem:
            log.warning("the suspend of %s is not settled: %s", vm.uuid, problem)


async def _settle(call: Call, vm: Row) -> None:
    for gateway in call.toolstack.hosts.live():
        if vm.resident_on in (NULL_REF, gateway.host):
            await _wait_for_turn(gateway, vm)
    image = Ref(vm.suspend_VDI)
    if vm.power_state == "Suspended":
        await _fetch_domain_record(call, vm)
        return
    with call.db.transaction() as tx:
        tx.update("VM", vm.ref, suspend_VDI=NULL_REF, last_booted_record="")
        disks.condemn(call.db, tx, [image])


async def _settle_moves(
    call: Call, moving: Mapping[Ref, Mapping[Ref, Ref]]
) -> tuple[list[Ref], set[Ref]]:
    """Settle moves of disks under running VMs that were cut short.

    Gives the disks that were left behind, and the copies nothing is known of:
    they wait for the next start.
    """
    left: list[Ref] = []
    open_ended: set[Ref] = set()
    for vm, made in moving.items():
        row = call.db.row("VM", vm)
        try:
            md = await _metadata(call, row)
            left += storage_motion.settle(call, vm, made, md)
        except (*DAEMON_FAILURES, ApiError) as problem:
            log.warning("the move of the disks of %s is not settled: %s", row.uuid, problem)
            open_ended.update(made.values())
    return left, open_ended


async def _metadata(call: Call, vm: Row) -> Any:
    """Give what a domain daemon has of a VM, nothing if none knows it."""
    for gateway in call.toolstack.hosts.live():
        if vm.resident_on not in (NULL_REF, gateway.host):
            continue
        await _wait_for_turn(gateway, vm)
        try:
            return await gateway.xenops.read("VM.export_metadata", {"id": vm.uuid}, dbg="recovery")
        except RpcError:
            continue  # it does not know the VM
    return {"vbds": []}


async def _wait_for_turn(gateway: HostGateway, vm: Row) -> None:
    """Wait until the daemon has ended what it was doing with the VM."""
    try:
        await gateway.xenops.call("VM.delay", {"id": vm.uuid, "seconds": 0}, dbg="recovery")
    except DAEMON_FAILURES:
        return  # it does not know the VM


async def _fetch_domain_record(call: Call, vm: Row) -> None:
    """Keep the daemon's text about a suspended VM, and let the daemon forget the VM."""
    if vm.last_booted_record:
        return
    for gateway in call.toolstack.hosts.live():
        try:
            answer = await gateway.xenops.read("VM.export_metadata", {"id": vm.uuid})
        except DAEMON_FAILURES:
            continue
        domains = answer.get("domains") if isinstance(answer, dict) else None
        if domains:
            with call.db.transaction() as tx:
                tx.set("VM", vm.ref, "last_booted_record", str(domains))
                disks.keep(tx, [Ref(vm.suspend_VDI)])
            await gateway.xenops.call("VM.remove", {"id": vm.uuid}, dbg="recovery")
            return


def follow_domains(toolstack: Toolstack, gateway: HostGateway) -> XenopsUpdates:
    """Start following the domain daemon of a host; stop it when the host is gone."""
    db, settings = toolstack.db, toolstack.settings

    def alert(name: str, ref: Ref) -> None:
        vm = db.find("VM", ref)
        if vm is not None:
            body = events_text.shut_down(vm, False)
            if name == "VM_CRASHED":
                body = f"VM '{vm.name_label}' (uuid: {vm.uuid}) crashed"
            create_alert(toolstack, name, "VM", vm.uuid, body)

    def progress(dbg: str, value: float) -> None:
        task = Ref(dbg.rpartition(" ")[2])
        if db.find("task", task) is not None:
            toolstack.tasks.progress(task, value)

    updates = XenopsUpdates(
        db,
        gateway.xenops,
        Place(gateway.host, settings.https_port),
        toolstack.clock,
        alert=alert,
        progress=progress,
    )
    updates.start()
    return updates

"""Moving disks of a VM to other SRs within one host.

Disks that a running guest uses are mirrored and switched, each by itself, where
their SRs can do that.  Every other disk is copied, a running guest is moved into
a new domain that has the copies, one transaction puts them into the VM's
record, and the old disks go.
Copies are pending until then (see ``disks``): a failure, a cancellation or a
crash before it leaves the VM as it was.  A crash between the guest's move and
the transaction is settled at the next start: the copies say whose they are,
and the domain daemon says which the guest uses.  The disks of snapshots stay
where they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.storage_calls import host_of
from xapi_py.api.vdi.copy import copy_to_sr
from xapi_py.api.vdi.migrate import move_live
from xapi_py.api.vm import disks
from xapi_py.api.vm.domain import home, xenops
from xapi_py.base.names import Ref
from xapi_py.base.undo import Undo
from xapi_py.datamodel import errors as err
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.plan import boot

MOVING = "VM.migrate_send"
"""How the mark of a pending copy begins that a VM may have been moved to."""

COPYING_SHARE = 0.9
"""Part of the progress that copying is."""


@dataclass(frozen=True, slots=True)
class Motion:
    """Which disk goes to which SR, and which device to which network."""

    vm: Row
    disks: Mapping[Ref, Ref]
    networks: Mapping[Ref, Ref]


def check_maps(call: Call, vm: Row, vdi_map: Mapping[Ref, Ref], vif_map: Mapping[Ref, Ref]) -> None:
    """Check what a client wants moved.

    Errors: HANDLE_INVALID, VDI_NOT_IN_MAP for a disk that is not the VM's,
    OPERATION_NOT_ALLOWED for a device that is not, SR_HAS_NO_PBDS,
    SR_OPERATION_NOT_SUPPORTED for an SR that takes no disks.
    """
    own = {call.db.row("VBD", ref).VDI for ref in vm.VBDs}
    for vdi, target in vdi_map.items():
        call.db.row("VDI", vdi)
        sr = call.db.row("SR", target)
        if vdi not in own:
            raise err.VDI_NOT_IN_MAP(vdi)
        host_of(call, sr)
        if sr.content_type == "iso":
            raise err.SR_OPERATION_NOT_SUPPORTED(target)
    for vif, network in vif_map.items():
        call.db.row("network", network)
        if vm.ref != call.db.row("VIF", vif).VM:
            raise err.OPERATION_NOT_ALLOWED("the network device is not this VM's")


async def carry_out(call: Call, motion: Motion) -> dict[Ref, Ref]:
    """Move the disks and give the new ones by the old; cancellable until the switch."""
    vm = motion.vm
    moving = {vdi: sr for vdi, sr in motion.disks.items() if sr != call.db.row("VDI", vdi).SR}
    gone = await _move_live(call, vm, moving)
    moving = {vdi: sr for vdi, sr in moving.items() if vdi not in gone}
    made: dict[Ref, Ref] = {}
    async with Undo() as undo:
        for number, (vdi, sr) in enumerate(moving.items(), 1):
            made[vdi] = await _copy(call, undo, vm, vdi, sr)
            call.progress(COPYING_SHARE * number / len(moving))
        if vm.power_state == "Running" and (made or motion.networks):
            await call.db.durable()
            await _into_new_domain(call, motion, made)
        _switch(call, motion, made)
    await disks.destroy_condemned(call, list(made))
    return gone | made


async def _move_live(call: Call, vm: Row, moving: Mapping[Ref, Ref]) -> dict[Ref, Ref]:
    """Move what a running guest uses while it does, each disk by itself; gives those moved."""
    gone: dict[Ref, Ref] = {}
    for ref in tuple(vm.VBDs) if vm.power_state == "Running" else ():
        vbd = call.db.row("VBD", ref)
        if vbd.currently_attached and vbd.VDI in moving:
            old = Ref(vbd.VDI)
            moved = await move_live(call, old, moving[old], vbd)
            if moved is not None:
                gone[old] = moved
            call.allow_cancel()
    return gone


async def _copy(call: Call, undo: Undo, vm: Row, vdi: Ref, sr: Ref) -> Ref:
    """Copy a disk that may be in use; the copy is pending."""
    copy = await copy_to_sr(call, vdi, sr, operation="mirror")
    # Same turn as the record's own transaction: both become durable together.
    with call.db.transaction() as tx:
        disks.condemn(call.db, tx, [copy], f"{MOVING} {vm.ref} {vdi}")
    undo.push("destroy copy", lambda: disks.destroy_condemned(call, [copy]))
    return copy


async def _into_new_domain(call: Call, motion: Motion, made: Mapping[Ref, Ref]) -> None:
    """Give a running guest its new disks and networks."""
    vm, host = motion.vm, home(motion.vm)
    md: dict[str, Any] = dict(boot.vm_metadata(call.db, vm.ref, host))
    places = {_place(call, old): _place(call, new) for old, new in made.items()}
    md["vbds"] = [_moved(vbd, places) for vbd in md["vbds"]]
    bridges = {
        str(call.db.row("VIF", vif).device): call.db.row("network", network).bridge
        for vif, network in motion.networks.items()
    }
    md["vifs"] = [
        {**vif, "bridge": bridges[str(vif["device"])]} if str(vif["device"]) in bridges else vif
        for vif in md["vifs"]
    ]
    await xenops(call, host, "VM.migrate", {"id": vm.uuid, "md": md}, vm=Ref(vm.ref))


def _place(call: Call, vdi: Ref) -> tuple[str, str]:
    row = call.db.row("VDI", vdi)
    return call.db.row("SR", row.SR).uuid, row.uuid


def _moved(
    vbd: Mapping[str, Any], places: Mapping[tuple[str, str], tuple[str, str]]
) -> Mapping[str, Any]:
    disk = vbd.get("backend")
    if not disk or (disk["sr"], disk["vdi"]) not in places:
        return vbd
    sr, vdi = places[disk["sr"], disk["vdi"]]
    return {**vbd, "backend": {**disk, "sr": sr, "vdi": vdi}}


def _switch(call: Call, motion: Motion, made: Mapping[Ref, Ref]) -> None:
    """Put the new disks and networks into the records; the old disks are condemned."""
    db = call.db
    with db.transaction() as tx:
        for old, new in made.items():
            for ref in tuple(db.row("VDI", old).VBDs):
                tx.set("VBD", ref, "VDI", new)
            for ref in tuple(db.row("VDI", old).snapshots):
                tx.set("VDI", ref, "snapshot_of", new)
        for vif, network in motion.networks.items():
            tx.set("VIF", vif, "network", network)
        disks.keep(tx, made.values())
        disks.condemn(db, tx, made)


def cut_short(db: Database) -> dict[Ref, dict[Ref, Ref]]:
    """Give the copies of moves that did not come to their end, by VM and old disk."""
    found: dict[Ref, dict[Ref, Ref]] = {}
    for copy in db.rows("VDI"):
        words = copy.other_config.get(disks.PENDING, "").split()
        if len(words) == 3 and words[0] == MOVING:
            _, vm, old = map(Ref, words)
            if db.find("VM", vm) is not None and db.find("VDI", old) is not None:
                found.setdefault(vm, {})[old] = copy.ref
    return found


def settle(call: Call, vm: Ref, made: Mapping[Ref, Ref], md: Mapping[str, Any]) -> list[Ref]:
    """Put the copies that the guest uses into the records; gives the old disks.

    ``md`` is what the domain daemon has of the VM.
    """
    used = {(d["sr"], d["vdi"]) for vbd in md["vbds"] if (d := vbd.get("backend"))}
    moved = {old: new for old, new in made.items() if _place(call, new) in used}
    _switch(call, Motion(call.db.row("VM", vm), {}, {}), moved)
    return list(moved)

"""Moving a disk of a VM to another SR.  Design: doc/design/005-live-mirror.md."""

import logging
from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.registry import HANDLERS, message
from xapi_py.api.storage_calls import COPY_DEADLINE_S, host_of, on_host, storage_operation
from xapi_py.api.vdi.copy import common_host, copy_data, following, info_of
from xapi_py.api.vdi.destroy import destroy_vdi
from xapi_py.api.vm import disks
from xapi_py.api.vm.domain import home, xenops
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref, new_uuid
from xapi_py.base.undo import Undo
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan import devices
from xapi_py.pool.storage_records import expecting, put_vdi

log = logging.getLogger(__name__)

_KEPT = ("other_config", "tags", "xenstore_data", "allow_caching")
MIRRORING_SHARE = 0.95


@message("VDI.pool_migrate")
async def pool_migrate(call: Call, vdi: Ref, sr: Ref, options: dict[str, str]) -> Ref:
    """Move a disk to another SR that the same host reaches; gives the new disk.

    A VM that runs goes on: its disk is mirrored, and the VM is paused for the
    moment of the switch; where an SR has no mirrors it is paused while the data is
    copied.  All block devices of the disk then name the new one, and the old
    one is destroyed.  Cancellable until the switch; then nothing happened.
    Errors: VDI_NEEDS_VM_FOR_MIGRATE when no VM has the disk, VDI_IN_USE when
    several VMs use it, those of the disk's and the SR's operations.
    """
    row, target = call.db.row("VDI", vdi), call.db.row("SR", sr)
    vbds = [call.db.row("VBD", ref) for ref in row.VBDs]
    if not vbds:
        raise err.VDI_NEEDS_VM_FOR_MIGRATE(vdi)
    plugged = [vbd for vbd in vbds if vbd.currently_attached]
    if len(plugged) > 1:
        raise err.VDI_IN_USE(vdi, "pool_migrate")
    host = common_host(call, call.db.row("SR", row.SR), target)
    async with storage_operation(call, ("SR", sr, "vdi_create"), ("VDI", vdi, "mirror")):
        call.allow_cancel()
        move = _Move(call, host, row, target)
        moved = await move.mirrored(plugged[0]) if plugged else None
        if moved is None:
            moved = await move.copied(plugged[0] if plugged else None)
    await disks.destroy_condemned(call, [vdi])
    return moved


async def move_live(call: Call, vdi: Ref, sr: Ref, vbd: Row) -> Ref | None:
    """Move a disk under the running VM that has it plugged, and destroy the old one.

    None where it does not move like that; then nothing happened.  Errors: as
    ``pool_migrate``.  Cancellable until the switch.
    """
    row, target = call.db.row("VDI", vdi), call.db.row("SR", sr)
    host = common_host(call, call.db.row("SR", row.SR), target)
    async with storage_operation(call, ("SR", sr, "vdi_create"), ("VDI", vdi, "mirror")):
        call.allow_cancel()
        moved = await _Move(call, host, row, target).mirrored(vbd)
    if moved is not None:
        await disks.destroy_condemned(call, [vdi])
    return moved


class _Move:
    """One disk on its way to ``target``."""

    def __init__(self, call: Call, host: Ref, row: Row, target: Row) -> None:
        self._call = call
        self._host = host
        self._row = row
        self._target = target
        self._uuid = new_uuid()
        source = call.db.row("SR", row.SR)
        self._where: dict[str, object] = {"sr": source.uuid, "vdi": row.uuid}
        self._there: dict[str, object] = {"dest_sr": target.uuid, "dest_vdi": self._uuid}

    async def _storage(self, method: str, **params: object) -> Any:
        about = {"sr": Ref(self._target.ref), "vdi": Ref(self._row.ref)}
        whole = {**self._where, **params}
        return await on_host(
            self._call, self._host, method, whole, **about, deadline_s=COPY_DEADLINE_S
        )

    # -- while the guest goes on

    async def mirrored(self, vbd: Row) -> Ref | None:
        """Move it under a running VM; None where that is not possible."""
        call, vm = self._call, self._call.db.row("VM", vbd.VM)
        if vm.is_control_domain or home(vm) != self._host:
            return None
        if host_of(call, self._target) != self._host:
            return None
        info = info_of(self._row, self._uuid)
        with expecting(self._uuid):
            mirror = self._storage("VDI.mirror", dest_sr=self._target.uuid, vdi_info=info)
            try:
                watched = (self._host, self._target.uuid, self._uuid, MIRRORING_SHARE)
                await following(call, *watched, mirror)
            except ApiError as problem:
                if problem.code == "SR_OPERATION_NOT_SUPPORTED":
                    return None
                raise
            call.forbid_cancel()
            return await self._switch(vm, vbd)

    async def _switch(self, vm: Row, vbd: Row) -> Ref:
        """Let the guest use the mirror; it stands still meanwhile, so that both stay the same."""
        call, running = self._call, vm.power_state == "Running"
        async with Undo() as undo:
            undo.push("end the mirror", lambda: self._storage("VDI.mirror_cancel"))
            if running:
                await _pause(call, undo, vbd)
            try:
                made = await self._storage("VDI.mirror_switch", **self._there)
            except ApiError:
                made = await self._after_all()
                if made is None:
                    raise
            undo.forget()
        moved = self._put(made)
        await call.db.durable()
        try:
            disk = {"sr": self._target.uuid, "vdi": self._uuid}
            device = devices.vbd_name(call.db, vm, vbd)
            params = {"id": vm.uuid, "device": device, "disk": disk}
            await xenops(call, self._host, "VBD.moved", params, vm=Ref(vm.ref), device=vbd.ref)
        except ApiError as problem:  # the guest has its disk; its next start names the new one
            log.error("%s: the domain's record of %s is old: %s", call.dbg, vbd.uuid, problem)
        if running:
            await _unpause(call, vbd)
        return moved

    async def _after_all(self) -> Any:
        """The storage daemon failed in the switch: give the new disk if the guest has it."""
        try:
            await self._storage("VDI.mirror_cancel")
            keys = {"sr": self._target.uuid, "vdi": self._uuid}
            paths = await self._storage("DP.stat_vdi", **keys)
            return await self._storage("VDI.stat", **keys) if paths["dps"] else None
        except ApiError:
            return None

    def _put(self, made: Any) -> Ref:
        fresh = {name: getattr(self._row, name) for name in _KEPT}
        with self._call.db.transaction() as tx:
            moved = put_vdi(self._call.db, tx, self._target, made, fresh)
            _repoint(self._call, Ref(self._row.ref), moved)
        return moved

    # -- while it stands still

    async def copied(self, vbd: Row | None) -> Ref:
        """Move it with its VM paused, or not running.

        The device is gone meanwhile: only then all that was written is in the image.
        """
        call, vdi = self._call, Ref(self._row.ref)
        running = vbd is not None and call.db.row("VM", vbd.VM).power_state == "Running"
        async with Undo() as undo:
            if vbd is not None:
                await _pause(call, undo, vbd)
                unplug = HANDLERS["VBD.unplug_force_no_safety_check"].handler
                await unplug(call, vbd.ref)
                undo.push("plug the old disk", lambda: _plug(call, vbd))
            moved = await self._copy(undo)
            call.forbid_cancel()
            if vbd is not None:
                undo.push("name the old disk", lambda: _set_disk(call, vbd, vdi))
                _set_disk(call, vbd, moved)
                await _plug(call, vbd)
            undo.forget()
        _repoint(call, vdi, moved)
        if vbd is not None and running:
            await _unpause(call, vbd)
        return moved

    async def _copy(self, undo: Undo) -> Ref:
        call, info = self._call, {"vdi_info": info_of(self._row, self._uuid)}
        with expecting(self._uuid):
            made: Any = await copy_data(call, self._host, self._row, self._target, info)
        fresh = {name: getattr(self._row, name) for name in _KEPT}
        with call.db.transaction() as tx:
            moved = put_vdi(call.db, tx, self._target, made, fresh)
        undo.push("destroy the copy", lambda: destroy_vdi(call, moved))
        return moved


async def _pause(call: Call, undo: Undo, vbd: Row) -> None:
    vm = call.db.row("VM", vbd.VM)
    if vm.power_state == "Running":
        await xenops(call, home(vm), "VM.pause", {"id": vm.uuid}, vm=vm.ref)
        undo.push("unpause the VM", lambda: _unpause(call, vbd))


async def _unpause(call: Call, vbd: Row) -> None:
    vm = call.db.row("VM", vbd.VM)
    await xenops(call, home(vm), "VM.unpause", {"id": vm.uuid}, vm=vm.ref)


async def _plug(call: Call, vbd: Row) -> None:
    """Plug a device into a domain, which may be paused."""
    vm = call.db.row("VM", vbd.VM)
    record = devices.vbd_record(call.db, vm, vbd)
    params = {"id": vm.uuid, "device": record["device"], "vbd": record}
    await xenops(call, home(vm), "VBD.plug", params, vm=vm.ref, device=vbd.ref)


def _set_disk(call: Call, vbd: Row, vdi: Ref) -> None:
    with call.db.transaction() as tx:
        tx.set("VBD", vbd.ref, "VDI", vdi)


def _repoint(call: Call, old: Ref, new: Ref) -> None:
    """Make everything that names the old disk name the new one; the old one is to go."""
    row = call.db.row("VDI", old)
    with call.db.transaction() as tx:
        for ref in tuple(row.VBDs):
            tx.set("VBD", ref, "VDI", new)
        for ref in tuple(row.snapshots):
            tx.set("VDI", ref, "snapshot_of", new)
        disks.condemn(call.db, tx, [old])

"""Block devices of domains: plugged, unplugged, their media changed."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from xapi_py.base.config import ConfigError
from xapi_py.base.undo import Undo
from xenops import errors
from xenops.backends.contract import Change, VbdStat
from xenops.backends.xen import paths
from xenops.backends.xen.devices import vbd_layout
from xenops.backends.xen.devices.handshake import HOTPLUG_S, Handshake
from xenops.backends.xen.devices.nodes import Place
from xenops.backends.xen.devices.states import DeviceStates
from xenops.backends.xen.devices.surroundings import Domain, Domains, Host
from xenops.backends.xen.devices.vbd_layout import PluggedDisk, Served
from xenops.backends.xen.disk_servers import FORCED_S, DiskServers, within
from xenops.backends.xen.kernel import Kernel
from xenops.backends.xen.qemu import EmulatorFailed
from xenops.backends.xen.qemu_command import Drive
from xenops.metadata import Disk, Vbd
from xenops.qmp.client import QmpError, QmpLost
from xenops.waiting import sleep
from xenops.xenstore.errors import StoreError

log = logging.getLogger(__name__)

RELEASE_POLL_S: Final = 0.02
"""Linux does not tell when a backend driver has let go; it is asked this often."""


class CdDrives(Protocol):
    """The drives that a domain's device model emulates."""

    async def load(self, domid: int, drive: Drive) -> None:
        """Put a medium in.  Errors: QmpError, QmpLost."""

    async def unload(self, domid: int, device: str) -> None:
        """Take it out, also when the guest has locked the drive; errors as ``load``."""


class Vbds:
    """The block devices of all domains; what is plugged is known without asking anybody."""

    def __init__(
        self, host: Host, domains: Domains, kernel: Kernel, servers: DiskServers, drives: CdDrives
    ) -> None:
        self._host = host
        self._domains = domains
        self._kernel = kernel
        self._servers = servers
        self._drives = drives
        self._handshake = Handshake(host.store)
        self._plugged: dict[int, dict[str, PluggedDisk]] = {}
        self._vms: dict[int, str] = {}
        self._states = DeviceStates(host, "vbd")

    async def recover(self, domid: int) -> None:
        """Find the devices of a domain that an earlier life of this daemon plugged."""
        tree = await self._host.store.tree(f"{paths.mirror(domid)}/device/vbd")
        for key, text in tree.items():
            if key.endswith("/record"):
                try:
                    disk = vbd_layout.read_record(text)
                except (ConfigError, ValueError) as problem:
                    log.error("device %s of domain %d: %s", key, domid, problem)
                    continue
                self._note(self._domains.get(domid), disk)
        await self._servers.recover(domid)

    def stat(self, domid: int) -> Mapping[str, VbdStat]:
        """Give what is plugged, by device."""
        found = self._plugged.get(domid, {})
        return {d: VbdStat(True, disk.disk is not None, disk.disk) for d, disk in found.items()}

    def connected(self, domid: int) -> bool:
        """Whether the guest uses one of them."""
        return self._states.connected(domid)

    async def drives(self, domid: int) -> list[Drive]:
        """Give what the device model may emulate."""
        found = []
        for disk in self._plugged.get(domid, {}).values():
            block = bool(disk.path) and await self._is_block(disk.path)
            found.append(Drive(disk.device, disk.ty, disk.mode, disk.path, block))
        return found

    async def plug(self, domid: int, vbd: Vbd, path: str) -> None:
        """Give a domain a device whose data is at ``path``; a guest need not run.

        Errors: Device_is_connected, Hotplug_failed, Does_not_exist.
        """
        domain = self._domains.get(domid)
        if vbd.device in self._plugged.get(domid, {}):
            raise errors.device_is_connected("VBD", vbd.device)
        disk = _disk(domain, vbd, path)
        where = vbd_layout.place(domid, domain.vm, disk)
        try:
            async with Undo() as undo:
                if disk.served == Served.QEMU:
                    await self._plug_qemu(where, vbd, disk, undo)
                else:
                    disk = await self._plug_kernel(where, vbd, disk, undo)
        except (OSError, ValueError, EmulatorFailed, QmpError, QmpLost) as problem:
            raise errors.hotplug_failed("VBD", vbd.device, str(problem)) from problem
        self._note(domain, disk)

    async def _plug_kernel(
        self, where: Place, vbd: Vbd, disk: PluggedDisk, undo: Undo
    ) -> PluggedDisk:
        physical = ""
        if disk.served == Served.KERNEL:
            if disk.disk is None:
                raise errors.media_not_present(vbd.device)
            disk = await self._with_block_device(where, disk, undo)
            physical = await self._host.in_thread(
                self._kernel.open_disk, disk.loop or disk.path, disk.mode == "RW"
            )
        await self._handshake.create(where, vbd_layout.kernel_nodes(where, vbd, disk, physical))
        undo.push("remove nodes", lambda: self._cut(where))
        if physical:
            await self._handshake.backend_ready(where)
        return disk

    async def _with_block_device(self, where: Place, disk: PluggedDisk, undo: Undo) -> PluggedDisk:
        if await self._is_block(disk.path):
            return disk
        loop = await self._host.in_thread(
            self._kernel.attach_loop,
            disk.path,
            disk.mode == "RW",
            f"{_tag(where.domid)}{disk.device}",
        )
        undo.push("loop device", lambda: self._detach(loop))
        return replace(disk, loop=loop)

    async def _plug_qemu(self, where: Place, vbd: Vbd, disk: PluggedDisk, undo: Undo) -> None:
        await self._handshake.create(where, vbd_layout.qemu_nodes(where, vbd, disk))
        undo.push("remove nodes", lambda: self._handshake.remove(where))
        block = await self._is_block(disk.path)
        await self._servers.serve(where.domid, disk, block=block)
        undo.push("take back", lambda: self._withdraw(where, disk, force=True))
        extra = vbd_layout.extra_keys(vbd)
        await self._host.store.write_many({f"{where.backend}/{k}": v for k, v in extra.items()})

    async def unplug(self, domid: int, device: str, *, force: bool) -> Disk | None:
        """Take a device away and give the disk that was in it.

        Errors: Device_not_connected, Device_detach_rejected; with ``force`` none.
        """
        disk = self._plugged.get(domid, {}).get(device)
        if disk is None:
            if force:
                return None
            raise errors.device_not_connected("VBD", device)
        where = vbd_layout.place(domid, self._vms[domid], disk)
        if disk.served == Served.QEMU:
            await self._withdraw(where, disk, force=force)
            await self._handshake.remove(where)
        elif force or disk.served == Served.EMULATED:
            await self._cut(where)
        else:
            await self._handshake.close(where, device)
            await self._released(where)
        if disk.loop:
            await self._detach(disk.loop)
        self._states.drop(domid, device)
        self._plugged[domid].pop(device, None)
        return disk.disk

    async def _cut(self, where: Place) -> None:
        await self._handshake.cut(where)
        await self._released(where)

    async def _released(self, where: Place) -> None:
        """Remove a device's nodes and wait until its driver has let the data go."""
        clock = self._host.reactor
        deadline = clock.seconds() + FORCED_S
        await self._handshake.remove_sides(where)
        while self._kernel.has_backend("vbd", where.domid, where.devid):
            if clock.seconds() > deadline:
                log.error("blkback holds device %d of domain %d", where.devid, where.domid)
                break
            await sleep(clock, RELEASE_POLL_S)
        await self._handshake.remove(where)

    async def _withdraw(self, where: Place, disk: PluggedDisk, *, force: bool) -> None:
        if force:
            await self._host.store.remove(where.frontend)
        else:
            await self._host.store.remove(where.error)
        gone = await self._servers.withdraw(where.domid, disk)
        if gone is None:
            return
        if force:
            if not await within(self._host.reactor, gone, FORCED_S):
                log.error("QEMU holds %s of domain %d", disk.device, where.domid)
        else:
            await self._let_go(where, disk, gone)
        await self._servers.forget_data(where.domid, disk)

    async def _let_go(self, where: Place, disk: PluggedDisk, gone: "Deferred[None]") -> None:
        """Wait for the guest; its refusal counts as soon as it is written."""
        refused: list[str] = []

        def look(path: str) -> None:
            def found(text: str | None) -> None:
                if text and not gone.called:
                    refused.append(text)
                    gone.callback(None)

            self._host.store.read_or(where.error).addCallbacks(found, lambda failure: None)

        watch = self._host.store.watch(where.error, look)
        try:
            if not await within(self._host.reactor, gone, HOTPLUG_S):
                refused.append("the guest does not answer")
        finally:
            watch.stop()
        if refused:
            raise errors.device_detach_rejected("VBD", disk.device, refused[0])

    async def insert(self, domid: int, device: str, disk: Disk, path: str) -> None:
        """Put a medium into a drive; of a paravirtual guest the drive comes with it.

        Errors: Media_present, Device_not_connected, Hotplug_failed.
        """
        drive = self._plugged.get(domid, {}).get(device)
        if drive is None and not self._domains.get(domid).hvm:
            await self.plug(domid, Vbd(device, "RO", "CDROM", disk), path)
            return
        if drive is None:
            raise errors.device_not_connected("VBD", device)
        if drive.disk is not None:
            raise errors.media_present(device)
        loaded = replace(drive, path=path, sr=disk.sr, vdi=disk.vdi, disk_path=disk.path)
        try:
            block = await self._is_block(path)
            await self._drives.load(domid, Drive(device, drive.ty, drive.mode, path, block))
        except (OSError, QmpError, QmpLost) as problem:
            raise errors.hotplug_failed("VBD", device, str(problem)) from problem
        await self._change_medium(domid, loaded)

    async def eject(self, domid: int, device: str) -> Disk:
        """Empty a drive and give what was in it.

        Errors: Media_not_present, Device_not_connected, Device_detach_rejected.
        """
        drive = self._plugged.get(domid, {}).get(device)
        if drive is None:
            raise errors.device_not_connected("VBD", device)
        disk = drive.disk
        if disk is None:
            raise errors.media_not_present(device)
        if drive.served != Served.EMULATED:
            await self.unplug(domid, device, force=False)
            return disk
        try:
            await self._drives.unload(domid, device)
        except (QmpError, QmpLost) as problem:
            raise errors.device_detach_rejected("VBD", device, str(problem)) from problem
        await self._change_medium(domid, replace(drive, path="", sr="", vdi="", disk_path=""))
        return disk

    async def moved(self, domid: int, device: str, disk: Disk) -> None:
        """Note that a disk is another one now, behind the same path.

        Errors: Device_not_connected.
        """
        found = self._plugged.get(domid, {}).get(device)
        if found is None:
            raise errors.device_not_connected("VBD", device)
        fresh = replace(found, sr=disk.sr, vdi=disk.vdi)
        where = vbd_layout.place(domid, self._vms[domid], fresh)
        await self._host.store.write_many(vbd_layout.name_keys(where, fresh))
        self._plugged[domid][device] = fresh

    async def _change_medium(self, domid: int, disk: PluggedDisk) -> None:
        where = vbd_layout.place(domid, self._vms[domid], disk)
        await self._host.store.write_many(vbd_layout.medium_keys(where, disk))
        self._plugged[domid][disk.device] = disk

    async def remove_all(self, domid: int) -> None:
        """Leave nothing of a domain's block devices, whether we knew them or not."""
        for device in list(self._plugged.get(domid, {})):
            try:
                await self.unplug(domid, device, force=True)
            except StoreError as problem:
                log.error("%s of domain %d is left over: %s", device, domid, problem)
        await self._servers.stop(domid)
        for kind in ("vbd", "qdisk"):
            await self._host.store.remove(f"{paths.home(0)}/backend/{kind}/{domid}")
        for loop in await self._host.in_thread(self._kernel.loops, _tag(domid)):
            await self._detach(loop)
        self.forget(domid)

    def forget(self, domid: int) -> None:
        """Know nothing of a domain any more."""
        self._plugged.pop(domid, None)
        self._vms.pop(domid, None)
        self._states.forget(domid)
        self._servers.forget(domid)

    def _note(self, domain: Domain, disk: PluggedDisk) -> None:
        self._vms[domain.domid] = domain.vm
        self._plugged.setdefault(domain.domid, {})[disk.device] = disk
        where = vbd_layout.place(domain.domid, domain.vm, disk)
        self._states.follow(where, Change("vbd", domain.vm, disk.device))

    async def _is_block(self, path: str) -> bool:
        return await self._host.in_thread(self._kernel.is_block_device, path)

    async def _detach(self, loop: str) -> None:
        await self._host.in_thread(self._kernel.detach_loop, loop)


def _tag(domid: int) -> str:
    return f"xenops:{domid}:"


def _disk(domain: Domain, vbd: Vbd, path: str) -> PluggedDisk:
    disk = vbd.backend
    return PluggedDisk(
        device=vbd.device,
        devid=vbd_layout.devid(vbd.device, hvm=domain.hvm),
        ty=vbd.ty,
        mode=vbd.mode,
        served=str(vbd_layout.served_by(vbd, path, hvm=domain.hvm)),
        path=path,
        sr="" if disk is None else disk.sr,
        vdi="" if disk is None else disk.vdi,
        disk_path="" if disk is None else disk.path,
        unpluggable=vbd.unpluggable,
    )

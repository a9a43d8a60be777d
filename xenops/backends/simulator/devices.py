"""The device half of the simulator's backend contract."""

from collections.abc import Mapping

from xenops import errors
from xenops.backends.simulator.domain import Domain, PluggedDisk, PluggedNetwork
from xenops.backends.simulator.faults import Faults
from xenops.backends.simulator.guest import Guests
from xenops.backends.simulator.hypervisor import Hypervisor
from xenops.metadata import Disk, Passthrough, Vbd, Vif
from xenops.network import Network


class SimulatedDevices:
    """Devices of simulated domains, as the backend contract has them."""

    def __init__(self, machine: Hypervisor, faults: Faults, network: Network) -> None:
        self._machine = machine
        self._network = network
        self._faults = faults
        self._guests = Guests(machine, faults)

    async def _step(self, at: str, domid: int) -> Domain:
        domain = self._machine.get(domid)
        await self._faults.step(at, domain.vm, domain.name)
        return self._machine.get(domid)

    async def vbd_plug(self, domid: int, vbd: Vbd, path: str) -> None:
        domain = await self._step("vbd_plug", domid)
        if vbd.device in domain.vbds:
            raise errors.device_is_connected("VBD", vbd.device)
        plugged = PluggedDisk(vbd.ty, vbd.mode)
        if vbd.backend is not None:
            _load(plugged, vbd.backend)
        domain.vbds[vbd.device] = plugged
        self._machine.changed(domain)

    async def vbd_unplug(self, domid: int, device: str, *, force: bool) -> Disk | None:
        if not force:
            domain = await self._step("vbd_unplug", domid)
            self._may_detach(domain, "VBD", device, domain.vbds)
        found = self._machine.domains.get(domid)
        disk = None if found is None else found.vbds.pop(device, None)
        if found is None or disk is None:
            return None
        self._machine.changed(found)
        return disk.disk

    async def vbd_insert(self, domid: int, device: str, disk: Disk, path: str) -> None:
        domain = await self._step("vbd_insert", domid)
        drive = _drive(domain, device)
        if drive.disk is not None:
            raise errors.media_present(device)
        _load(drive, disk)
        self._machine.changed(domain)

    async def vbd_moved(self, domid: int, device: str, disk: Disk) -> None:
        domain = await self._step("vbd_moved", domid)
        _load(_drive(domain, device), disk)
        self._machine.changed(domain)

    async def vbd_eject(self, domid: int, device: str) -> Disk:
        domain = await self._step("vbd_eject", domid)
        drive = _drive(domain, device)
        disk = drive.disk
        if disk is None:
            raise errors.media_not_present(device)
        drive.sr = drive.vdi = drive.path = ""
        self._machine.changed(domain)
        return disk

    async def vif_plug(self, domid: int, vif: Vif) -> None:
        domain = await self._step("vif_plug", domid)
        if vif.device in domain.vifs:
            raise errors.device_is_connected("VIF", vif.device)
        dbg = f"vif/{domid}/{vif.device}"
        await self._network.attach(dbg, network_device(domid, vif.device), vif, domain.vm)
        domain.vifs[vif.device] = _network(vif)
        self._machine.changed(domain)

    async def vif_unplug(self, domid: int, device: str, *, force: bool) -> None:
        if not force:
            domain = await self._step("vif_unplug", domid)
            self._may_detach(domain, "VIF", device, domain.vifs)
        await self._network.detach(f"vif/{domid}/{device}", network_device(domid, device))
        await self._remove(domid, device, "vifs")

    async def vif_update(self, domid: int, vif: Vif) -> None:
        domain = await self._step("vif_update", domid)
        if vif.device not in domain.vifs:
            raise errors.device_not_connected("VIF", vif.device)
        dbg = f"vif/{domid}/{vif.device}"
        await self._network.attach(dbg, network_device(domid, vif.device), vif, domain.vm)
        domain.vifs[vif.device] = _network(vif)
        self._machine.changed(domain)

    async def pci_plug(self, domid: int, pci: Passthrough) -> None:
        domain = await self._step("pci_plug", domid)
        domain.pcis[pci.device] = pci.address
        self._machine.changed(domain)

    async def pci_unplug(self, domid: int, device: str) -> None:
        await self._remove(domid, device, "pcis")

    async def _remove(self, domid: int, device: str, table: str) -> None:
        domain = self._machine.domains.get(domid)
        if domain is not None and getattr(domain, table).pop(device, None) is not None:
            self._machine.changed(domain)

    def _may_detach(
        self, domain: Domain, kind: str, device: str, present: Mapping[str, object]
    ) -> None:
        if device not in present:
            raise errors.device_not_connected(kind, device)
        if device in self._guests.config(domain).detach_refused:
            raise errors.device_detach_rejected(kind, device, "the device is in use")


def network_device(domid: int, device: str) -> str:
    """Give the name a VIF has in the host's network."""
    return f"vif{domid}.{device}"


def _network(vif: Vif) -> PluggedNetwork:
    carrier = vif.carrier and vif.locking_mode != "disabled"
    return PluggedNetwork(vif.mac, vif.bridge, carrier, vif.locking_mode)


def _load(drive: PluggedDisk, disk: Disk) -> None:
    drive.sr, drive.vdi, drive.path = disk.sr, disk.vdi, disk.path


def _drive(domain: Domain, device: str) -> PluggedDisk:
    drive = domain.vbds.get(device)
    if drive is None:
        raise errors.device_not_connected("VBD", device)
    return drive

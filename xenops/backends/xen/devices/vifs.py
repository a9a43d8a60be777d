"""Network devices of domains: plugged, unplugged, moved, locked."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from xapi_py.base.config import ConfigError
from xapi_py.base.undo import Undo
from xenops import errors
from xenops.backends.contract import Change, VifStat
from xenops.backends.xen import paths
from xenops.backends.xen.devices import vif_layout
from xenops.backends.xen.devices.handshake import Handshake
from xenops.backends.xen.devices.nodes import Place
from xenops.backends.xen.devices.states import DeviceStates
from xenops.backends.xen.devices.surroundings import Domain, Domains, Host
from xenops.backends.xen.devices.vif_layout import PluggedVif
from xenops.backends.xen.kernel import Kernel
from xenops.metadata import Vif, VmMetadata
from xenops.network import Network
from xenops.xenstore.errors import StoreError

log = logging.getLogger(__name__)

DBG: Final = "devices"


class Vifs:
    """The network devices of all domains; what is plugged is known without asking anybody."""

    def __init__(self, host: Host, domains: Domains, kernel: Kernel, network: Network) -> None:
        self._host = host
        self._domains = domains
        self._kernel = kernel
        self._network = network
        self._handshake = Handshake(host.store)
        self._plugged: dict[int, dict[str, PluggedVif]] = {}
        self._taps: dict[int, set[str]] = {}
        self._vms: dict[int, str] = {}
        self._states = DeviceStates(host, "vif")

    async def recover(self, domid: int) -> None:
        """Find the devices of a domain that an earlier life of this daemon plugged."""
        tree = await self._host.store.tree(f"{paths.mirror(domid)}/device/vif")
        for key, text in tree.items():
            try:
                if key.endswith("/record"):
                    self._note(self._domains.get(domid), vif_layout.read_record(text))
                elif key.endswith("/tap"):
                    self._taps.setdefault(domid, set()).add(key.split("/")[0])
            except (ConfigError, ValueError) as problem:
                log.error("device %s of domain %d: %s", key, domid, problem)

    def stat(self, domid: int) -> Mapping[str, VifStat]:
        """Give what is plugged, by device."""
        return {
            device: VifStat(True, vif.mac, vif.bridge, vif.carrier, vif.locking_mode)
            for device, vif in self._plugged.get(domid, {}).items()
        }

    def connected(self, domid: int) -> bool:
        """Whether the guest uses one of them."""
        return self._states.connected(domid)

    async def plug(self, domid: int, vif: Vif) -> None:
        """Give a domain a network device; a guest need not run.

        Errors: Device_is_connected, Hotplug_failed, Does_not_exist, and those
        of the network.
        """
        domain = self._domains.get(domid)
        if vif.device in self._plugged.get(domid, {}):
            raise errors.device_is_connected("VIF", vif.device)
        where = vif_layout.place(domid, domain.vm, vif.device)
        name = vif_layout.interface(domid, where.devid)
        async with Undo() as undo:
            await self._handshake.create(where, vif_layout.vif_nodes(where, vif))
            undo.push("remove nodes", lambda: self._cut(where))
            await self._handshake.backend_ready(where)
            await self._set_up(name, vif)
            undo.push("leave the bridge", lambda: self._network.detach(DBG, name))
            await self._network.attach(DBG, name, vif_layout.for_network(vif), domain.vm)
            await self._host.store.write_many(
                {
                    f"{where.hotplug}/hotplug": "online",
                    f"{where.backend}/hotplug-status": "connected",
                }
            )
        self._note(domain, vif_layout.plugged(vif))

    async def _set_up(self, name: str, vif: Vif) -> None:
        offloads = vif_layout.offloads(vif.other_config)
        try:
            await self._host.in_thread(
                self._kernel.set_up_interface, name, vif_layout.BRIDGE_MAC, offloads
            )
        except OSError as problem:
            raise errors.hotplug_failed("VIF", vif.device, f"{name}: {problem}") from problem

    async def join_taps(self, domid: int, md: VmMetadata, devices: Sequence[str]) -> None:
        """Put the devices that QEMU emulates where their VIFs are; errors as ``plug``."""
        domain = self._domains.get(domid)
        for device in devices:
            vif, where = md.vif(device), vif_layout.place(domid, domain.vm, device)
            name = vif_layout.tap(domid, where.devid)
            await self._set_up(name, vif)
            await self._network.attach(DBG, name, vif, domain.vm)
            await self._host.store.write(f"{where.mirror}/tap", "1")
            self._taps.setdefault(domid, set()).add(device)

    async def unplug(self, domid: int, device: str, *, force: bool) -> None:
        """Take a device away.  Errors: Device_not_connected, Device_detach_rejected."""
        if device not in self._plugged.get(domid, {}):
            if force:
                return
            raise errors.device_not_connected("VIF", device)
        where = vif_layout.place(domid, self._vms[domid], device)
        if not force:
            await self._handshake.close(where, device)
        for name in self._ends(domid, device):
            await self._network.detach(DBG, name)
        await self._cut(where)
        self._states.drop(domid, device)
        self._taps.get(domid, set()).discard(device)
        self._plugged[domid].pop(device, None)

    async def _cut(self, where: Place) -> None:
        await self._handshake.cut(where)
        await self._handshake.remove(where)

    async def update(self, domid: int, vif: Vif) -> None:
        """Take over bridge, carrier, locking mode, addresses and limit of a plugged device.

        Errors: Device_not_connected, and those of the network.
        """
        before = self._plugged.get(domid, {}).get(vif.device)
        if before is None:
            raise errors.device_not_connected("VIF", vif.device)
        domain = self._domains.get(domid)
        where = vif_layout.place(domid, domain.vm, vif.device)
        for name in self._ends(domid, vif.device):
            end = vif if name == vif_layout.tap(domid, where.devid) else vif_layout.for_network(vif)
            if vif.bridge != before.bridge:
                await self._network.attach(DBG, name, end, domain.vm)
            else:
                await self._network.lock(DBG, name, end)
        await self._host.store.write_many(vif_layout.changes(where, before, vif))
        self._plugged[domid][vif.device] = vif_layout.plugged(vif)

    def _ends(self, domid: int, device: str) -> list[str]:
        """Name our ends of a device: the emulated one too, while there is one."""
        devid = vif_layout.devid(device)
        ends = [vif_layout.interface(domid, devid)]
        if device in self._taps.get(domid, set()):
            ends.append(vif_layout.tap(domid, devid))
        return ends

    async def remove_all(self, domid: int) -> None:
        """Leave nothing of a domain's network devices, whether we knew them or not."""
        for device in list(self._plugged.get(domid, {})):
            try:
                await self.unplug(domid, device, force=True)
            except StoreError as problem:
                log.error("%s of domain %d is left over: %s", device, domid, problem)
        await self._host.store.remove(f"{paths.home(0)}/backend/vif/{domid}")
        self.forget(domid)

    def forget(self, domid: int) -> None:
        """Know nothing of a domain any more."""
        self._plugged.pop(domid, None)
        self._vms.pop(domid, None)
        self._taps.pop(domid, None)
        self._states.forget(domid)

    def _note(self, domain: Domain, vif: PluggedVif) -> None:
        self._vms[domain.domid] = domain.vm
        self._plugged.setdefault(domain.domid, {})[vif.device] = vif
        where = vif_layout.place(domain.domid, domain.vm, vif.device)
        self._states.follow(where, Change("vif", domain.vm, vif.device))

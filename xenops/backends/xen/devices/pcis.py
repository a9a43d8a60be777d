"""PCI functions of the host in domains: handed over before the guest runs, taken back after."""

import logging
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from xapi_py.base.undo import Undo
from xenops import errors
from xenops.backends.xen import paths
from xenops.backends.xen.devices import pci_layout
from xenops.backends.xen.devices.handshake import Handshake
from xenops.backends.xen.devices.nodes import State, state_of
from xenops.backends.xen.devices.pci_layout import PciAddress, PluggedPci
from xenops.backends.xen.devices.surroundings import Domain, Domains, Host
from xenops.backends.xen.kernel import Kernel
from xenops.backends.xen.pci_functions import Function, FunctionUnusable, PciFunctions
from xenops.bindings.errors import XenError
from xenops.metadata import Passthrough
from xenops.qmp.client import QmpError, QmpLost
from xenops.waiting import sleep

log = logging.getLogger(__name__)

FORCED_S: Final = 20.0
RELEASE_POLL_S: Final = 0.05


class Boards(Protocol):
    """The emulated hardware of domains.  Errors: QmpError, QmpLost."""

    async def add_device(self, domid: int, options: dict[str, object]) -> None:
        """Plug a device into the emulated board."""


class Pcis:
    """The PCI functions of all domains.

    A paravirtual guest finds them behind one device of its own, which lists
    all of them when it starts; an emulated board gets each from its emulator.
    """

    def __init__(
        self, host: Host, domains: Domains, kernel: Kernel, functions: PciFunctions, boards: Boards
    ) -> None:
        self._host = host
        self._domains = domains
        self._kernel = kernel
        self._functions = functions
        self._boards = boards
        self._handshake = Handshake(host.store)
        self._plugged: dict[int, list[PluggedPci]] = {}
        self._vms: dict[int, str] = {}

    async def recover(self, domid: int) -> None:
        """Find the functions that an earlier life of this daemon plugged."""
        path = f"{paths.mirror(domid)}/device/pci/0/record"
        text = await self._host.store.read_or(path)
        if text is not None:
            self._vms[domid] = self._domains.get(domid).vm
            self._plugged[domid] = pci_layout.read_record(text)

    def stat(self, domid: int) -> Sequence[str]:
        """Give what is plugged."""
        return [plugged.device for plugged in self._plugged.get(domid, ())]

    async def plug(self, domid: int, pci: Passthrough) -> None:
        """Give a function to a domain whose guest does not run yet.

        Errors: Invalid_metadata for what is no address, Device_is_connected
        when a domain has it, Hotplug_failed, Unimplemented for a guest that
        runs.
        """
        domain, address = self._domains.get(domid), pci_layout.parse(pci.address)
        if any(address == other.address for other in self._all()):
            raise errors.device_is_connected("PCI", pci.device)
        async with Undo() as undo:
            try:
                plugged = await self._hand_over(undo, domain, pci.device, address)
                await self._offer(undo, domain, [*self._plugged.get(domid, ()), plugged])
                if domain.hvm:
                    await self._boards.add_device(domid, pci_layout.qemu_device(address))
            except (FunctionUnusable, XenError, QmpError, QmpLost) as problem:
                text = f"{address}: {problem}"
                raise errors.hotplug_failed("PCI", pci.device, text) from problem
        self._vms[domid] = domain.vm
        self._plugged.setdefault(domid, []).append(plugged)

    async def _hand_over(
        self, undo: Undo, domain: Domain, device: str, address: PciAddress
    ) -> PluggedPci:
        xen, domid = self._host.xc.pci, domain.domid
        function = await self._host.in_thread(self._functions.take, address)
        await self._host.in_thread(xen.assign, domid, address.sbdf)
        undo.push("deassign", lambda: self._host.in_thread(xen.deassign, domid, address.sbdf))
        undo.push("forbid", lambda: self._host.in_thread(self._permit, domid, function, False))
        await self._host.in_thread(self._permit, domid, function, True)
        pirq = 0
        if function.irq:
            pirq = await self._host.in_thread(xen.map_irq, domid, function.irq)
            undo.push("unmap", lambda: self._host.in_thread(xen.unmap_irq, domid, pirq))
        return PluggedPci(device, address, pirq)

    def _permit(self, domid: int, function: Function, allow: bool) -> None:
        for resource in function.resources:
            if resource.ports:
                size = resource.size
                self._host.xc.pci.permit_ports(domid, resource.start, size, allow)
            else:
                self._host.xc.pci.permit_memory(domid, *pci_layout.frames(resource), allow)

    async def _offer(self, undo: Undo, domain: Domain, functions: Sequence[PluggedPci]) -> None:
        """Write the guest's device with these functions, over one with fewer."""
        where = pci_layout.place(domain.domid, domain.vm)
        front = await self._host.store.read_or(f"{where.frontend}/state")
        if state_of(front) > State.INITIALISING:
            raise errors.unimplemented("PCI functions for a guest that runs")
        if front is not None:
            await self._withdraw(domain.domid, domain.vm)
        undo.push("device", lambda: self._restore(domain))
        await self._handshake.create(where, pci_layout.pci_nodes(where, functions))
        await self._handshake.backend_ready(where, State.INITIALISED)

    async def _restore(self, domain: Domain) -> None:
        """Give the guest's device the functions it had before the last."""
        await self._withdraw(domain.domid, domain.vm)
        if before := self._plugged.get(domain.domid):
            where = pci_layout.place(domain.domid, domain.vm)
            await self._handshake.create(where, pci_layout.pci_nodes(where, before))

    async def _withdraw(self, domid: int, vm: str) -> None:
        where = pci_layout.place(domid, vm)
        await self._handshake.cut(where)
        await self._handshake.remove_sides(where)
        clock = self._host.reactor
        deadline = clock.seconds() + FORCED_S
        while self._kernel.has_backend("pci", domid, where.devid):
            if clock.seconds() > deadline:
                log.error("pciback holds the functions of domain %d", domid)
                break
            await sleep(clock, RELEASE_POLL_S)
        await self._handshake.remove(where)

    async def unplug(self, domid: int, device: str) -> None:
        """Leave a function to ``remove_all``: guests keep theirs until they end."""

    async def remove_all(self, domid: int) -> None:
        """Take all functions back; what cannot be undone is logged, as the domain ends anyway."""
        functions = self._plugged.get(domid, [])
        if functions:
            await self._withdraw(domid, self._vms[domid])
        for plugged in functions:
            try:
                await self._host.in_thread(self._take_back, domid, plugged)
            except XenError as problem:
                log.error("%s of domain %d: %s", plugged.address, domid, problem)
        self.forget(domid)

    def _take_back(self, domid: int, plugged: PluggedPci) -> None:
        self._functions.reset(plugged.address)
        if plugged.pirq:
            self._host.xc.pci.unmap_irq(domid, plugged.pirq)
        self._host.xc.pci.deassign(domid, plugged.address.sbdf)

    def forget(self, domid: int) -> None:
        """Know nothing of a domain any more."""
        self._plugged.pop(domid, None)
        self._vms.pop(domid, None)

    def _all(self) -> Iterable[PluggedPci]:
        return (plugged for functions in self._plugged.values() for plugged in functions)

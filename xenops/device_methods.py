"""RPC methods on the devices of VMs."""

import dataclasses
from collections.abc import Mapping

from xapi_py.base.rpc.server import CallContext, Method
from xenops import errors, metadata, plan
from xenops.backends.contract import Console
from xenops.metadata import Vif
from xenops.rpc_group import Methods
from xenops.vms import Vm

Call = CallContext


class DeviceMethods(Methods):
    """Operations on the devices of VMs."""

    def table(self) -> Mapping[str, Method]:
        """Give the methods by their names on the wire."""
        return {
            "VBD.plug": self.vbd_plug,
            "VBD.unplug": self.vbd_unplug,
            "VBD.insert": self.vbd_insert,
            "VBD.eject": self.vbd_eject,
            "VBD.moved": self.vbd_moved,
            "VIF.plug": self.vif_plug,
            "VIF.unplug": self.vif_unplug,
            "VIF.move": self.vif_move,
            "VIF.set_carrier": self.vif_set_carrier,
            "VIF.set_locking_mode": self.vif_set_locking_mode,
            "VIF.set_static_ip": self.vif_set_static_ip,
            "PCI.plug": self.pci_plug,
            "PCI.unplug": self.pci_unplug,
            "CONSOLE.open": self.console_open,
        }

    async def vbd_plug(
        self, call: Call, id: str, device: str, vbd: object = None
    ) -> dict[str, object]:
        vm = self._vms.get(id)
        if vbd is not None:
            vm.md = vm.md.with_vbd(metadata.parse_vbd(vbd))
        step = plan.plug_vbd(vm.md.vbd(device))
        return await self.op(self._operations.device(call.dbg, id, step))

    async def vbd_unplug(
        self, call: Call, id: str, device: str, force: bool = False
    ) -> dict[str, object]:
        step = plan.unplug_vbd(device, force=force)
        return await self.op(self._operations.device(call.dbg, id, step))

    async def vbd_insert(self, call: Call, id: str, device: str, disk: object) -> dict[str, object]:
        medium = metadata.parse_disk(disk)
        return await self.op(self._operations.insert(call.dbg, id, device, medium))

    async def vbd_eject(self, call: Call, id: str, device: str) -> dict[str, object]:
        return await self.op(self._operations.eject(call.dbg, id, device))

    async def vbd_moved(self, call: Call, id: str, device: str, disk: object) -> dict[str, object]:
        """A disk in use has gone to another SR: it has another name, and the same path."""
        fresh = metadata.parse_disk(disk)

        async def effect(vm: Vm, domid: int) -> None:
            await self._backend.vbd_moved(domid, device, fresh)
            vbd = dataclasses.replace(vm.md.vbd(device), backend=fresh)
            vm.md = vm.md.with_vbd(vbd)

        return await self.live(call, id, effect)

    async def vif_plug(
        self, call: Call, id: str, device: str, vif: object = None
    ) -> dict[str, object]:
        vm = self._vms.get(id)
        if vif is not None:
            vm.md = vm.md.with_vif(metadata.parse_vif(vif))
        vm.md.vif(device)
        return await self.op(self._operations.device(call.dbg, id, plan.plug_vif(device)))

    async def vif_unplug(
        self, call: Call, id: str, device: str, force: bool = False
    ) -> dict[str, object]:
        step = plan.unplug_vif(device, force=force)
        return await self.op(self._operations.device(call.dbg, id, step))

    async def vif_move(self, call: Call, id: str, device: str, bridge: str) -> dict[str, object]:
        return await self._vif(call, id, device, {"bridge": bridge})

    async def vif_set_carrier(
        self, call: Call, id: str, device: str, carrier: bool
    ) -> dict[str, object]:
        return await self._vif(call, id, device, {"carrier": carrier})

    async def vif_set_locking_mode(
        self,
        call: Call,
        id: str,
        device: str,
        locking_mode: str,
        ipv4_allowed: list[str] | None = None,
        ipv6_allowed: list[str] | None = None,
    ) -> dict[str, object]:
        changes: dict[str, object] = {"locking_mode": locking_mode}
        if ipv4_allowed is not None:
            changes["ipv4_allowed"] = ipv4_allowed
        if ipv6_allowed is not None:
            changes["ipv6_allowed"] = ipv6_allowed
        return await self._vif(call, id, device, changes)

    async def vif_set_static_ip(
        self, call: Call, id: str, device: str, static_ip: dict[str, str]
    ) -> dict[str, object]:
        return await self._vif(call, id, device, {"static_ip": static_ip})

    async def _vif(
        self, call: Call, id: str, device: str, changes: dict[str, object]
    ) -> dict[str, object]:
        async def effect(vm: Vm, domid: int) -> None:
            vif: Vif = metadata.changed_vif(vm.md.vif(device), changes)
            told = vif if "static_ip" in changes else dataclasses.replace(vif, static_ip={})
            await self._backend.vif_update(domid, told)
            vm.md = vm.md.with_vif(vif)

        return await self.live(call, id, effect)

    async def pci_plug(self, call: Call, id: str, pci: object) -> dict[str, object]:
        fresh = metadata.parse_pci(pci)
        vm = self._vms.get(id)
        vm.md = vm.md.with_pci(fresh)
        step = plan.Atom(plan.AtomKind.PCI_PLUG, fresh.device)
        return await self.op(self._operations.device(call.dbg, id, step))

    async def pci_unplug(self, call: Call, id: str, device: str) -> dict[str, object]:
        step = plan.Atom(plan.AtomKind.PCI_UNPLUG, device)
        return await self.op(self._operations.device(call.dbg, id, step))

    async def console_open(self, call: Call, id: str, protocol: str = "rfb") -> Console:
        if protocol not in ("rfb", "vt100"):
            raise errors.invalid_metadata("protocol: expected rfb or vt100")
        domain = self._backend.find(self._vms.get(id).id)
        if domain is None:
            raise errors.does_not_exist("domain", id)
        return await self._backend.open_console(
            domain.domid, "rfb" if protocol == "rfb" else "vt100"
        )

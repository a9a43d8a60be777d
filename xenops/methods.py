"""The daemon's RPC methods: parameters checked, operations called, cursors given."""

from collections.abc import Awaitable, Mapping
from typing import Any

from xapi_py.base.rpc.server import CallContext, Method
from xapi_py.base.rpc.updates import UpdateFeed
from xenops import errors, metadata, plan
from xenops.backends.contract import Backend, GuestAction
from xenops.metadata import Vif
from xenops.operations import Operations
from xenops.stat import vm_stat
from xenops.vms import Vm, VmTable, write_extra

Call = CallContext
GUEST_ACTIONS = ("poweroff", "reboot", "crash", "suspend", "watchdog")


class XenopsMethods:
    """What the API server can ask.  Operations answer ``{"result", "cursor"}``."""

    def __init__(self, operations: Operations, backend: Backend, feed: UpdateFeed) -> None:
        self._operations = operations
        self._vms: VmTable = operations.vms
        self._backend = backend
        self._feed = feed

    def table(self) -> Mapping[str, Method]:
        """Give the methods by their names on the wire."""
        return {
            "VM.import_metadata": self.vm_import_metadata,
            "VM.export_metadata": self.vm_export_metadata,
            "VM.remove": self.vm_remove,
            "VM.list": self.vm_list,
            "VM.stat": self.vm_stat,
            "VM.stat_many": self.vm_stat_many,
            "VM.metrics": self.vm_metrics,
            "VM.start": self.vm_start,
            "VM.pause": self.vm_pause,
            "VM.unpause": self.vm_unpause,
            "VM.shutdown": self.vm_shutdown,
            "VM.reboot": self.vm_reboot,
            "VM.suspend": self.vm_suspend,
            "VM.resume": self.vm_resume,
            "VM.resume_fast": self.vm_resume_fast,
            "VM.set_vcpus": self.vm_set_vcpus,
            "VM.set_memory_dynamic_range": self.vm_set_memory_dynamic_range,
            "VM.set_shadow_multiplier": self.vm_set_shadow_multiplier,
            "VM.set_xsdata": self.vm_set_xsdata,
            "VM.s3suspend": self.vm_s3suspend,
            "VM.s3resume": self.vm_s3resume,
            "VM.delay": self.vm_delay,
            "VM.run_guest": self.vm_run_guest,
            "VBD.plug": self.vbd_plug,
            "VBD.unplug": self.vbd_unplug,
            "VBD.insert": self.vbd_insert,
            "VBD.eject": self.vbd_eject,
            "VIF.plug": self.vif_plug,
            "VIF.unplug": self.vif_unplug,
            "VIF.move": self.vif_move,
            "VIF.set_carrier": self.vif_set_carrier,
            "VIF.set_locking_mode": self.vif_set_locking_mode,
            "PCI.plug": self.pci_plug,
            "PCI.unplug": self.pci_unplug,
            "HOST.stat": self.host_stat,
            "HOST.metrics": self.host_metrics,
            "HOST.get_console_data": self.host_get_console_data,
            "HOST.send_debug_keys": self.host_send_debug_keys,
            "HOST.update_guest_agent_features": self.host_update_guest_agent_features,
            "UPDATES.get": self.updates_get,
            "TASK.stat": self.task_stat,
            "TASK.list": self.task_list,
            "TASK.cancel": self.task_cancel,
            "DEBUG.inject_fault": self.debug_inject_fault,
            "DEBUG.clear_faults": self.debug_clear_faults,
            "DEBUG.power_cycle": self.debug_power_cycle,
            "DEBUG.echo": self.debug_echo,
        }

    def _done(self, result: object = None) -> dict[str, object]:
        return {"result": result, "cursor": self._feed.cursor}

    async def _op(self, work: Awaitable[object]) -> dict[str, object]:
        return self._done(await work)

    async def vm_import_metadata(self, call: Call, md: object) -> dict[str, object]:
        fresh = metadata.parse(md)
        self._vms.put(fresh)
        self._feed.add("vm", fresh.vm.id)
        return self._done(fresh.vm.id)

    def vm_export_metadata(self, call: Call, id: str) -> dict[str, object]:
        vm = self._vms.get(id)
        return metadata.to_dict(vm.md) | {"domains": write_extra(vm.extra)}

    async def vm_remove(self, call: Call, id: str) -> dict[str, object]:
        vm = self._vms.find(id)
        if vm is not None:
            await self._operations.remove(call.dbg, id)
        return self._done()

    def vm_list(self, call: Call) -> list[dict[str, object]]:
        return [self._stat(vm) for vm in self._vms]

    def vm_stat(self, call: Call, id: str) -> dict[str, object]:
        return self._stat(self._vms.get(id))

    def vm_stat_many(self, call: Call, ids: list[str]) -> dict[str, object]:
        found = {id: self._vms.find(id) for id in ids}
        return {id: None if vm is None else self._stat(vm) for id, vm in found.items()}

    def _stat(self, vm: Vm) -> dict[str, object]:
        return vm_stat(vm, self._operations.power_state(vm), self._backend)

    def vm_metrics(self, call: Call) -> Mapping[str, object]:
        return self._backend.metrics()

    async def vm_start(
        self, call: Call, id: str, paused: bool = False, force: bool = False
    ) -> dict[str, object]:
        return await self._op(self._operations.start(call.dbg, id, paused=paused))

    async def vm_pause(self, call: Call, id: str) -> dict[str, object]:
        return await self._op(self._operations.pause(call.dbg, id))

    async def vm_unpause(self, call: Call, id: str) -> dict[str, object]:
        return await self._op(self._operations.unpause(call.dbg, id))

    async def vm_shutdown(
        self, call: Call, id: str, timeout_s: float = 1200.0, force: bool = False
    ) -> dict[str, object]:
        ops = self._operations
        return await self._op(ops.shutdown(call.dbg, id, timeout_s=timeout_s, clean=not force))

    async def vm_reboot(
        self, call: Call, id: str, timeout_s: float = 1200.0, force: bool = False
    ) -> dict[str, object]:
        ops = self._operations
        return await self._op(ops.reboot(call.dbg, id, timeout_s=timeout_s, clean=not force))

    async def vm_suspend(self, call: Call, id: str, disk: object) -> dict[str, object]:
        where = metadata.parse_disk(disk)
        await self._operations.suspend(call.dbg, id, where)
        return self._done({"domains": write_extra(self._vms.get(id).extra)})

    async def vm_resume(
        self, call: Call, id: str, disk: object, paused: bool = False
    ) -> dict[str, object]:
        where = metadata.parse_disk(disk)
        return await self._op(self._operations.resume(call.dbg, id, where, paused=paused))

    async def vm_resume_fast(self, call: Call, id: str) -> dict[str, object]:
        return await self._op(self._operations.resume_fast(call.dbg, id))

    async def vm_set_vcpus(self, call: Call, id: str, n: int) -> dict[str, object]:
        most = self._vms.get(id).md.vm.vcpu_max
        if not 1 <= n <= most:
            raise errors.invalid_metadata(f"n: {n} is not within 1..{most}")
        return await self._live(call, id, lambda vm, domid: self._backend.set_vcpus(domid, n))

    async def vm_set_memory_dynamic_range(
        self, call: Call, id: str, min_bytes: int, max_bytes: int
    ) -> dict[str, object]:
        most = self._vms.get(id).md.vm.memory_static_max
        if not 0 < min_bytes <= max_bytes <= most:
            raise errors.invalid_metadata("min_bytes, max_bytes: not in order, or over static max")
        return await self._live(
            call,
            id,
            lambda vm, domid: self._backend.set_memory_dynamic_range(domid, min_bytes, max_bytes),
        )

    async def vm_set_shadow_multiplier(
        self, call: Call, id: str, multiplier: float
    ) -> dict[str, object]:
        return await self._live(
            call, id, lambda vm, domid: self._backend.set_shadow_multiplier(domid, multiplier)
        )

    async def vm_set_xsdata(self, call: Call, id: str, xsdata: dict[str, str]) -> dict[str, object]:
        return await self._live(call, id, lambda vm, domid: self._backend.set_xsdata(domid, xsdata))

    async def vm_s3suspend(self, call: Call, id: str) -> dict[str, object]:
        return await self._live(call, id, lambda vm, domid: self._backend.s3_suspend(domid))

    async def vm_s3resume(self, call: Call, id: str) -> dict[str, object]:
        return await self._live(call, id, lambda vm, domid: self._backend.s3_resume(domid))

    async def vm_delay(self, call: Call, id: str, seconds: float) -> dict[str, object]:
        return await self._op(self._operations.delay(call.dbg, id, seconds))

    async def vm_run_guest(self, call: Call, id: str, action: GuestAction) -> dict[str, object]:
        if action not in GUEST_ACTIONS:
            raise errors.invalid_metadata(f"action: expected one of {list(GUEST_ACTIONS)}")
        return await self._live(call, id, lambda vm, domid: self._backend.run_guest(domid, action))

    async def _live(self, call: Call, id: str, effect: Any) -> dict[str, object]:
        return await self._op(self._operations.live(call.dbg, id, effect))

    async def vbd_plug(
        self, call: Call, id: str, device: str, vbd: object = None
    ) -> dict[str, object]:
        vm = self._vms.get(id)
        if vbd is not None:
            vm.md = vm.md.with_vbd(metadata.parse_vbd(vbd))
        step = plan.plug_vbd(vm.md.vbd(device))
        return await self._op(self._operations.device(call.dbg, id, step))

    async def vbd_unplug(
        self, call: Call, id: str, device: str, force: bool = False
    ) -> dict[str, object]:
        step = plan.unplug_vbd(device, force=force)
        return await self._op(self._operations.device(call.dbg, id, step))

    async def vbd_insert(self, call: Call, id: str, device: str, disk: object) -> dict[str, object]:
        medium = metadata.parse_disk(disk)
        return await self._op(self._operations.insert(call.dbg, id, device, medium))

    async def vbd_eject(self, call: Call, id: str, device: str) -> dict[str, object]:
        return await self._op(self._operations.eject(call.dbg, id, device))

    async def vif_plug(
        self, call: Call, id: str, device: str, vif: object = None
    ) -> dict[str, object]:
        vm = self._vms.get(id)
        if vif is not None:
            vm.md = vm.md.with_vif(metadata.parse_vif(vif))
        vm.md.vif(device)
        return await self._op(self._operations.device(call.dbg, id, plan.plug_vif(device)))

    async def vif_unplug(
        self, call: Call, id: str, device: str, force: bool = False
    ) -> dict[str, object]:
        step = plan.unplug_vif(device, force=force)
        return await self._op(self._operations.device(call.dbg, id, step))

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

    async def _vif(
        self, call: Call, id: str, device: str, changes: dict[str, object]
    ) -> dict[str, object]:
        async def effect(vm: Vm, domid: int) -> None:
            vif: Vif = metadata.changed_vif(vm.md.vif(device), changes)
            await self._backend.vif_update(domid, vif)
            vm.md = vm.md.with_vif(vif)

        return await self._live(call, id, effect)

    async def pci_plug(self, call: Call, id: str, pci: object) -> dict[str, object]:
        fresh = metadata.parse_pci(pci)
        vm = self._vms.get(id)
        vm.md = vm.md.with_pci(fresh)
        step = plan.Atom(plan.AtomKind.PCI_PLUG, fresh.device)
        return await self._op(self._operations.device(call.dbg, id, step))

    async def pci_unplug(self, call: Call, id: str, device: str) -> dict[str, object]:
        step = plan.Atom(plan.AtomKind.PCI_UNPLUG, device)
        return await self._op(self._operations.device(call.dbg, id, step))

    def host_stat(self, call: Call) -> object:
        return self._backend.host_stat()

    def host_metrics(self, call: Call) -> Mapping[str, object]:
        return self._backend.host_metrics()

    def host_get_console_data(self, call: Call) -> str:
        return self._backend.console_data()

    def host_send_debug_keys(self, call: Call, keys: str) -> None:
        self._backend.send_debug_keys(keys)

    def host_update_guest_agent_features(
        self, call: Call, features: dict[str, dict[str, object]]
    ) -> None:
        self._backend.set_guest_agent_features(features)

    async def updates_get(
        self,
        call: Call,
        cursor: int = 0,
        timeout_s: float = 30.0,
        epoch: str = "",
        stat: bool = False,
    ) -> dict[str, object]:
        answer = await self._feed.get(epoch, cursor, timeout_s)
        if stat:
            updates: Any = answer["updates"]
            changed = {update[1] for update in updates if update[0] in ("vm", "vbd", "vif")}
            answer["vms"] = self.vm_stat_many(call, sorted(changed))
        return answer

    def task_stat(self, call: Call, id: str) -> dict[str, object]:
        return self._operations.tasks.stat(id)

    def task_list(self, call: Call) -> list[str]:
        return self._operations.tasks.names()

    def task_cancel(self, call: Call, id: str) -> bool:
        return self._operations.tasks.cancel(id)

    def debug_inject_fault(self, call: Call, **fault: object) -> None:
        self._backend.inject_fault(fault)

    def debug_clear_faults(self, call: Call) -> None:
        self._backend.clear_faults()

    def debug_power_cycle(self, call: Call) -> dict[str, object]:
        self._backend.power_cycle()
        return self._done()

    def debug_echo(self, call: Call, **params: object) -> dict[str, object]:
        return params

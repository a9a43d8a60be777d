"""RPC methods on whole VMs."""

import dataclasses
from collections.abc import Mapping

from xapi_py.base.rpc.server import CallContext, Method
from xenops import errors, metadata, migrating
from xenops.backends.contract import GuestAction
from xenops.metadata import Vif, VmMetadata
from xenops.moving import move
from xenops.rpc_group import Methods
from xenops.vms import Vm, write_extra

Call = CallContext
GUEST_ACTIONS = ("poweroff", "reboot", "crash", "suspend", "watchdog")


class VmMethods(Methods):
    """Operations on whole VMs."""

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
            "VM.migrate": self.vm_migrate,
            "VM.receive": self.vm_receive,
            "VM.send": self.vm_send,
            "VM.set_vcpus": self.vm_set_vcpus,
            "VM.set_memory_dynamic_range": self.vm_set_memory_dynamic_range,
            "VM.set_shadow_multiplier": self.vm_set_shadow_multiplier,
            "VM.set_xsdata": self.vm_set_xsdata,
            "VM.s3suspend": self.vm_s3suspend,
            "VM.s3resume": self.vm_s3resume,
            "VM.delay": self.vm_delay,
            "VM.run_guest": self.vm_run_guest,
        }

    async def vm_import_metadata(self, call: Call, md: object) -> dict[str, object]:
        """Keep a VM's metadata; what a running guest may send counts at once, the rest later."""
        fresh = metadata.parse(md)
        limited = self._newly_limited(fresh)
        self._vms.put(fresh)
        self._feed.add("vm", fresh.vm.id)
        if limited:

            async def effect(vm: Vm, domid: int) -> None:
                for vif in limited:
                    await self._backend.vif_update(domid, vif)

            await self.live(call, fresh.vm.id, effect)
        return self.done(fresh.vm.id)

    def _newly_limited(self, fresh: VmMetadata) -> list[Vif]:
        """Give the plugged devices that may send more or less than before."""
        known, domain = self._vms.find(fresh.vm.id), self._backend.find(fresh.vm.id)
        if known is None or domain is None:
            return []
        plugged = self._backend.stat(domain.domid).vifs
        before = {v.device: (v.rate_kbps, v.rate_timeslice_us) for v in known.md.vifs}
        return [
            dataclasses.replace(vif, bridge=plugged[vif.device].bridge, static_ip={})
            for vif in fresh.vifs
            if vif.device in plugged and vif.device in before
            if before[vif.device] != (vif.rate_kbps, vif.rate_timeslice_us)
        ]

    def vm_export_metadata(self, call: Call, id: str) -> dict[str, object]:
        vm = self._vms.get(id)
        return metadata.to_dict(vm.md) | {"domains": write_extra(vm.extra)}

    async def vm_remove(self, call: Call, id: str) -> dict[str, object]:
        vm = self._vms.find(id)
        if vm is not None:
            await self._operations.remove(call.dbg, id)
        return self.done()

    def vm_list(self, call: Call) -> list[dict[str, object]]:
        return [self.stat(vm) for vm in self._vms]

    def vm_stat(self, call: Call, id: str) -> dict[str, object]:
        return self.stat(self._vms.get(id))

    def vm_stat_many(self, call: Call, ids: list[str]) -> dict[str, object]:
        return self.stat_many(ids)

    def vm_metrics(self, call: Call) -> Mapping[str, object]:
        return self._backend.metrics()

    async def vm_start(
        self, call: Call, id: str, paused: bool = False, force: bool = False
    ) -> dict[str, object]:
        return await self.op(self._operations.start(call.dbg, id, paused=paused))

    async def vm_pause(self, call: Call, id: str) -> dict[str, object]:
        return await self.op(self._operations.pause(call.dbg, id))

    async def vm_unpause(self, call: Call, id: str) -> dict[str, object]:
        return await self.op(self._operations.unpause(call.dbg, id))

    async def vm_shutdown(
        self, call: Call, id: str, timeout_s: float = 1200.0, force: bool = False
    ) -> dict[str, object]:
        ops = self._operations
        return await self.op(ops.shutdown(call.dbg, id, timeout_s=timeout_s, clean=not force))

    async def vm_reboot(
        self, call: Call, id: str, timeout_s: float = 1200.0, force: bool = False
    ) -> dict[str, object]:
        ops = self._operations
        return await self.op(ops.reboot(call.dbg, id, timeout_s=timeout_s, clean=not force))

    async def vm_suspend(self, call: Call, id: str, disk: object) -> dict[str, object]:
        where = metadata.parse_disk(disk)
        await self._operations.suspend(call.dbg, id, where)
        return self.done({"domains": write_extra(self._vms.get(id).extra)})

    async def vm_resume(
        self, call: Call, id: str, disk: object, paused: bool = False
    ) -> dict[str, object]:
        where = metadata.parse_disk(disk)
        return await self.op(self._operations.resume(call.dbg, id, where, paused=paused))

    async def vm_resume_fast(self, call: Call, id: str) -> dict[str, object]:
        return await self.op(migrating.go_on(self._operations, call.dbg, id))

    async def vm_migrate(self, call: Call, id: str, md: object = None) -> dict[str, object]:
        fresh = None if md is None else metadata.parse(md)
        if fresh is not None and fresh.vm.id != id:
            raise errors.invalid_metadata("md: of another VM")
        return await self.op(move(self._operations, call.dbg, id, fresh))

    async def vm_receive(self, call: Call, id: str, token: str) -> dict[str, object]:
        address = await migrating.receive(self._operations, call.dbg, id, token)
        return self.done({"address": address})

    async def vm_send(self, call: Call, id: str, address: str, token: str) -> dict[str, object]:
        return await self.op(migrating.send(self._operations, call.dbg, id, address, token))

    async def vm_set_vcpus(self, call: Call, id: str, n: int) -> dict[str, object]:
        most = self._vms.get(id).md.vm.vcpu_max
        if not 1 <= n <= most:
            raise errors.invalid_metadata(f"n: {n} is not within 1..{most}")
        return await self.live(call, id, lambda vm, domid: self._backend.set_vcpus(domid, n))

    async def vm_set_memory_dynamic_range(
        self, call: Call, id: str, min_bytes: int, max_bytes: int
    ) -> dict[str, object]:
        most = self._vms.get(id).md.vm.memory_static_max
        if not 0 < min_bytes <= max_bytes <= most:
            raise errors.invalid_metadata("min_bytes, max_bytes: not in order, or over static max")
        return await self.live(
            call,
            id,
            lambda vm, domid: self._backend.set_memory_dynamic_range(domid, min_bytes, max_bytes),
        )

    async def vm_set_shadow_multiplier(
        self, call: Call, id: str, multiplier: float
    ) -> dict[str, object]:
        return await self.live(
            call, id, lambda vm, domid: self._backend.set_shadow_multiplier(domid, multiplier)
        )

    async def vm_set_xsdata(self, call: Call, id: str, xsdata: dict[str, str]) -> dict[str, object]:
        return await self.live(call, id, lambda vm, domid: self._backend.set_xsdata(domid, xsdata))

    async def vm_s3suspend(self, call: Call, id: str) -> dict[str, object]:
        return await self.live(call, id, lambda vm, domid: self._backend.s3_suspend(domid))

    async def vm_s3resume(self, call: Call, id: str) -> dict[str, object]:
        return await self.live(call, id, lambda vm, domid: self._backend.s3_resume(domid))

    async def vm_delay(self, call: Call, id: str, seconds: float) -> dict[str, object]:
        return await self.op(self._operations.delay(call.dbg, id, seconds))

    async def vm_run_guest(self, call: Call, id: str, action: GuestAction) -> dict[str, object]:
        if action not in GUEST_ACTIONS:
            raise errors.invalid_metadata(f"action: expected one of {list(GUEST_ACTIONS)}")
        return await self.live(call, id, lambda vm, domid: self._backend.run_guest(domid, action))

"""Making a domain, and ending one."""

import logging
from typing import Final

from xapi_py.base.names import new_uuid
from xenops import errors, memory
from xenops.backends.contract import CreateRequest
from xenops.backends.xen import layout, paths
from xenops.backends.xen.domains import DISOWNED, Domains, Record, XenDomain
from xenops.backends.xen.host import XenHost
from xenops.backends.xen.memory import Memory
from xenops.bindings.errors import XenError
from xenops.bindings.interface import CreateDomain, PhysicalInfo
from xenops.metadata import VmConfig, VmMetadata
from xenops.xenstore.client import Transaction
from xenops.xenstore.errors import StoreError

log = logging.getLogger(__name__)

LEAST_GRANT_FRAMES: Final = 64
PV_PASSTHROUGH_BYTES: Final = 3 << 30
"""Above it a paravirtual guest's memory would cover the addresses of devices."""
_TRUE: Final = ("1", "true", "True", "TRUE")


class Creation:
    """Domains from nothing to an empty one, and from any state to nothing."""

    def __init__(self, host: XenHost, domains: Domains, memory_: Memory) -> None:
        self._host = host
        self._domains = domains
        self._memory = memory_

    async def create(self, md: VmMetadata, request: CreateRequest) -> int:
        """Make an empty, paused, not survivable domain.

        Errors: Cannot_free_this_much_memory; Unimplemented for a type this
        host's processors cannot run.
        """
        vm = md.vm
        config = self._config(md)
        granted = await self._memory.reserve(request)
        try:
            domid = self._host.xc.create(config)
        except XenError as error:
            self._memory.give_back(granted)
            raise errors.domain_not_built(str(error)) from error
        domain = self._domains.add(domid, _record(vm, granted), ours=True)
        self._memory.give_back(granted)  # the domain itself is counted from now on
        try:
            await self._write(domain, md)
        except BaseException:
            await self.destroy(domid)
            raise
        return domid

    def _config(self, md: VmMetadata) -> CreateDomain:
        vm, can = md.vm, self._host.xc.physical_info()
        flags = vm.platformdata
        nested_paged = vm.ty != "PV"
        if nested_paged and not (can.hvm and (can.hap or can.shadow)):
            raise errors.unimplemented("guests with virtual hardware on these processors")
        if vm.ty == "PV" and not can.pv:
            raise errors.unimplemented("paravirtual guests on this hypervisor")
        if md.pcis:
            _check_passthrough(md, can)
        frames = max(LEAST_GRANT_FRAMES, 8 * (len(md.vifs) + 1) + len(md.vbds) + 1)
        return CreateDomain(
            handle=vm.id,
            max_vcpus=vm.vcpu_max,
            hvm=nested_paged,
            hap=nested_paged and can.hap and flags.get("hap", "true") in _TRUE,
            iommu=bool(md.pcis),
            nested_virt=flags.get("nested-virt", "") in _TRUE,
            vpmu=flags.get("vpmu", "") in _TRUE,
            msr_relaxed=flags.get("msr-relaxed", "") in _TRUE,
            emulation={"PV": "none", "HVM": "full"}.get(vm.ty, "local"),
            max_grant_frames=_number(flags.get("max_grant_frames"), frames),
            max_maptrack_frames=_number(flags.get("max_maptrack_frames"), 0),
        )

    async def _write(self, domain: XenDomain, md: VmMetadata) -> None:
        domid = domain.domid
        nodes = layout.tree(domid, md, int(self._host.reactor.seconds() * 1e9))

        async def whole(tx: Transaction) -> None:
            leftovers = (paths.home(domid), paths.mirror(domid), paths.libxl(domid))
            tx.remove_many(leftovers)
            if not self._domains.others(domain):
                tx.remove(paths.vm_tree(md.vm.id))
            for node in nodes:
                tx.write(node.path, node.value)
                if node.access is not None:
                    tx.set_permissions(node.path, node.access)
            await tx.settled()

        await self._host.store.transaction(whole)
        values = layout.values(domid, md, domain.record.target, new_uuid())
        saved = self._domains.save(domain)
        await self._host.store.write_many(values)
        await saved
        for path, value in values.items():
            domain.mirror.put(path.removeprefix(paths.home(domid) + "/"), value)

    async def destroy(self, domid: int) -> None:
        """End a domain and remove all that was known of it in xenstore.

        Its devices have been removed before.  Nothing to do when it is gone.
        """
        domain = self._domains.peek(domid)
        if domain is None:
            return
        xc = self._host.xc
        alone = not self._domains.others(domain)
        if xc.domain(domid) is not None:
            try:
                xc.set_handle(domid, f"{DISOWNED}{domid:04x}")
                await self._host.in_thread(xc.destroy, domid)
            except XenError as error:
                log.error("domain %d: %s", domid, error)
                if xc.domain(domid) is not None and not _dying(self._host, domid):
                    raise errors.domain_not_destroyed(str(error)) from error
        await self._forget(domain, alone)
        self._domains.remove(domid)
        self._memory.changed()

    async def _forget(self, domain: XenDomain, alone: bool) -> None:
        store, domid, vm = self._host.store, domain.domid, domain.vm
        released = store.release(domid)
        released.addErrback(lambda failure: failure.trap(StoreError))
        kinds = await store.children("/local/domain/0/backend")
        gone = [paths.home(domid), paths.mirror(domid), paths.libxl(domid), paths.emulator(domid)]
        gone += [f"/local/domain/0/backend/{kind}/{domid}" for kind in kinds]
        if alone:
            gone += [paths.vm_tree(vm), paths.private(vm)]
        else:
            gone += [
                f"{paths.vm_tree(vm)}/domains/{domid}",
                f"{paths.private(vm)}/hotplug/{domid}",
            ]
        await store.remove_many(gone)
        await released


def _dying(host: XenHost, domid: int) -> bool:
    info = host.xc.domain(domid)
    return info is None or info.dying


def _record(vm: VmConfig, granted: int) -> Record:
    overhead = memory.overhead_bytes(vm)
    return Record(
        vm=vm.id,
        domain_type=layout.domain_type(vm),
        vcpu_max=vm.vcpu_max,
        vcpus=vm.vcpus,
        static_max=vm.memory_static_max,
        dynamic_min=vm.memory_dynamic_min,
        dynamic_max=vm.memory_dynamic_max,
        target=granted - overhead,
        overhead=overhead,
        video_mib=vm.hvm.video_mib if vm.ty == "HVM" else 0,
        shadow_multiplier=vm.shadow_multiplier,
        reserved=granted,
        rtc_timeoffset=vm.platformdata.get("timeoffset", vm.hvm.timeoffset),
    )


def _check_passthrough(md: VmMetadata, can: PhysicalInfo) -> None:
    if not can.directio:
        raise errors.unimplemented("PCI devices without an IOMMU")
    if md.vm.ty not in ("HVM", "PV"):
        raise errors.unimplemented(f"PCI devices of {md.vm.ty} guests")
    if md.vm.ty == "PV" and md.vm.memory_static_max > PV_PASSTHROUGH_BYTES:
        raise errors.unimplemented("PCI devices of paravirtual guests of more than 3 GiB")


def _number(text: str | None, default: int) -> int:
    try:
        return int(text) if text else default
    except ValueError:
        return default

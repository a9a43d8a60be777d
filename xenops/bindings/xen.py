"""Hypercalls: libxenctrl's functions with their arguments checked and plain results."""

import uuid
from collections.abc import Sequence
from typing import Any, Final

from xenops.bindings import load
from xenops.bindings.errors import BindingError, XenError
from xenops.bindings.interface import (
    CreateDomain,
    HvmParam,
    PhysicalInfo,
    VcpuInfo,
    XenDomainInfo,
    XenVersion,
)
from xenops.bindings.passthrough import Passthrough

_BATCH: Final = 256
_RING_BYTES: Final = 1 << 20
_FEATURE_WORDS: Final = 64
# Commands of xc_version, from Xen's public header version.h, and the sizes of their answers.
_VERSION, _EXTRA, _COMPILE_INFO, _CAPABILITIES, _CHANGESET = 0, 1, 2, 3, 4
_COMPILE_PARTS: Final = (64, 16, 32, 32)


class Xen:
    """The hypervisor of this host; see ``Hypervisor`` for what the methods promise.

    Calls may be made from several threads.  All release the interpreter while
    Xen works.
    """

    def __init__(self, module: Any) -> None:
        self.lib = module.lib
        self.ffi = module.ffi
        self.handle = self.lib.xc_interface_open(self.ffi.NULL, self.ffi.NULL, 0)
        if self.handle == self.ffi.NULL:
            raise BindingError("Xen's control interface cannot be opened (is this root in dom0?)")
        self._scheduler: int | None = None
        self.pci = Passthrough(module, self.handle, self.check)

    @classmethod
    def open(cls) -> "Xen":
        """Give the running hypervisor.  Errors: BindingError saying what is missing."""
        return cls(load.library(load.running_version()))

    def close(self) -> None:
        """Let go of the control interface."""
        self.lib.xc_interface_close(self.handle)

    def check(self, result: int, function: str) -> int:
        """Give a C function's result.  Errors: XenError when it is negative."""
        if result < 0:
            raise XenError(function, self.ffi.errno, self.last_error())
        return result

    def last_error(self) -> str:
        """Give what the library said last, and forget it."""
        error = self.lib.xc_get_last_error(self.handle)
        code, message = int(error.code), self._text(error.message)
        self.lib.xc_clear_last_error(self.handle)
        return message if code else ""

    def _text(self, array: Any) -> str:
        content: bytes = self.ffi.string(array)
        return content.decode("utf-8", "replace")

    def version(self) -> XenVersion:
        number = self.check(self.lib.xc_version(self.handle, _VERSION, self.ffi.NULL), "xc_version")
        parts = self._version_bytes(_COMPILE_INFO, sum(_COMPILE_PARTS))
        texts, at = [], 0
        for size in _COMPILE_PARTS:
            texts.append(_until_nul(parts[at : at + size]))
            at += size
        return XenVersion(
            major=number >> 16,
            minor=number & 0xFFFF,
            extra=_until_nul(self._version_bytes(_EXTRA, 16)),
            compiler=texts[0],
            compile_date=texts[3],
            capabilities=_until_nul(self._version_bytes(_CAPABILITIES, 1024)).strip(),
            changeset=_until_nul(self._version_bytes(_CHANGESET, 64)),
        )

    def _version_bytes(self, command: int, size: int) -> bytes:
        buffer = self.ffi.new("char[]", size)
        self.check(self.lib.xc_version(self.handle, command, buffer), "xc_version")
        return bytes(self.ffi.buffer(buffer))

    def physical_info(self) -> PhysicalInfo:
        info = self.ffi.new("xc_physinfo_t *")
        self.check(self.lib.xc_physinfo(self.handle, info), "xc_physinfo")
        lib, can = self.lib, int(info.capabilities)
        return PhysicalInfo(
            cpus=info.nr_cpus,
            nodes=info.nr_nodes,
            threads_per_core=info.threads_per_core,
            cores_per_socket=info.cores_per_socket,
            cpu_khz=info.cpu_khz,
            total_pages=info.total_pages,
            free_pages=info.free_pages,
            scrub_pages=info.scrub_pages,
            outstanding_pages=info.outstanding_pages,
            hvm=bool(can & lib.XEN_SYSCTL_PHYSCAP_hvm),
            pv=bool(can & lib.XEN_SYSCTL_PHYSCAP_pv),
            hap=bool(can & lib.XEN_SYSCTL_PHYSCAP_hap),
            shadow=bool(can & lib.XEN_SYSCTL_PHYSCAP_shadow),
            directio=bool(can & lib.XEN_SYSCTL_PHYSCAP_directio),
        )

    def _max_cpus(self) -> int:
        return self.check(self.lib.xc_get_max_cpus(self.handle), "xc_get_max_cpus")

    def cpu_sockets(self) -> int:
        count = self.ffi.new("unsigned *", self._max_cpus())
        cpus = self.ffi.new("xc_cputopo_t[]", count[0])
        self.check(self.lib.xc_cputopoinfo(self.handle, count, cpus), "xc_cputopoinfo")
        sockets = {cpus[n].socket for n in range(min(count[0], len(cpus)))}
        return len(sockets - {0xFFFFFFFF})

    def cpu_idle_ns(self) -> Sequence[int]:
        most = self._max_cpus()
        cpus, count = self.ffi.new("xc_cpuinfo_t[]", most), self.ffi.new("int *")
        self.check(self.lib.xc_getcpuinfo(self.handle, most, cpus, count), "xc_getcpuinfo")
        return [int(cpus[n].idletime) for n in range(count[0])]

    def featureset(self, index: int) -> Sequence[int]:
        count = self.ffi.new("uint32_t *", _FEATURE_WORDS)
        words = self.ffi.new("uint32_t[]", _FEATURE_WORDS)
        answer = self.lib.xc_get_cpu_featureset(self.handle, index, count, words)
        self.check(answer, "xc_get_cpu_featureset")
        return [int(words[n]) for n in range(count[0])]

    def console_ring(self) -> str:
        size = self.ffi.new("unsigned *", _RING_BYTES)
        buffer, index = self.ffi.new("char[]", _RING_BYTES), self.ffi.new("uint32_t *")
        answer = self.lib.xc_readconsolering(self.handle, buffer, size, 0, 0, index)
        self.check(answer, "xc_readconsolering")
        return bytes(self.ffi.buffer(buffer, size[0])).decode("utf-8", "replace")

    def send_debug_keys(self, keys: str) -> None:
        answer = self.lib.xc_send_debug_keys(self.handle, keys.encode("ascii", "ignore"))
        self.check(answer, "xc_send_debug_keys")

    def domains(self) -> Sequence[XenDomainInfo]:
        found: list[XenDomainInfo] = []
        batch = self.ffi.new("xc_domaininfo_t[]", _BATCH)
        first = 0
        while True:
            answer = self.lib.xc_domain_getinfolist(self.handle, first, _BATCH, batch)
            count = self.check(answer, "xc_domain_getinfolist")
            found.extend(self._domain(batch[n]) for n in range(count))
            if count < _BATCH:
                return found
            first = found[-1].domid + 1

    def domain(self, domid: int) -> XenDomainInfo | None:
        one = self.ffi.new("xc_domaininfo_t *")
        answer = self.lib.xc_domain_getinfolist(self.handle, domid, 1, one)
        count = self.check(answer, "xc_domain_getinfolist")
        return self._domain(one) if count == 1 and one.domain == domid else None

    def _domain(self, info: Any) -> XenDomainInfo:
        lib, flags = self.lib, int(info.flags)
        reason = flags >> lib.XEN_DOMINF_shutdownshift & lib.XEN_DOMINF_shutdownmask
        return XenDomainInfo(
            domid=info.domain,
            handle=str(uuid.UUID(bytes=bytes(info.handle))),
            hvm=bool(flags & lib.XEN_DOMINF_hvm_guest),
            paused=bool(flags & lib.XEN_DOMINF_paused),
            dying=bool(flags & lib.XEN_DOMINF_dying),
            running=bool(flags & lib.XEN_DOMINF_running),
            shutdown=reason if flags & lib.XEN_DOMINF_shutdown else None,
            total_pages=info.tot_pages,
            max_pages=info.max_pages,
            cpu_time_ns=info.cpu_time,
            online_vcpus=info.nr_online_vcpus,
            max_vcpu=info.max_vcpu_id,
        )

    def vcpu(self, domid: int, vcpu: int) -> VcpuInfo:
        info = self.ffi.new("xc_vcpuinfo_t *")
        self.check(self.lib.xc_vcpu_getinfo(self.handle, domid, vcpu, info), "xc_vcpu_getinfo")
        return VcpuInfo(bool(info.online), info.cpu_time)

    def create(self, config: CreateDomain) -> int:
        lib = self.lib
        flags = {
            lib.XEN_DOMCTL_CDF_hvm: config.hvm,
            lib.XEN_DOMCTL_CDF_hap: config.hap,
            lib.XEN_DOMCTL_CDF_iommu: config.iommu,
            lib.XEN_DOMCTL_CDF_nested_virt: config.nested_virt,
            lib.XEN_DOMCTL_CDF_vpmu: config.vpmu,
        }
        emulation = {
            "none": 0,
            "local": lib.XEN_X86_EMU_LAPIC,
            "full": lib.XEN_X86_EMU_ALL & ~lib.XEN_X86_EMU_VPCI,
        }
        wanted = self.ffi.new("struct xen_domctl_createdomain *")
        wanted.handle = list(uuid.UUID(config.handle).bytes)
        wanted.flags = sum(flag for flag, on in flags.items() if on)
        wanted.max_vcpus = config.max_vcpus
        wanted.max_evtchn_port = 0xFFFFFFFF
        wanted.max_grant_frames = config.max_grant_frames
        wanted.max_maptrack_frames = config.max_maptrack_frames
        wanted.grant_opts = 2
        wanted.arch.emulation_flags = emulation[config.emulation]
        wanted.arch.misc_flags = lib.XEN_X86_MSR_RELAXED if config.msr_relaxed else 0
        domid = self.ffi.new("uint32_t *", 0)
        self.check(lib.xc_domain_create(self.handle, domid, wanted), "xc_domain_create")
        return int(domid[0])

    def destroy(self, domid: int) -> None:
        self.check(self.lib.xc_domain_destroy(self.handle, domid), "xc_domain_destroy")

    def pause(self, domid: int) -> None:
        self.check(self.lib.xc_domain_pause(self.handle, domid), "xc_domain_pause")

    def unpause(self, domid: int) -> None:
        self.check(self.lib.xc_domain_unpause(self.handle, domid), "xc_domain_unpause")

    def shutdown(self, domid: int, reason: int) -> None:
        self.check(self.lib.xc_domain_shutdown(self.handle, domid, reason), "xc_domain_shutdown")

    def resume(self, domid: int, *, fast: bool) -> None:
        self.check(self.lib.xc_domain_resume(self.handle, domid, int(fast)), "xc_domain_resume")

    def set_handle(self, domid: int, handle: str) -> None:
        value = self.ffi.new("uint8_t[16]", list(uuid.UUID(handle).bytes))
        self.check(self.lib.xc_domain_sethandle(self.handle, domid, value), "xc_domain_sethandle")

    def set_target(self, domid: int, target: int) -> None:
        answer = self.lib.xc_domain_set_target(self.handle, domid, target)
        self.check(answer, "xc_domain_set_target")

    def set_max_vcpus(self, domid: int, count: int) -> None:
        answer = self.lib.xc_domain_max_vcpus(self.handle, domid, count)
        self.check(answer, "xc_domain_max_vcpus")

    def set_max_memory(self, domid: int, kib: int) -> None:
        self.check(self.lib.xc_domain_setmaxmem(self.handle, domid, kib), "xc_domain_setmaxmem")

    def set_memory_map_limit(self, domid: int, kib: int) -> None:
        answer = self.lib.xc_domain_set_memmap_limit(self.handle, domid, kib)
        self.check(answer, "xc_domain_set_memmap_limit")

    def set_populate_on_demand_target(self, domid: int, pages: int) -> None:
        none = self.ffi.NULL
        answer = self.lib.xc_domain_set_pod_target(self.handle, domid, pages, none, none, none)
        self.check(answer, "xc_domain_set_pod_target")

    def shadow_mib(self, domid: int) -> int:
        size = self.ffi.new("unsigned *")
        self._shadow(domid, self.lib.XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION, size)
        return int(size[0])

    def set_shadow_mib(self, domid: int, mib: int) -> None:
        size = self.ffi.new("unsigned *", mib)
        self._shadow(domid, self.lib.XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION, size)

    def _shadow(self, domid: int, operation: int, size: Any) -> None:
        answer = self.lib.xc_shadow_control(self.handle, domid, operation, size, 0)
        self.check(answer, "xc_shadow_control")

    def set_affinity(self, domid: int, vcpu: int, cpus: Sequence[int]) -> None:
        size = self.check(self.lib.xc_get_cpumap_size(self.handle), "xc_get_cpumap_size")
        bits = bytearray(size)
        for cpu in cpus:
            if 0 <= cpu < size * 8:
                bits[cpu // 8] |= 1 << cpu % 8
        hard = self.ffi.new("uint8_t[]", bytes(bits))
        answer = self.lib.xc_vcpu_setaffinity(
            self.handle, domid, vcpu, hard, self.ffi.NULL, self.lib.XEN_VCPUAFFINITY_HARD
        )
        self.check(answer, "xc_vcpu_setaffinity")

    def set_scheduling(self, domid: int, weight: int, cap: int) -> None:
        if self._scheduler is None:
            found = self.ffi.new("int *")
            self.check(self.lib.xc_sched_id(self.handle, found), "xc_sched_id")
            self._scheduler = int(found[0])
        if self._scheduler == self.lib.XEN_SCHEDULER_CREDIT2:
            two = self.ffi.new("struct xen_domctl_sched_credit2 *", {"weight": weight, "cap": cap})
            answer = self.lib.xc_sched_credit2_domain_set(self.handle, domid, two)
            self.check(answer, "xc_sched_credit2_domain_set")
        elif self._scheduler == self.lib.XEN_SCHEDULER_CREDIT:
            one = self.ffi.new("struct xen_domctl_sched_credit *", {"weight": weight, "cap": cap})
            answer = self.lib.xc_sched_credit_domain_set(self.handle, domid, one)
            self.check(answer, "xc_sched_credit_domain_set")

    def set_time_offset(self, domid: int, seconds: int) -> None:
        answer = self.lib.xc_domain_set_time_offset(self.handle, domid, seconds)
        self.check(answer, "xc_domain_set_time_offset")

    def set_tsc_mode(self, domid: int, mode: int) -> None:
        answer = self.lib.xc_domain_set_tsc_info(self.handle, domid, mode, 0, 0, 0)
        self.check(answer, "xc_domain_set_tsc_info")

    def apply_cpu_policy(self, domid: int, features: Sequence[int] | None, *, nested: bool) -> None:
        words: Any = self.ffi.NULL
        if features is not None:
            words = self.ffi.new("uint32_t[]", list(features))
        count = len(features or ())
        answer = self.lib.apply_cpu_policy(self.handle, domid, words, count, nested)
        self.check(answer, "xc_cpuid_apply_policy")

    def alloc_unbound(self, domid: int, remote: int) -> int:
        answer = self.lib.xc_evtchn_alloc_unbound(self.handle, domid, remote)
        return self.check(answer, "xc_evtchn_alloc_unbound")

    def hvm_param(self, domid: int, param: HvmParam) -> int:
        value = self.ffi.new("uint64_t *")
        answer = self.lib.xc_hvm_param_get(self.handle, domid, int(param), value)
        self.check(answer, "xc_hvm_param_get")
        return int(value[0])

    def set_hvm_param(self, domid: int, param: HvmParam, value: int) -> None:
        answer = self.lib.xc_hvm_param_set(self.handle, domid, int(param), value)
        self.check(answer, "xc_hvm_param_set")

    def send_trigger(self, domid: int, trigger: str) -> None:
        button = {
            "power": self.lib.XEN_DOMCTL_SENDTRIGGER_POWER,
            "sleep": self.lib.XEN_DOMCTL_SENDTRIGGER_SLEEP,
        }[trigger]
        answer = self.lib.xc_domain_send_trigger(self.handle, domid, button, 0)
        self.check(answer, "xc_domain_send_trigger")


def _until_nul(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "replace")

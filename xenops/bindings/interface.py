"""What can be asked of the hypervisor, as plain values.

``Hypervisor`` is implemented by ``xenops.bindings.xen.Xen`` on the real one,
and in memory for tests.  Memory is in KiB, MiB or pages as the name says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

PAGE = 4096


class HvmParam(IntEnum):
    """Parameters of domains with emulated or nested-paged memory; Xen's public numbers."""

    CALLBACK_IRQ = 0
    STORE_PFN = 1
    STORE_EVTCHN = 2
    VIRIDIAN = 9
    TIMER_MODE = 10
    HPET_ENABLED = 11
    ACPI_S_STATE = 14
    VPT_ALIGN = 16
    CONSOLE_PFN = 17
    CONSOLE_EVTCHN = 18
    TRIPLE_FAULT_REASON = 31


@dataclass(frozen=True, slots=True)
class CreateDomain:
    """A domain to be made; ``handle`` is its uuid.  ``emulation`` is none, local or full."""

    handle: str
    max_vcpus: int
    hvm: bool
    hap: bool = False
    iommu: bool = False
    nested_virt: bool = False
    vpmu: bool = False
    msr_relaxed: bool = False
    emulation: str = "none"
    max_grant_frames: int = 64
    max_maptrack_frames: int = 0


@dataclass(frozen=True, slots=True)
class XenDomainInfo:
    """A domain as Xen sees it; ``shutdown`` is Xen's reason code or None while it runs."""

    domid: int
    handle: str
    hvm: bool
    paused: bool
    dying: bool
    running: bool
    shutdown: int | None
    total_pages: int
    max_pages: int
    cpu_time_ns: int
    online_vcpus: int
    max_vcpu: int


@dataclass(frozen=True, slots=True)
class PhysicalInfo:
    """The host; ``scrub_pages`` are freed, but not yet to be had."""

    cpus: int
    nodes: int
    threads_per_core: int
    cores_per_socket: int
    cpu_khz: int
    total_pages: int
    free_pages: int
    scrub_pages: int
    outstanding_pages: int
    hvm: bool
    pv: bool
    hap: bool
    shadow: bool
    directio: bool


@dataclass(frozen=True, slots=True)
class XenVersion:
    """The hypervisor's own words about itself."""

    major: int
    minor: int
    extra: str
    compiler: str
    compile_date: str
    capabilities: str
    changeset: str


@dataclass(frozen=True, slots=True)
class VcpuInfo:
    """One virtual processor of a domain."""

    online: bool
    cpu_time_ns: int


class PciHypercalls(Protocol):
    """PCI functions in domains; ``sbdf`` is a function's number.  Errors of all: XenError."""

    def assign(self, domid: int, sbdf: int) -> None:
        """Let a function reach the domain's memory, and no other."""

    def deassign(self, domid: int, sbdf: int) -> None: ...

    def permit_ports(self, domid: int, first: int, count: int, allow: bool) -> None: ...

    def permit_memory(self, domid: int, first: int, count: int, allow: bool) -> None:
        """Let the domain map pages of a device's memory; ``first`` is a frame number."""

    def map_irq(self, domid: int, irq: int) -> int:
        """Give the domain an interrupt line of the host; gives its number there."""

    def unmap_irq(self, domid: int, pirq: int) -> None: ...


class Hypervisor(Protocol):
    """Xen.  Errors of all methods: XenError."""

    @property
    def pci(self) -> PciHypercalls: ...

    def version(self) -> XenVersion: ...

    def physical_info(self) -> PhysicalInfo: ...

    def cpu_sockets(self) -> int: ...

    def cpu_idle_ns(self) -> Sequence[int]:
        """Give how long each processor has been idle since the host started."""

    def featureset(self, index: int) -> Sequence[int]:
        """Give CPU features as 32-bit words; 0 raw, 1 host, 2 PV, 3 HVM guests."""

    def console_ring(self) -> str: ...

    def send_debug_keys(self, keys: str) -> None: ...

    def domains(self) -> Sequence[XenDomainInfo]:
        """Give all domains in order of their ids, domain 0 and dying ones included."""

    def domain(self, domid: int) -> XenDomainInfo | None:
        """Give one domain, None when there is none of this id."""

    def vcpu(self, domid: int, vcpu: int) -> VcpuInfo: ...

    def create(self, config: CreateDomain) -> int:
        """Make an empty, paused domain and give its id."""

    def destroy(self, domid: int) -> None:
        """End a domain; blocks until its memory is freed."""

    def pause(self, domid: int) -> None: ...

    def unpause(self, domid: int) -> None: ...

    def shutdown(self, domid: int, reason: int) -> None: ...

    def resume(self, domid: int, *, fast: bool) -> None: ...

    def set_handle(self, domid: int, handle: str) -> None: ...

    def set_target(self, domid: int, target: int) -> None: ...

    def set_max_vcpus(self, domid: int, count: int) -> None: ...

    def set_max_memory(self, domid: int, kib: int) -> None: ...

    def set_memory_map_limit(self, domid: int, kib: int) -> None: ...

    def set_populate_on_demand_target(self, domid: int, pages: int) -> None: ...

    def shadow_mib(self, domid: int) -> int: ...

    def set_shadow_mib(self, domid: int, mib: int) -> None: ...

    def set_affinity(self, domid: int, vcpu: int, cpus: Sequence[int]) -> None: ...

    def set_scheduling(self, domid: int, weight: int, cap: int) -> None: ...

    def set_time_offset(self, domid: int, seconds: int) -> None: ...

    def set_tsc_mode(self, domid: int, mode: int) -> None: ...

    def apply_cpu_policy(self, domid: int, features: Sequence[int] | None, *, nested: bool) -> None:
        """Set what the guest sees of the processor; None for what Xen gives its type."""

    def alloc_unbound(self, domid: int, remote: int) -> int:
        """Make an event channel of the domain towards another one; gives its port."""

    def hvm_param(self, domid: int, param: HvmParam) -> int: ...

    def set_hvm_param(self, domid: int, param: HvmParam, value: int) -> None: ...

    def send_trigger(self, domid: int, trigger: str) -> None:
        """Press a button of the guest: ``power`` or ``sleep``."""

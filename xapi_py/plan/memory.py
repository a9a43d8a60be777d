"""Memory: overheads, footprints, the order of limits and a host's free memory.

Fields are bytes; the model counts MiB and pages of 4096 bytes.  "Used" amounts
round up, "free" ones down.
"""

from dataclasses import dataclass

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View

MIB = 1 << 20
PAGES_PER_MIB = 256
# Pages of toolstack and hypervisor bookkeeping per virtual CPU; 7.1 had none.
PAGES_PER_VCPU = 38
PAGES_PER_VCPU_7_1 = 0
HVM_VIDEO_MIB = 4
# What a multiplier that is infinite or no number comes to: more than any host has.
MAX_SHADOW_MIB = 1 << 31


def mib_of_bytes_used(value_bytes: int) -> int:
    """Convert an amount in use: rounds up."""
    return -(-value_bytes // MIB)


def mib_of_bytes_free(value_bytes: int) -> int:
    """Convert an amount that is free: rounds down."""
    return value_bytes // MIB


def mib_of_pages_used(pages: int) -> int:
    """Convert pages in use: rounds up."""
    return -(-pages // PAGES_PER_MIB)


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """The constants of one domain type, in MiB."""

    extra_internal_mib: int
    extra_external_mib: int
    shimmed: bool

    def shim_mib(self, static_max_mib: int) -> int:
        """Give the memory of the PV shim, nothing for other types."""
        return 23 + static_max_mib // 90 if self.shimmed else 0


MODELS = {
    "hvm": MemoryModel(1, 1, False),
    "pvh": MemoryModel(1, 1, False),
    "pv": MemoryModel(0, 1, False),
    "pv_in_pvh": MemoryModel(1, 1, True),
}


def shadow_mib(static_max_mib: int, vcpus: int, multiplier: float) -> int:
    """Give the shadow or HAP pool of a domain, from 1 MiB to ``MAX_SHADOW_MIB``."""
    pages = 256 * vcpus + 2 * static_max_mib
    size = mib_of_pages_used(pages) * multiplier
    return int(max(size, 1.0)) if size < MAX_SHADOW_MIB else MAX_SHADOW_MIB


def overhead_mib(
    domain_type: str,
    static_max_mib: int,
    vcpus: int,
    multiplier: float,
    pages_per_vcpu: int = PAGES_PER_VCPU,
) -> int:
    """Give what a domain needs beside its own memory."""
    model = MODELS[domain_type]
    return (
        model.extra_internal_mib
        + model.extra_external_mib
        + shadow_mib(static_max_mib, vcpus, multiplier)
        + model.shim_mib(static_max_mib)
        + mib_of_pages_used(pages_per_vcpu * vcpus)
    )


def domain_type_of(row: Row) -> str:
    """Give the configured domain type; unspecified follows the boot policy."""
    if row.domain_type in MODELS:
        return str(row.domain_type)
    return "hvm" if row.HVM_boot_policy != "" else "pv"


def overhead_bytes(row: Row, pages_per_vcpu: int = PAGES_PER_VCPU) -> int:
    """Compute ``VM.memory_overhead`` of a VM record.

    Recompute it when static_max, VCPUs_max, VCPUs_at_startup, the shadow
    multiplier or the type changes.  The control domain has none.
    """
    if row.is_control_domain:
        return 0
    kind = domain_type_of(row)
    multiplier = 1.0 if kind == "pv" else row.HVM_shadow_multiplier
    static_max_mib = mib_of_bytes_used(row.memory_static_max)
    return MIB * overhead_mib(kind, static_max_mib, row.VCPUs_max, multiplier, pages_per_vcpu)


@dataclass(frozen=True, slots=True)
class Limits:
    """The four limits of a VM, bytes."""

    static_min: int
    dynamic_min: int
    dynamic_max: int
    static_max: int

    def in_order(self) -> bool:
        """Tell whether static_min <= dynamic_min <= dynamic_max <= static_max."""
        return self.static_min <= self.dynamic_min <= self.dynamic_max <= self.static_max

    def pinned(self) -> bool:
        """Tell whether ballooning has no room."""
        return self.dynamic_min == self.dynamic_max == self.static_max


def limits_of(row: Row) -> Limits:
    """Read the limits of a VM."""
    return Limits(
        row.memory_static_min, row.memory_dynamic_min, row.memory_dynamic_max, row.memory_static_max
    )


def limits_error(limits: Limits, pin_reason: str | None = None) -> ApiError | None:
    """Check new limits; ``pin_reason`` says why the VM may not balloon, if so.

    Errors: MEMORY_CONSTRAINT_VIOLATION_ORDER, MEMORY_CONSTRAINT_VIOLATION_MAXPIN,
    INVALID_VALUE for sizes no guest can have.
    """
    if not limits.in_order():
        return err.MEMORY_CONSTRAINT_VIOLATION_ORDER()
    if limits.static_min < 0:
        return err.INVALID_VALUE("memory_static_min", limits.static_min)
    if limits.dynamic_min <= 0:
        return err.INVALID_VALUE("memory_dynamic_min", limits.dynamic_min)
    if pin_reason is not None and not limits.pinned():
        return err.MEMORY_CONSTRAINT_VIOLATION_MAXPIN(pin_reason)
    return None


def coerced_for_start(limits: Limits) -> Limits:
    """Clamp the dynamic range into the static one, as done at start.

    Errors: MEMORY_CONSTRAINT_VIOLATION when a maximum is below its minimum.
    """
    if limits.static_max < limits.static_min:
        raise err.MEMORY_CONSTRAINT_VIOLATION("static_min <= static_max")
    if limits.dynamic_max < limits.dynamic_min:
        raise err.MEMORY_CONSTRAINT_VIOLATION("dynamic_min <= dynamic_max")

    def clamp(value: int) -> int:
        return min(max(value, limits.static_min), limits.static_max)

    return Limits(
        limits.static_min, clamp(limits.dynamic_min), clamp(limits.dynamic_max), limits.static_max
    )


def required_bytes(row: Row) -> int:
    """Give what a start of the VM reserves: dynamic_min and the overhead."""
    if domain_type_of(row) == "pv_in_pvh":
        return int(row.memory_static_max + overhead_bytes(row))
    return int(row.memory_dynamic_min + overhead_bytes(row))


def guest_capacity_bytes(view: View, host: Row) -> int:
    """Give what a host has for domains: total less its own overhead."""
    metrics = view.find("host_metrics", host.metrics)
    total = metrics.memory_total if metrics is not None else 0
    return int(total - host.memory_overhead)


def promise_of(vm: Row) -> int:
    """Give what a VM on a host counts with: dynamic_min and its stored overhead."""
    return int(vm.memory_dynamic_min + vm.memory_overhead)


def promised_bytes(view: View, host: Row, skip: str = NULL_REF) -> int:
    """Add up what is promised to VMs resident on the host; ``skip`` is left out.

    Cost: those VMs.  Servers keep an index that also counts VMs about to start.
    """
    found = (view.find("VM", ref) for ref in host.resident_VMs if ref != skip)
    return sum(promise_of(vm) for vm in found if vm is not None)


def free_bytes(view: View, host: Row, skip: str = NULL_REF) -> int:
    """Give the memory a host can promise to another VM, never below zero."""
    return max(0, guest_capacity_bytes(view, host) - promised_bytes(view, host, skip))


def maximum_static_max(row: Row, total_bytes: int, approximate: bool) -> int:
    """Find the largest static_max that fits into ``total_bytes`` with its overhead.

    Whole MiB.  ``approximate`` leaves some room (a VM of the largest vCPU
    count, less 1 MiB).  Zero when not even 1 MiB fits.
    """
    kind = domain_type_of(row)
    multiplier = 1.0 if kind == "pv" else row.HVM_shadow_multiplier
    vcpus = max(row.VCPUs_max, 64) if approximate else row.VCPUs_max
    budget = mib_of_bytes_free(total_bytes)
    low, high = 0, budget
    while low < high:
        middle = (low + high + 1) // 2
        if middle + overhead_mib(kind, middle, vcpus, multiplier) <= budget:
            low = middle
        else:
            high = middle - 1
    return low * MIB

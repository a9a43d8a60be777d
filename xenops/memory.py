"""Memory arithmetic of domains: how much a VM takes of its host.

Source: the memory model of the reference toolstack.  "Used" sizes round up to
the next unit, "free" sizes round down.
"""

from xenops.metadata import DomainType, VmConfig

MIB = 1024 * 1024
PAGES_PER_MIB = 256
# What a multiplier that is infinite or no number comes to: more than any host has.
MAX_SHADOW_MIB = 1 << 31


def shim_mib(ty: DomainType, static_max_mib: int) -> int:
    """Memory of the shim hypervisor that wraps a PV guest in a PVH domain."""
    return 23 + static_max_mib // 90 if ty == "PVinPVH" else 0


def shadow_mib(static_max_mib: int, vcpu_max: int, multiplier: float) -> int:
    """Memory for shadow or nested page tables, up to ``MAX_SHADOW_MIB``."""
    pages = 256 * vcpu_max + 2 * static_max_mib
    size = -(-pages // PAGES_PER_MIB) * multiplier
    return int(max(size, 1.0)) if size < MAX_SHADOW_MIB else MAX_SHADOW_MIB


def overhead_mib(ty: DomainType, static_max_mib: int, vcpu_max: int, multiplier: float) -> int:
    """Host memory a domain takes beyond what its guest sees."""
    internal = 0 if ty == "PV" else 1
    vcpus = -(-38 * vcpu_max // PAGES_PER_MIB)
    shadow = shadow_mib(static_max_mib, vcpu_max, multiplier)
    return internal + 1 + shadow + shim_mib(ty, static_max_mib) + vcpus


def overhead_bytes(vm: VmConfig) -> int:
    """``overhead_mib`` of a VM as it is configured."""
    static_max_mib = -(-vm.memory_static_max // MIB)
    return overhead_mib(vm.ty, static_max_mib, vm.vcpu_max, vm.shadow_multiplier) * MIB


def share_out(ranges: list[tuple[int, int]], available: int) -> list[int]:
    """Divide memory among guests so that all get the same share of their range.

    Each range is (minimum, maximum); a guest never gets less than its minimum,
    so the sum exceeds ``available`` when the minima do.
    """
    spare = available - sum(low for low, _ in ranges)
    span = sum(high - low for low, high in ranges)
    if span <= 0 or spare <= 0:
        return [low for low, _ in ranges]
    if spare >= span:
        return [high for _, high in ranges]
    return [low + (high - low) * spare // span for low, high in ranges]

"""Where a VM can run: the checks of one host in order, and the choice among hosts."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan import memory, sriov
from xapi_py.plan.operations.host import is_live
from xapi_py.plan.operations.vm import booleanish, features_key, is_hvm

Free = Callable[[View, Row, str], int]
"""Gives the bytes a host can promise to a VM (the last argument) that may be on it."""


@dataclass(frozen=True, slots=True)
class Checks:
    """Which of the optional checks apply; the defaults are those of a start."""

    cpu: bool = True
    storage: bool = True
    memory: bool = True
    pcpus: bool = True
    local_migration: bool = False


START = Checks()
POSSIBLE = Checks(cpu=False)


def sr_reachable(view: View, sr_ref: str, host_ref: str) -> bool:
    """Tell whether a PBD of the SR is plugged on the host."""
    sr = view.find("SR", sr_ref)
    if sr is None:
        return False
    for ref in sr.PBDs:
        pbd = view.find("PBD", ref)
        if pbd is not None and pbd.host == host_ref and pbd.currently_attached:
            return True
    return False


def required_srs(view: View, vm: Row) -> tuple[str, ...]:
    """List the SRs of the VM's disks, and of its suspend image, in device order."""
    vdis = [vbd.VDI for vbd in _rows(view, "VBD", vm.VBDs) if not vbd.empty]
    if vm.power_state == "Suspended":
        vdis.append(vm.suspend_VDI)
    srs: dict[str, None] = {}
    for vdi in _rows(view, "VDI", vdis):
        srs[vdi.SR] = None
    return tuple(srs)


def required_networks(view: View, vm: Row) -> tuple[str, ...]:
    """List the networks of the VM's VIFs."""
    return tuple(dict.fromkeys(vif.network for vif in _rows(view, "VIF", vm.VIFs)))


def _rows(view: View, cls: str, refs: Iterable[str]) -> Iterable[Row]:
    for ref in refs:
        row = view.find(cls, ref)
        if row is not None:
            yield row


def network_error(view: View, vm: Row, network_ref: str, host: Row) -> ApiError | None:
    """Tell why a network cannot be used from a host.

    Errors: VM_REQUIRES_NETWORK when it is not there, HOST_CANNOT_ATTACH_NETWORK
    when its NIC is a bond member.  Cost: the network's PIFs, or for a
    single-server network its VIFs.
    """
    network = view.find("network", network_ref)
    if network is None:
        return err.VM_REQUIRES_NETWORK(vm.ref, network_ref)
    if len(network.PIFs):
        for pif in _rows(view, "PIF", network.PIFs):
            if pif.host == host.ref:
                if pif.bond_slave_of not in ("", NULL_REF):
                    return err.HOST_CANNOT_ATTACH_NETWORK(host.ref, network_ref)
                return None
        return err.VM_REQUIRES_NETWORK(vm.ref, network_ref)
    if network.other_config.get("assume_network_is_shared") == "true" or not network.managed:
        return None
    elsewhere = False
    for vif in _rows(view, "VIF", network.VIFs):
        user = view.find("VM", vif.VM)
        if user is None or user.power_state not in ("Running", "Paused"):
            continue
        if user.resident_on == host.ref:
            return None
        elsewhere = elsewhere or user.resident_on not in ("", NULL_REF)
    return err.VM_REQUIRES_NETWORK(vm.ref, network_ref) if elsewhere else None


def _vcpu_error(vm: Row) -> ApiError | None:
    for name, value in (("VCPUs_max", vm.VCPUs_max), ("VCPUs_at_startup", vm.VCPUs_at_startup)):
        if value < 1:
            return err.INVALID_VALUE(name, str(value))
    if vm.VCPUs_at_startup > vm.VCPUs_max:
        return err.VALUE_NOT_SUPPORTED(
            "VCPUs_at_startup", str(vm.VCPUs_at_startup), f"value greater than {vm.VCPUs_max}"
        )
    return None


def _configuration_error(view: View, vm: Row) -> ApiError | None:
    """Check what depends on the VM alone, in order."""
    found = _vcpu_error(vm)
    if found is not None:
        return found
    try:
        memory.coerced_for_start(memory.limits_of(vm))
    except ApiError as error:
        return error
    if vm.HVM_shadow_multiplier < 1.0:
        return err.INVALID_VALUE("HVM_shadow_multiplier", format(vm.HVM_shadow_multiplier, ".15g"))
    crash = vm.actions_after_crash
    if crash == "rename_restart":
        return err.VALUE_NOT_SUPPORTED(
            "actions_after_crash", crash, "option is no longer supported"
        )
    if crash.startswith("coredump_") and is_hvm(view, vm):
        return err.VALUE_NOT_SUPPORTED(
            "actions_after_crash", crash, "crash dumps are not supported for this kind of VM"
        )
    return None


def _host_state_error(view: View, vm: Row, host: Row, local_migration: bool) -> ApiError | None:
    if not is_live(view, host):
        return err.HOST_NOT_LIVE()
    if vm.is_control_domain:
        if vm.affinity != host.ref:
            return err.OPERATION_NOT_ALLOWED(
                "Cannot boot a control domain on a host different from its affinity"
            )
    elif not host.enabled and not local_migration:
        return err.HOST_DISABLED(host.ref)
    versions = tuple(host.virtual_hardware_platform_versions)
    if vm.hardware_platform_version not in versions:
        return err.VM_HOST_INCOMPATIBLE_VIRTUAL_HARDWARE_PLATFORM_VERSION(
            host.ref,
            f"[{'; '.join(str(v) for v in versions)}]",
            vm.ref,
            str(vm.hardware_platform_version),
        )
    return None


_WORDS = re.compile(r"[0-9a-fA-F]{1,8}")


def featureset_words(text: str) -> tuple[int, ...]:
    """Read a feature string, hexadecimal words joined by dashes."""
    return tuple(int(word, 16) for word in _WORDS.findall(text))


def features_fit(wanted: str, offered: str) -> bool:
    """Tell whether every wanted feature bit is offered; missing words are zero."""
    need, have = featureset_words(wanted), featureset_words(offered)
    return all(word & ~(have[n] if n < len(have) else 0) == 0 for n, word in enumerate(need))


def cpu_error(view: View, vm: Row, host: Row) -> ApiError | None:
    """Check a VM that has booted against the host's processor.

    Errors: VM_INCOMPATIBLE_WITH_THIS_HOST.
    """
    flags: Mapping[str, str] = vm.last_boot_CPU_flags
    if vm.power_state == "Halted" or not flags:
        return None
    vendor = host.cpu_info.get("vendor", "")
    if flags.get("vendor", vendor) != vendor:
        return err.VM_INCOMPATIBLE_WITH_THIS_HOST(
            vm.ref, host.ref, "VM last booted on a CPU of a different vendor."
        )
    key = features_key(view, vm)
    if not features_fit(flags.get("features", ""), host.cpu_info.get(key, "")):
        return err.VM_INCOMPATIBLE_WITH_THIS_HOST(
            vm.ref, host.ref, "VM last booted on a CPU with features this host's CPU does not have."
        )
    return None


def _gpu_error(view: View, vm: Row, host: Row) -> ApiError | None:
    """Check that the host has a card for each virtual GPU."""
    for vgpu in _rows(view, "VGPU", vm.VGPUs):
        group = view.find("GPU_group", vgpu.GPU_group)
        kind = view.find("VGPU_type", vgpu.type)
        cards = [] if group is None else list(_rows(view, "PGPU", group.PGPUs))
        local = [card for card in cards if card.host == host.ref]
        if not local:
            return err.VM_REQUIRES_GPU(vm.ref, vgpu.GPU_group)
        if kind is not None and not any(kind.ref in card.enabled_VGPU_types for card in local):
            return err.VM_REQUIRES_VGPU(vm.ref, vgpu.GPU_group, vgpu.type)
    return None


def _device_error(view: View, vm: Row, host: Row, checks: Checks) -> ApiError | None:
    if checks.storage:
        for sr in required_srs(view, vm):
            if not sr_reachable(view, sr, host.ref):
                return err.VM_REQUIRES_SR(vm.ref, sr)
    for network in required_networks(view, vm):
        found = network_error(view, vm, network, host)
        if found is not None:
            return found
    passthrough = "pci" in vm.other_config or len(vm.VGPUs)
    if passthrough and host.chipset_info.get("iommu") != "true":
        return err.VM_REQUIRES_IOMMU(host.ref)
    return _gpu_error(view, vm, host) or sriov.capacity_error(view, vm, host.ref)


def host_cpus(host: Row) -> int:
    """Count the physical CPUs of a host."""
    text = host.cpu_info.get("cpu_count", "")
    return int(text) if text.isdecimal() else len(host.host_CPUs)


def _capacity_error(view: View, vm: Row, host: Row, free: Free, checks: Checks) -> ApiError | None:
    hvm = memory.domain_type_of(vm) != "pv"
    if hvm and not any("hvm" in word for word in host.capabilities):
        return err.VM_HVM_REQUIRED(vm.ref)
    if checks.memory:
        needed = memory.required_bytes(vm)
        available = free(view, host, vm.ref)
        if needed > available:
            return err.HOST_NOT_ENOUGH_FREE_MEMORY(str(needed), str(available))
    cpus = host_cpus(host)
    if (
        checks.pcpus
        and cpus
        and vm.VCPUs_max > cpus
        and not booleanish(vm.platform.get("vcpu-unrestricted"))
    ):
        return err.HOST_NOT_ENOUGH_PCPUS(str(vm.VCPUs_max), str(cpus))
    return None


def boot_error(
    view: View,
    vm: Row,
    host: Row,
    free: Free = memory.free_bytes,
    checks: Checks = START,
) -> ApiError | None:
    """Give the first reason why the VM cannot run on the host, or None.

    Order: configuration, host state, CPU, storage, networks, devices, HVM,
    memory, CPU count.  Source: brief of placement checks.
    """
    found = _configuration_error(view, vm) or _host_state_error(
        view, vm, host, checks.local_migration
    )
    if found is None and checks.cpu:
        found = cpu_error(view, vm, host)
    return (
        found
        or _device_error(view, vm, host, checks)
        or _capacity_error(view, vm, host, free, checks)
    )


def assert_can_boot_here(
    view: View, vm: Row, host: Row, free: Free = memory.free_bytes, checks: Checks = START
) -> None:
    """Raise what ``boot_error`` finds."""
    error = boot_error(view, vm, host, free, checks)
    if error is not None:
        raise error


def possible_hosts(
    view: View, vm: Row, free: Free = memory.free_bytes, checks: Checks = POSSIBLE
) -> tuple[str, ...]:
    """List the hosts where the VM could run; cost is hosts times their VMs."""
    return tuple(
        host.ref for host in view.rows("host") if boot_error(view, vm, host, free, checks) is None
    )


def reasons(view: View, vm: Row, free: Free = memory.free_bytes) -> dict[str, tuple[str, ...]]:
    """Map each host to the error description against it, () where none."""
    found: dict[str, tuple[str, ...]] = {}
    for host in view.rows("host"):
        error = boot_error(view, vm, host, free)
        found[host.ref] = () if error is None else tuple(error.description)
    return found


def weighted_index(weights: Sequence[float], point: float) -> int:
    """Pick an index in proportion to the weights; ``point`` is in [0, 1).

    All-zero weights pick evenly.
    """
    total = sum(weights)
    if total <= 0:
        return min(int(point * len(weights)), len(weights) - 1)
    target = point * total
    for index, weight in enumerate(weights):
        target -= weight
        if target < 0:
            return index
    return len(weights) - 1


def choose_host(
    view: View,
    vm: Row,
    point: float,
    free: Free = memory.free_bytes,
    checks: Checks = START,
) -> str:
    """Choose the host of a start: its affinity if that works, else by free memory.

    ``point`` is a random number in [0, 1).  Hosts being evacuated are skipped.
    When none passes, the choice is repeated without the memory check.
    Errors: NO_HOSTS_AVAILABLE.
    """
    relaxed = Checks(checks.cpu, checks.storage, False, checks.pcpus, checks.local_migration)
    hosts = [h for h in view.rows("host") if "evacuate" not in h.current_operations.values()]
    for attempt in (checks, relaxed):
        fit = [h for h in hosts if boot_error(view, vm, h, free, attempt) is None]
        if not fit:
            continue
        if any(h.ref == vm.affinity for h in fit):
            return str(vm.affinity)
        if len(fit) == 1:
            return str(fit[0].ref)
        weights = [float(free(view, h, vm.ref)) for h in fit]
        if coordinator_bias(view) and len(fit) > 1:
            master = next(iter(view.rows("pool"))).master
            weights = [w / 4 if h.ref == master else w for h, w in zip(fit, weights, strict=True)]
        return str(fit[weighted_index(weights, point)].ref)
    raise err.NO_HOSTS_AVAILABLE()


def coordinator_bias(view: View) -> bool:
    """Tell whether the pool prefers other hosts to its coordinator."""
    return any(pool.coordinator_bias for pool in view.rows("pool"))


def agility_error(view: View, vm: Row) -> ApiError | None:
    """Tell why a VM cannot move freely: SRs and networks every host must share.

    Errors: HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED, ..._NETWORK_NOT_SHARED,
    VM_HAS_PCI_ATTACHED for passed-through devices.
    """
    hosts = view.refs("host")
    for ref in required_srs(view, vm):
        sr = view.find("SR", ref)
        if sr is None or not sr.shared or not all(sr_reachable(view, ref, h) for h in hosts):
            return err.HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED(ref)
    for ref in required_networks(view, vm):
        network = view.find("network", ref)
        pifs = [] if network is None else list(_rows(view, "PIF", network.PIFs))
        if len(hosts) > 1 and not {p.host for p in pifs} >= set(hosts):
            return err.HA_CONSTRAINT_VIOLATION_NETWORK_NOT_SHARED(ref)
    if len(vm.VGPUs) or len(vm.attached_PCIs):
        return err.VM_HAS_PCI_ATTACHED(vm.ref)
    return None

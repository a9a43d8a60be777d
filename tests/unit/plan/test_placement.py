"""Placement: the order of checks on a host and the choice among hosts."""

from typing import Any

import pytest

from tests.unit.plan.factories import DictView, make_host, make_vm
from xapi_py.base.errors import ApiError
from xapi_py.plan import placement
from xapi_py.plan.placement import Checks

MIB = 1 << 20


def code(view: DictView, vm: Any, host: Any, **checks: bool) -> str | None:
    error = placement.boot_error(view, vm, host, checks=Checks(**checks))
    return error.code if error else None


def test_plain_vm_fits() -> None:
    view = DictView()
    assert code(view, make_vm(view), make_host(view)) is None


@pytest.mark.parametrize(
    ("vm_values", "host_values", "expected"),
    [
        ({"VCPUs_max": 0}, {}, "INVALID_VALUE"),
        ({"VCPUs_at_startup": 9}, {}, "VALUE_NOT_SUPPORTED"),
        ({"memory_static_min": 1 << 40}, {}, "MEMORY_CONSTRAINT_VIOLATION"),
        ({"HVM_shadow_multiplier": 0.5}, {}, "INVALID_VALUE"),
        ({"actions_after_crash": "coredump_and_restart"}, {}, "VALUE_NOT_SUPPORTED"),
        ({"actions_after_crash": "rename_restart"}, {}, "VALUE_NOT_SUPPORTED"),
        ({}, {"live": False, "enabled": False}, "HOST_NOT_LIVE"),
        ({}, {"enabled": False}, "HOST_DISABLED"),
        ({"hardware_platform_version": 9}, {},
         "VM_HOST_INCOMPATIBLE_VIRTUAL_HARDWARE_PLATFORM_VERSION"),
        ({"other_config": {"pci": "0/0000:00:1f.0"}}, {"chipset_info": {}}, "VM_REQUIRES_IOMMU"),
        ({}, {"capabilities": ("xen-3.0-x86_64",)}, "VM_HVM_REQUIRED"),
        ({}, {"memory_total": 100 * MIB}, "HOST_NOT_ENOUGH_FREE_MEMORY"),
        ({"VCPUs_max": 8}, {}, "HOST_NOT_ENOUGH_PCPUS"),
        ({"VCPUs_max": 8, "platform": {"vcpu-unrestricted": "true"}}, {}, None),
    ],
)  # fmt: skip
def test_refusals(
    vm_values: dict[str, Any], host_values: dict[str, Any], expected: str | None
) -> None:
    view = DictView()
    host = make_host(view, **host_values)
    assert code(view, make_vm(view, **vm_values), host) == expected


def test_configuration_is_reported_before_the_host() -> None:
    view = DictView()
    host = make_host(view, live=False)
    assert code(view, make_vm(view, VCPUs_max=0), host) == "INVALID_VALUE"


def test_platform_version_error_prints_the_list() -> None:
    view = DictView()
    host, vm = make_host(view), make_vm(view, hardware_platform_version=9)
    error = placement.boot_error(view, vm, host)
    assert error is not None
    assert error.params == (host.ref, "[0; 1; 2]", vm.ref, "9")


def test_storage_must_be_plugged_on_the_host() -> None:
    view = DictView()
    host, vm = make_host(view), make_vm(view)
    sr = view.add("SR")
    vdi = view.add("VDI", SR=sr.ref)
    view.add("VBD", VM=vm.ref, VDI=vdi.ref)
    error = placement.boot_error(view, vm, host)
    assert error is not None and error.description == ["VM_REQUIRES_SR", vm.ref, sr.ref]
    assert code(view, vm, host, storage=False) is None
    view.add("PBD", SR=sr.ref, host=host.ref, currently_attached=True)
    assert code(view, vm, host) is None


def test_network_with_nics_elsewhere_or_in_a_bond() -> None:
    view = DictView()
    host, other, vm = make_host(view), make_host(view), make_vm(view)
    network = view.add("network", managed=True)
    view.add("VIF", VM=vm.ref, network=network.ref)
    assert code(view, vm, host) is None
    view.add("PIF", network=network.ref, host=other.ref)
    assert code(view, vm, host) == "VM_REQUIRES_NETWORK"
    bond = view.add("Bond")
    view.add("PIF", network=network.ref, host=host.ref, bond_slave_of=bond.ref)
    assert code(view, vm, host) == "HOST_CANNOT_ATTACH_NETWORK"


def test_private_network_ties_to_where_it_is_in_use() -> None:
    view = DictView()
    host, other, vm = make_host(view), make_host(view), make_vm(view)
    network = view.add("network", managed=True)
    view.add("VIF", VM=vm.ref, network=network.ref)
    user = make_vm(view, power_state="Running", resident_on=other.ref)
    view.add("VIF", VM=user.ref, network=network.ref)
    assert code(view, vm, host) == "VM_REQUIRES_NETWORK"
    assert code(view, vm, other) is None
    network.other_config = {"assume_network_is_shared": "true"}
    assert code(view, vm, host) is None


def test_booted_vm_needs_the_cpu_features_it_saw() -> None:
    view = DictView()
    host = make_host(view, cpu_info={"vendor": "GenuineIntel", "features_hvm": "f-1"})
    flags = {"vendor": "GenuineIntel", "features": "3-1-0"}
    vm = make_vm(view, power_state="Suspended", last_boot_CPU_flags=flags)
    assert code(view, vm, host, cpu=True) is None
    vm.last_boot_CPU_flags = {**flags, "features": "10-1"}
    assert code(view, vm, host, cpu=True) == "VM_INCOMPATIBLE_WITH_THIS_HOST"
    assert code(view, vm, host, cpu=False) is None


def test_choice_prefers_affinity_then_skips_what_evacuates() -> None:
    view = DictView()
    first, second = make_host(view), make_host(view)
    vm = make_vm(view, affinity=second.ref)
    assert placement.choose_host(view, vm, 0.0) == second.ref
    second.current_operations = {"OpaqueRef:t": "evacuate"}
    assert placement.choose_host(view, vm, 0.99) == first.ref


def test_choice_relaxes_memory_before_giving_up() -> None:
    view = DictView()
    host = make_host(view, memory_total=MIB)
    vm = make_vm(view)
    assert placement.choose_host(view, vm, 0.5) == host.ref
    host.enabled = False
    with pytest.raises(ApiError) as caught:
        placement.choose_host(view, vm, 0.5)
    assert caught.value.description == ["NO_HOSTS_AVAILABLE"]


def test_promised_memory_turns_the_next_start_away() -> None:
    view = DictView()
    host = make_host(view, memory_total=700 * MIB)
    vm = make_vm(view)
    assert code(view, vm, host) is None
    error = placement.boot_error(view, vm, host, lambda *_: (700 - 512) * MIB)
    assert error is not None
    needed = 512 * MIB + 9 * MIB
    assert error.params == (str(needed), str(700 * MIB - 512 * MIB))


def test_possible_hosts_and_reasons() -> None:
    view = DictView()
    good, bad = make_host(view), make_host(view, enabled=False)
    vm = make_vm(view)
    assert placement.possible_hosts(view, vm) == (good.ref,)
    assert placement.reasons(view, vm) == {good.ref: (), bad.ref: ("HOST_DISABLED", bad.ref)}


@pytest.mark.parametrize(("point", "index"), [(0.0, 0), (0.24, 0), (0.26, 1), (0.999, 1)])
def test_weights(point: float, index: int) -> None:
    assert placement.weighted_index([1.0, 3.0], point) == index
    assert placement.weighted_index([0.0, 0.0], point) in (0, 1)


def test_machine_is_agile_when_every_host_shares_its_networks() -> None:
    view = DictView()
    first, second, vm = make_host(view), make_host(view), make_vm(view)
    network = view.add("network", managed=True)
    view.add("VIF", VM=vm.ref, network=network.ref)
    view.add("PIF", network=network.ref, host=first.ref)
    error = placement.agility_error(view, vm)
    assert error is not None
    assert error.description == ["HA_CONSTRAINT_VIOLATION_NETWORK_NOT_SHARED", network.ref]
    view.add("PIF", network=network.ref, host=second.ref)
    assert placement.agility_error(view, vm) is None

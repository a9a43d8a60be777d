"""The rules as derived fields of the real database: fresh after each change."""

import pytest

from xapi_py.db.derived import Derived
from xapi_py.db.dict_view import DictView
from xapi_py.plan.operations.table import OPERATIONS


@pytest.fixture
def view() -> DictView:
    database = DictView()
    for cls, rules in OPERATIONS.items():
        database.derive(Derived(cls, "allowed_operations", rules.depends, rules.allowed))
    return database


def test_power_state_reaches_the_vm_its_devices_and_its_appliance(view: DictView) -> None:
    appliance = view.add("VM_appliance")
    vm = view.add("VM", domain_type="pv", appliance=appliance.ref, power_state="Halted", domid=-1)
    network = view.add("network")
    vif = view.add("VIF", VM=vm.ref, network=network.ref, device="0")
    sr = view.add("SR", type="nfs")
    vdi = view.add("VDI", SR=sr.ref, managed=True)
    vbd = view.add("VBD", VM=vm.ref, VDI=vdi.ref, type="Disk", mode="RW", unpluggable=True)
    assert "start" in vm.allowed_operations
    assert vbd.allowed_operations == ("attach",)
    assert vif.allowed_operations == ("attach",)
    assert appliance.allowed_operations == ("start",)

    view.change(vm, power_state="Running")
    assert "clean_shutdown" in vm.allowed_operations
    assert "plug" in vbd.allowed_operations
    assert vif.allowed_operations == ("attach", "plug")
    assert "start" not in appliance.allowed_operations

    view.change(vbd, currently_attached=True)
    assert "unplug" in vbd.allowed_operations
    assert "copy" not in vdi.allowed_operations

    view.change(vm, current_operations={"OpaqueRef:t": "clean_shutdown"})
    assert vm.allowed_operations == ("hard_reboot", "hard_shutdown")
    assert "plug" not in vif.allowed_operations


def test_disks_that_reset_reach_the_vm(view: DictView) -> None:
    vm = view.add("VM", domain_type="hvm", HVM_boot_policy="BIOS order", power_state="Halted")
    sr = view.add("SR")
    vdi = view.add("VDI", SR=sr.ref, managed=True, on_boot="persist")
    vbd = view.add("VBD", VM=vm.ref, VDI=vdi.ref, type="Disk")
    assert "snapshot" in vm.allowed_operations
    view.change(vdi, on_boot="reset")
    assert "snapshot" not in vm.allowed_operations
    view.remove(vbd)
    assert "snapshot" in vm.allowed_operations


def test_plugging_an_sr_takes_forget_away(view: DictView) -> None:
    sr, host = view.add("SR", type="nfs"), view.add("host")
    assert "forget" in sr.allowed_operations
    pbd = view.add("PBD", SR=sr.ref, host=host.ref, currently_attached=True)
    assert "forget" not in sr.allowed_operations
    view.change(pbd, currently_attached=False)
    assert "forget" in sr.allowed_operations
    assert "destroy" in sr.allowed_operations


def test_every_template_change_is_seen(view: DictView) -> None:
    vm = view.add("VM", is_a_template=True, power_state="Halted")
    assert "provision" in vm.allowed_operations
    view.change(vm, is_a_template=False)
    assert "start" in vm.allowed_operations
    assert "provision" not in vm.allowed_operations

"""Operations of VBDs, VIFs, VDIs, SRs, hosts, pools, appliances and tasks."""

from typing import Any

import pytest

from tests.unit.plan.factories import DictView, make_host, make_vm
from xapi_py.plan.operations import host, pool, sr, task, vbd, vdi, vif, vm_appliance

FILE_SET = [
    "SR_PROBE",
    "SR_UPDATE",
    "VDI_CREATE",
    "VDI_DELETE",
    "VDI_CLONE",
    "VDI_SNAPSHOT",
    "VDI_RESIZE",
    "VDI_MIRROR",
    "VDI_GENERATE_CONFIG",
    "VDI_RESET_ON_BOOT",
    "VDI_CONFIG_CBT",
    "VDI_UPDATE",
]  # noqa: SIM905


def with_storage(view: DictView) -> Any:
    view.add("SM", type="nfs", features=dict.fromkeys(FILE_SET, 1))
    return view.add("SR", type="nfs")


def make_vbd(view: DictView, vm: Any, **values: Any) -> Any:
    base = {"userdevice": "0", "mode": "RW", "type": "Disk", "unpluggable": True, "VM": vm.ref}
    return view.add("VBD", **{**base, **values})


def make_vdi(view: DictView, **values: Any) -> Any:
    storage = with_storage(view)
    base = {"managed": True, "type": "user", "on_boot": "persist", "SR": storage.ref}
    return view.add("VDI", **{**base, **values})


def codes(error: Any) -> str | None:
    return error.code if error is not None else None


def test_empty_drive_of_halted_vm_offers_insert() -> None:
    view = DictView()
    drive = make_vbd(view, make_vm(view), type="CD", mode="RO", empty=True)
    assert set(vbd.allowed(view, drive)) == {"attach", "insert"}


def test_disk_of_halted_vm_offers_attach_only() -> None:
    view = DictView()
    disk = make_vbd(view, make_vm(view), VDI=make_vdi(view).ref)
    assert vbd.allowed(view, disk) == ("attach",)


def test_attached_disk_of_live_pv_vm() -> None:
    view = DictView()
    vm = make_vm(view, power_state="Running", domain_type="pv", HVM_boot_policy="")
    disk = make_vbd(view, vm, VDI=make_vdi(view).ref, currently_attached=True)
    assert set(vbd.allowed(view, disk)) == {"attach", "unplug", "unplug_force", "pause", "unpause"}
    error = vbd.error_for(view, disk, "plug")
    assert error is not None and error.description == ["DEVICE_ALREADY_ATTACHED", disk.ref]


@pytest.mark.parametrize(
    ("guest", "expected"),
    [
        (None, "VM_MISSING_PV_DRIVERS"),
        ({"can_use_hotplug_vbd": "no", "can_use_hotplug_vif": "no"}, "OPERATION_NOT_ALLOWED"),
        ({"can_use_hotplug_vbd": "yes", "can_use_hotplug_vif": "yes"}, None),
        ({"PV_drivers_detected": True}, None),
    ],
)
def test_hotplug_of_hvm_depends_on_the_guest(
    guest: dict[str, Any] | None, expected: str | None
) -> None:
    view = DictView()
    vm = make_vm(view, power_state="Running")
    if guest is not None:
        vm.guest_metrics = view.add("VM_guest_metrics", **guest).ref
    disk = make_vbd(view, vm, VDI=make_vdi(view).ref)
    network = view.add("network")
    card = view.add("VIF", VM=vm.ref, network=network.ref)
    assert codes(vbd.error_for(view, disk, "plug")) == expected
    assert codes(vif.error_for(view, card, "plug")) == expected


def test_sharing_rules() -> None:
    view = DictView()
    disk = make_vdi(view)
    other_vm = make_vm(view, power_state="Running")
    other = make_vbd(view, other_vm, VDI=disk.ref, currently_attached=True)
    mine = make_vbd(view, make_vm(view), VDI=disk.ref)
    assert codes(vbd.error_for(view, mine, "attach")) == "VDI_IN_USE"
    other.mode = mine.mode = "RO"
    assert vbd.error_for(view, mine, "attach") is None
    mine.mode = "RW"
    assert codes(vbd.error_for(view, mine, "attach")) == "VDI_IN_USE"
    other_vm.power_state = "Suspended"
    assert vbd.error_for(view, mine, "attach") is None
    disk.read_only = True
    assert codes(vbd.error_for(view, mine, "attach")) == "VDI_READONLY"


def test_vif_of_halted_vm() -> None:
    view = DictView()
    vm = make_vm(view)
    card = view.add("VIF", VM=vm.ref, network=view.add("network").ref)
    assert vif.allowed(view, card) == ("attach",)
    error = vif.error_for(view, card, "plug")
    assert error is not None
    assert error.description == ["VM_BAD_POWER_STATE", vm.ref, "running", "halted"]


def test_busy_device_refuses_everything() -> None:
    view = DictView()
    vm = make_vm(view)
    current = {"OpaqueRef:t": "attach"}
    card = view.add("VIF", VM=vm.ref, network=view.add("network").ref, current_operations=current)
    assert vif.allowed(view, card) == ()
    error = vif.error_for(view, card, "plug")
    assert error is not None
    assert error.description == [
        "OTHER_OPERATION_IN_PROGRESS", "VIF", card.ref, "attach", "OpaqueRef:t",
    ]  # fmt: skip


def test_vdi_attached_for_writing() -> None:
    view = DictView()
    disk = make_vdi(view)
    vm = make_vm(view, power_state="Running")
    make_vbd(view, vm, VDI=disk.ref, currently_attached=True)
    error = vdi.error_for(view, disk, "destroy")
    assert error is not None and error.description == ["VDI_IN_USE", disk.ref, "destroy"]
    offered = vdi.allowed(view, disk)
    assert "snapshot" in offered
    assert "copy" not in offered


@pytest.mark.parametrize(
    ("values", "op", "expected"),
    [
        ({"managed": False}, "snapshot", "VDI_NOT_MANAGED"),
        ({"sharable": True}, "snapshot", "VDI_IS_SHARABLE"),
        ({"on_boot": "reset"}, "snapshot", "VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"),
        ({"type": "cbt_metadata"}, "clone", "VDI_INCOMPATIBLE_TYPE"),
        ({"cbt_enabled": True}, "mirror", "VDI_CBT_ENABLED"),
        ({"is_a_snapshot": True}, "data_destroy", "VDI_NO_CBT_METADATA"),
        ({}, "data_destroy", "OPERATION_NOT_ALLOWED"),
        ({"type": "rrd"}, "destroy", "VDI_HAS_RRDS"),
        ({}, "resize_online", "SR_OPERATION_NOT_SUPPORTED"),
        ({"current_operations": {"t": "copy"}}, "copy", None),
        ({"current_operations": {"t": "copy"}}, "destroy", "OTHER_OPERATION_IN_PROGRESS"),
        ({"current_operations": {"t": "mirror"}}, "snapshot", None),
    ],
)
def test_vdi_refusals(values: dict[str, Any], op: str, expected: str | None) -> None:
    view = DictView()
    assert codes(vdi.error_for(view, make_vdi(view, **values), op)) == expected


def test_sr_of_unknown_driver_without_pbd_lists_what_was_recorded() -> None:
    view = DictView()
    storage = view.add("SR", type="nosuchtype")
    assert set(sr.allowed(view, storage)) == {
        "unplug", "plug", "pbd_create", "pbd_destroy", "forget", "vdi_clone", "scan",
    }  # fmt: skip


def test_plugged_sr_cannot_go_away() -> None:
    view = DictView()
    storage = with_storage(view)
    plug = view.add("PBD", SR=storage.ref, host=make_host(view).ref, currently_attached=True)
    assert codes(sr.error_for(view, storage, "forget")) == "SR_HAS_PBD"
    plug.currently_attached = False
    assert sr.error_for(view, storage, "destroy") is None
    view.add("VDI", SR=storage.ref, managed=True, type="user")
    assert codes(sr.error_for(view, storage, "destroy")) == "SR_NOT_EMPTY"


def test_sr_runs_disk_work_in_parallel_and_names_it_dotted() -> None:
    view = DictView()
    storage = with_storage(view)
    storage.current_operations = {"OpaqueRef:t": "vdi_create"}
    assert sr.error_for(view, storage, "vdi_destroy") is None
    error = sr.error_for(view, storage, "scan")
    assert error is not None
    assert error.params == ("SR", storage.ref, "VDI.create", "OpaqueRef:t")


def test_enabled_host_lists_what_was_recorded() -> None:
    view = DictView()
    server = make_host(view)
    assert set(host.allowed(view, server)) == {
        "vm_migrate", "provision", "vm_resume", "apply_updates", "enable", "reboot", "evacuate",
        "vm_start", "shutdown",
    }  # fmt: skip
    assert codes(host.error_for(view, server, "power_on")) == "HOST_IS_LIVE"


def test_host_arrivals_exclude_departures() -> None:
    view = DictView()
    server = make_host(view, current_operations={"OpaqueRef:t": "evacuate"})
    error = host.error_for(view, server, "vm_migrate")
    assert error is not None
    assert error.params == ("host", server.ref, "evacuate", "OpaqueRef:t")
    assert host.error_for(view, server, "vm_start") is None
    server.current_operations = {"OpaqueRef:t": "vm_migrate"}
    error = host.error_for(view, server, "evacuate")
    assert error is not None and error.params[2] == "VM.migrate"


def test_host_leaves_only_disabled_and_empty() -> None:
    view = DictView()
    server = make_host(view)
    assert codes(host.leave_error(view, server)) == "HOST_NOT_DISABLED"
    server.enabled = False
    dom0 = make_vm(view, is_control_domain=True, power_state="Running", resident_on=server.ref)
    assert host.leave_error(view, server) is None
    disk = make_vbd(view, dom0, currently_attached=True)
    error = host.leave_error(view, server)
    assert error is not None and error.description == ["HOST_IN_USE", server.ref, "vbd", disk.ref]
    guest = make_vm(view, power_state="Running", resident_on=server.ref)
    disk.currently_attached = False
    error = host.leave_error(view, server)
    assert error is not None and error.description == ["HOST_IN_USE", server.ref, "vm", guest.ref]


def test_pool_without_ha_lists_everything_but_disabling_it() -> None:
    view = DictView()
    row = view.add("pool")
    assert set(pool.allowed(view, row)) == set(pool.ALL_OPERATIONS) - {"ha_disable"}
    assert codes(pool.error_for(view, row, "ha_disable")) == "HA_NOT_ENABLED"


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], ()),
        (["Halted", "Halted"], ("start",)),
        (["Running"], ("clean_shutdown", "hard_shutdown", "shutdown")),
        (["Halted", "Suspended"], ("start", "hard_shutdown", "shutdown")),
    ],
)
def test_appliance(states: list[str], expected: tuple[str, ...]) -> None:
    view = DictView()
    row = view.add("VM_appliance")
    for state in states:
        make_vm(view, power_state=state, appliance=row.ref)
    assert vm_appliance.allowed(view, row) == expected


def test_task_is_cancellable_while_pending_only() -> None:
    view = DictView()
    row = view.add("task", name_label="Async.VM.copy", status="pending")
    assert task.allowed(view, row) == ("cancel",)
    row.status = "success"
    assert task.allowed(view, row) == ()
    assert codes(task.error_for(view, row, "cancel")) == "OPERATION_NOT_ALLOWED"
    assert task.error_for(view, row, "destroy") is None


@pytest.mark.parametrize("state", ["Halted", "Paused", "Running", "Suspended"])
@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("current", [{}, {"OpaqueRef:t": "pause"}])
@pytest.mark.parametrize("kind", ["CD", "Disk"])
def test_allowed_agrees_with_error_for(
    state: str, attached: bool, current: dict[str, str], kind: str
) -> None:
    view = DictView()
    vm = make_vm(view, power_state=state, domain_type="pv", HVM_boot_policy="")
    values = {"currently_attached": attached, "current_operations": current, "VM": vm.ref}
    drive = make_vbd(view, vm, **{**values, "type": kind, "mode": "RO", "empty": kind == "CD"})
    card = view.add("VIF", network=view.add("network").ref, **{**values, "current_operations": {}})
    for rules, row in ((vbd, drive), (vif, card)):
        expected = [op for op in rules.ALL_OPERATIONS if rules.error_for(view, row, op) is None]
        assert list(rules.allowed(view, row)) == expected

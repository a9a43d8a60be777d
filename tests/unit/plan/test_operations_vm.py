"""VM operations: what recorded servers list and refuse, and in which order."""

from typing import Any

import pytest

from tests.unit.plan.factories import DictView, make_vm
from xapi_py.plan.operations import vm as rules
from xapi_py.plan.operations.vm_tables import ALL_OPERATIONS, UNLISTED

HALTED = [
    "create_vtpm", "destroy", "metadata_export", "export", "make_into_template", "changing_NVRAM",
    "changing_shadow_memory", "changing_static_range", "changing_dynamic_range", "migrate_send",
    "start_on", "start", "copy", "clone", "snapshot",
]  # fmt: skip
TEMPLATE = [
    "destroy", "metadata_export", "export", "changing_NVRAM", "changing_shadow_memory",
    "changing_static_range", "changing_dynamic_range", "migrate_send", "provision", "copy", "clone",
]  # fmt: skip
SNAPSHOT = ["destroy", "metadata_export", "export", "revert", "copy", "clone"]
RUNNING_NO_AGENT = [
    "sysprep", "metadata_export", "changing_dynamic_range", "hard_reboot", "hard_shutdown",
    "pause", "snapshot",
]  # fmt: skip
DOM0 = ["metadata_export", "changing_static_range", "changing_dynamic_range"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, HALTED),
        ({"is_a_template": True}, TEMPLATE),
        ({"is_a_template": True, "is_a_snapshot": True}, SNAPSHOT),
        ({"power_state": "Running"}, RUNNING_NO_AGENT),
        ({"power_state": "Running", "is_control_domain": True, "domid": 0}, DOM0),
        (
            {"is_a_template": True, "is_default_template": True},
            [op for op in TEMPLATE if op not in ("destroy", "migrate_send")],
        ),
        (
            {"is_a_template": True, "other_config": {"default_template": "true"}},
            [op for op in TEMPLATE if op not in ("destroy", "migrate_send")],
        ),
        ({"blocked_operations": {"start": "x", "destroy": ""}},
         [op for op in HALTED if op not in ("start", "destroy")]),
    ],
)  # fmt: skip
def test_allowed_matches_recorded_lists(values: dict[str, Any], expected: list[str]) -> None:
    view = DictView()
    vm = make_vm(view, **values)
    assert list(rules.allowed(view, vm)) == expected


def test_live_guest_with_drivers_offers_clean_operations_and_migration() -> None:
    view = DictView()
    guest = view.add("VM_guest_metrics", PV_drivers_version={"major": "9", "minor": "1"})
    vm = make_vm(view, power_state="Running", guest_metrics=guest.ref)
    assert set(rules.allowed(view, vm)) == {
        *RUNNING_NO_AGENT, "clean_shutdown", "clean_reboot", "suspend", "checkpoint",
        "pool_migrate", "migrate_send", "changing_VCPUs_live",
    }  # fmt: skip


def test_live_pv_guest_needs_no_features() -> None:
    view = DictView()
    vm = make_vm(view, power_state="Running", domain_type="pv", HVM_boot_policy="")
    assert "clean_shutdown" in rules.allowed(view, vm)


def test_agent_features_unlock_only_what_they_name() -> None:
    view = DictView()
    guest = view.add("VM_guest_metrics", other={"feature-poweroff": "1"})
    vm = make_vm(view, power_state="Running", guest_metrics=guest.ref)
    offered = rules.allowed(view, vm)
    assert "clean_shutdown" in offered
    assert "clean_reboot" not in offered
    assert "suspend" not in offered


def test_reason_against_suspend_is_passed_on() -> None:
    view = DictView()
    guest = view.add("VM_guest_metrics", other={"data-cant-suspend-reason": "xhci"})
    vm = make_vm(view, power_state="Running", guest_metrics=guest.ref)
    error = rules.error_for(view, vm, "suspend")
    assert error is not None
    assert error.description == ["VM_NON_SUSPENDABLE", vm.ref, "xhci"]


@pytest.mark.parametrize(
    ("values", "op", "expected"),
    [
        ({}, "pause", ["VM_BAD_POWER_STATE", "REF", "running", "halted"]),
        ({}, "unpause", ["VM_BAD_POWER_STATE", "REF", "paused", "halted"]),
        ({}, "hard_reboot", ["VM_BAD_POWER_STATE", "REF", "paused, running", "halted"]),
        ({}, "hard_shutdown",
         ["VM_BAD_POWER_STATE", "REF", "paused, suspended, running", "halted"]),
        ({}, "shutdown", ["VM_BAD_POWER_STATE", "REF", "paused, suspended, running", "halted"]),
        ({}, "checkpoint", ["VM_BAD_POWER_STATE", "REF", "paused, suspended, running", "halted"]),
        ({}, "resume_on", ["VM_BAD_POWER_STATE", "REF", "suspended", "halted"]),
        ({"power_state": "Running"}, "destroy",
         ["VM_BAD_POWER_STATE", "REF", "halted, suspended", "running"]),
        ({"power_state": "Running"}, "clone", ["VM_BAD_POWER_STATE", "REF", "halted", "running"]),
        ({"power_state": "Running"}, "provision",
         ["VM_BAD_POWER_STATE", "REF", "halted", "running"]),
        ({"is_a_template": True}, "start", ["VM_IS_TEMPLATE", "REF", "start"]),
        ({"is_a_template": True}, "resume", ["VM_BAD_POWER_STATE", "REF", "suspended", "halted"]),
        ({"is_a_template": True, "is_default_template": True}, "destroy",
         ["VM_IS_TEMPLATE", "REF", "destroy"]),
        ({"is_a_snapshot": True, "is_a_template": True}, "snapshot",
         ["VM_IS_SNAPSHOT", "REF", "snapshot"]),
        ({}, "provision", ["PROVISION_ONLY_ALLOWED_ON_TEMPLATE"]),
        ({"power_state": "Running"}, "clean_shutdown", ["VM_LACKS_FEATURE_SHUTDOWN", "REF"]),
        ({"power_state": "Running"}, "changing_VCPUs_live",
         ["VM_LACKS_FEATURE_VCPU_HOTPLUG", "REF"]),
        ({"blocked_operations": {"start": "not now"}}, "start",
         ["OPERATION_BLOCKED", "REF", "not now"]),
        ({"blocked_operations": {"pause": "p"}}, "pause", ["OPERATION_BLOCKED", "REF", "p"]),
        ({"current_operations": {"OpaqueRef:t": "start"}}, "start",
         ["OTHER_OPERATION_IN_PROGRESS", "VM", "REF", "start", "OpaqueRef:t"]),
        ({"current_operations": {"T1": "clone", "T2": "data_source_op"}}, "destroy",
         ["OTHER_OPERATION_IN_PROGRESS", "VM", "REF", "{clone,data_sources_op}", "{T1,T2}"]),
        ({"platform": {"nested-virt": "1"}}, "changing_dynamic_range",
         ["VM_IS_USING_NESTED_VIRT", "REF"]),
        ({"platform": {"nomigrate": "TRUE"}}, "migrate_send", ["VM_IS_IMMOBILE", "REF"]),
        ({"appliance": "OpaqueRef:a"}, "make_into_template",
         ["VM_IS_PART_OF_AN_APPLIANCE", "REF", "OpaqueRef:a"]),
        ({}, "query_services", ["NOT_SYSTEM_DOMAIN", "REF"]),
    ],
)  # fmt: skip
def test_first_failing_check_is_reported(
    values: dict[str, Any], op: str, expected: list[str]
) -> None:
    view = DictView()
    if "appliance" in values:
        appliance = view.add("VM_appliance")
        values = {"appliance": appliance.ref}
        expected = [*expected[:2], appliance.ref]
    vm = make_vm(view, **values)
    error = rules.error_for(view, vm, op)
    assert error is not None
    assert error.description == [vm.ref if p == "REF" else p for p in expected]


@pytest.mark.parametrize(
    ("op", "running", "ok"),
    [
        ("clone", ["copy", "export"], True),
        ("clone", ["start"], False),
        ("checkpoint", ["snapshot"], True),
        ("hard_shutdown", ["clean_shutdown", "hard_reboot"], True),
        ("hard_shutdown", ["hard_shutdown"], False),
        ("hard_reboot", ["hard_shutdown"], False),
        ("metadata_export", ["migrate_send"], True),
        ("snapshot", ["migrate_send"], False),
        ("get_boot_record", ["get_boot_record"], True),
    ],
)
def test_concurrency(op: str, running: list[str], ok: bool) -> None:
    view = DictView()
    current = {f"OpaqueRef:{n}": name for n, name in enumerate(running)}
    state = "Halted" if op == "clone" else "Running"
    vm = make_vm(
        view, power_state=state, domain_type="pv", HVM_boot_policy="", current_operations=current
    )
    assert (rules.error_for(view, vm, op) is None) is ok


def test_own_task_does_not_stand_in_the_way() -> None:
    view = DictView()
    vm = make_vm(view, current_operations={"OpaqueRef:mine": "start"})
    assert rules.error_for(view, vm, "start", task="OpaqueRef:mine") is None


def test_disk_that_resets_blocks_snapshot_but_not_start() -> None:
    view = DictView()
    vm = make_vm(view)
    vdi = view.add("VDI", on_boot="reset")
    view.add("VBD", VM=vm.ref, VDI=vdi.ref)
    error = rules.error_for(view, vm, "snapshot")
    assert error is not None and error.code == "VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"
    assert rules.error_for(view, vm, "start") is None
    assert "snapshot" not in rules.allowed(view, vm)


def test_forced_call_skips_mobility_and_features() -> None:
    view = DictView()
    vm = make_vm(view, power_state="Running", platform={"nomigrate": "true"})
    assert rules.error_for(view, vm, "pool_migrate", strict=False) is None


@pytest.mark.parametrize("state", ["Halted", "Running", "Paused", "Suspended"])
@pytest.mark.parametrize("kind", ["plain", "template", "snapshot", "control"])
@pytest.mark.parametrize("current", [{}, {"OpaqueRef:t": "migrate_send"}])
def test_allowed_agrees_with_error_for(state: str, kind: str, current: dict[str, str]) -> None:
    view = DictView()
    vm = make_vm(
        view,
        power_state=state,
        is_a_template=kind in ("template", "snapshot"),
        is_a_snapshot=kind == "snapshot",
        is_control_domain=kind == "control",
        current_operations=current,
        blocked_operations={"clone": "c"},
    )
    expected = {
        op for op in ALL_OPERATIONS if op not in UNLISTED and rules.error_for(view, vm, op) is None
    }
    assert set(rules.allowed(view, vm)) == expected

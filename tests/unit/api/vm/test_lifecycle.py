"""Power operations over the real domain daemon on a simulated host."""

from pathlib import Path

import pytest

from tests.unit.api.vm.pool import Pool, Refused, vif_record
from xenops.backends.simulator.config import GuestConfig, XenopsSection


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path)


def test_started_vm_runs_on_the_host_with_consoles_and_metrics(pool: Pool) -> None:
    vm = pool.running()
    row = pool.row(vm)
    assert (row.power_state, row.resident_on) == ("Running", pool.host_ref)
    assert row.domid > 0 and row.scheduled_to_be_resident_on == "OpaqueRef:NULL"
    assert [pool.db.row("console", c).protocol for c in row.consoles] == ["rfb"]
    assert pool.db.row("VM_metrics", row.metrics).VCPUs_number == 1
    guest = pool.db.row("VM_guest_metrics", row.guest_metrics)
    assert guest.os_version["distro"] == "debian"
    assert "clean_shutdown" in row.allowed_operations and "suspend" in row.allowed_operations


def test_start_of_a_running_vm_is_refused_and_changes_nothing(pool: Pool) -> None:
    vm = pool.running()
    before = pool.row(vm).modified
    assert pool.refusal("VM.start", vm, False, False) == [
        "VM_BAD_POWER_STATE", vm, "halted", "running"
    ]  # fmt: skip
    assert pool.row(vm).modified == before


@pytest.mark.parametrize("way", ["clean_shutdown", "hard_shutdown", "shutdown"])
def test_shutdown_leaves_a_halted_vm_the_daemon_forgot(pool: Pool, way: str) -> None:
    vm = pool.running()
    pool.do(f"VM.{way}", vm)
    row = pool.row(vm)
    assert (row.power_state, row.domid, row.resident_on) == ("Halted", -1, "OpaqueRef:NULL")
    assert len(row.consoles) == 0 and row.current_operations == {}
    assert len(pool.host.operations.vms) == 0


def test_reboots_keep_the_vm_running_in_a_new_domain(pool: Pool) -> None:
    vm = pool.running()
    first = pool.row(vm).domid
    pool.do("VM.clean_reboot", vm)
    second = pool.row(vm).domid
    pool.do("VM.hard_reboot", vm)
    assert first < second < pool.row(vm).domid
    assert pool.row(vm).power_state == "Running"


def test_pause_and_unpause(pool: Pool) -> None:
    vm = pool.running()
    pool.do("VM.pause", vm)
    assert pool.row(vm).power_state == "Paused"
    pool.do("VM.unpause", vm)
    assert pool.row(vm).power_state == "Running"


def test_start_paused(pool: Pool) -> None:
    vm = pool.vm()
    pool.do("VM.start", vm, True, False)
    assert pool.row(vm).power_state == "Paused"


def test_guest_without_agent_lacks_features_but_shutdown_forces_it(tmp_path: Path) -> None:
    pool = Pool(tmp_path, section=XenopsSection(guest=GuestConfig(agent=False)))
    vm = pool.running()
    assert pool.refusal("VM.clean_shutdown", vm) == ["VM_LACKS_FEATURE", vm]
    pool.do("VM.shutdown", vm)
    assert pool.row(vm).power_state == "Halted"


def test_guest_that_ignores_the_request(tmp_path: Path) -> None:
    pool = Pool(tmp_path, section=XenopsSection(guest=GuestConfig(ignores_shutdown=True)))
    vm = pool.running()
    answer = pool.send("VM.clean_shutdown", pool.session, vm)
    pool.run_for(61)
    with pytest.raises(Exception) as refused:
        pool.value_of(answer)
    assert refused.value.args == ("VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT", vm)
    assert pool.row(vm).power_state == "Running" and pool.row(vm).current_operations == {}


def test_hard_shutdown_cancels_a_clean_one_that_hangs(tmp_path: Path) -> None:
    pool = Pool(tmp_path, section=XenopsSection(guest=GuestConfig(hangs_at_shutdown=True)))
    vm = pool.running()
    clean = pool.send("Async.VM.clean_shutdown", pool.session, vm)
    task = pool.value_of(clean)
    pool.run_for(1)
    assert list(pool.row(vm).current_operations.values()) == ["clean_shutdown"]
    pool.do("VM.hard_shutdown", vm)
    assert pool.row(vm).power_state == "Halted"
    assert pool.db.row("task", task).status == "cancelled"


def test_failed_start_leaves_no_trace(pool: Pool) -> None:
    vm = pool.vm()
    fault = {"at": "build", "error": "Internal_error", "params": ["no"]}
    pool.host.backend.inject_fault(fault)
    assert pool.refusal("VM.start", vm, False, False)[0] == "INTERNAL_ERROR"
    row = pool.row(vm)
    assert (row.power_state, row.current_operations) == ("Halted", {})
    assert row.scheduled_to_be_resident_on == "OpaqueRef:NULL"
    assert len(pool.host.operations.vms) == 0
    pool.do("VM.start", vm, False, False)


def test_operations_of_one_vm_exclude_each_other(pool: Pool) -> None:
    vm = pool.running()
    pool.send("VM.clean_shutdown", pool.session, vm)
    refusal = pool.refusal("VM.suspend", vm)
    assert refusal[0] == "OTHER_OPERATION_IN_PROGRESS" and refusal[1:4] == [
        "VM", vm, "clean_shutdown"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("action", "alert"), [("poweroff", "VM_SHUTDOWN"), ("crash", "VM_CRASHED")]
)
def test_guest_that_ends_by_itself(pool: Pool, action: str, alert: str) -> None:
    vm = pool.running(actions_after_crash="destroy")
    pool.do_guest(vm, action)
    row = pool.row(vm)
    assert (row.power_state, row.domid) == ("Halted", -1)
    assert [m.name for m in pool.db.rows("message") if m.obj_uuid == row.uuid][-1] == alert
    assert len(pool.host.operations.vms) == 0


def test_guest_that_reboots_by_itself_stays_running(pool: Pool) -> None:
    vm = pool.running()
    before = pool.row(vm).domid
    pool.run_for(130)
    pool.do_guest(vm, "reboot")
    assert pool.row(vm).power_state == "Running" and pool.row(vm).domid > before


def test_vms_outlive_a_restart_of_the_daemon(pool: Pool) -> None:
    vm = pool.running()
    domid = pool.row(vm).domid
    pool.host.caller.reachable = False
    pool.run_for(1)
    assert pool.refusal("VM.pause", vm) == ["CANNOT_CONTACT_HOST", pool.host_ref]
    pool.restart_daemon()
    assert (pool.row(vm).power_state, pool.row(vm).domid) == ("Running", domid)
    pool.do("VM.clean_shutdown", vm)


def test_vms_lost_with_the_host_become_halted(pool: Pool) -> None:
    network = pool.do("network.create", {"name_label": "n", "other_config": {}})
    vm = pool.vm()
    vif = pool.do("VIF.create", vif_record(VM=vm, network=network))
    pool.do("VM.start", vm, False, False)
    assert pool.db.row("VIF", vif).currently_attached
    pool.host.backend.power_cycle()
    pool.host.caller.reachable = False
    pool.run_for(1)
    pool.restart_daemon()
    assert pool.row(vm).power_state == "Halted"
    assert not pool.db.row("VIF", vif).currently_attached


def test_blocked_operation_names_its_reason(pool: Pool) -> None:
    vm = pool.vm()
    pool.do("VM.set_blocked_operations", vm, {"start": "not now"})
    assert pool.refusal("VM.start", vm, False, True) == ["OPERATION_BLOCKED", vm, "not now"]
    assert "start" not in pool.row(vm).allowed_operations


def test_power_state_reset_refuses_a_vm_that_runs(pool: Pool) -> None:
    vm = pool.running()
    assert pool.refusal("VM.power_state_reset", vm)[0] == "DOMAIN_EXISTS"


def test_no_host_is_left_when_the_only_one_is_disabled(pool: Pool) -> None:
    vm = pool.vm()
    with pool.db.transaction() as tx:
        tx.set("host", pool.host_ref, "enabled", False)
    assert pool.refusal("VM.start", vm, False, False) == ["NO_HOSTS_AVAILABLE"]
    assert pool.refusal("VM.start_on", vm, pool.host_ref, False, False) == [
        "HOST_DISABLED", pool.host_ref
    ]  # fmt: skip


def test_settings_changed_while_running_apply_at_the_guests_own_reboot(pool: Pool) -> None:
    vm = pool.running()
    pool.do("VM.set_actions_after_crash", vm, "destroy")
    pool.run_for(130)
    pool.do_guest(vm, "crash")
    assert pool.row(vm).power_state == "Halted"


def test_settings_changed_during_an_operation_reach_the_host_at_its_end(pool: Pool) -> None:
    vm = pool.running()
    pool.put("VM", vm, current_operations={"OpaqueRef:task": "snapshot"})
    pool.do("VM.set_actions_after_crash", vm, "destroy")
    pool.settle()
    assert pool.host.caller.calls[-1] != "VM.import_metadata"
    pool.put("VM", vm, current_operations={})
    pool.settle()
    assert pool.host.caller.calls[-1] == "VM.import_metadata"


def test_starts_at_once_do_not_promise_memory_twice(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    with pool.db.transaction() as tx:
        metrics = pool.db.row("host", pool.host_ref).metrics
        tx.set("host_metrics", metrics, "memory_total", 6 << 30)
        domain = pool.db.row("host", pool.host_ref).control_domain
        tx.set("VM", domain, "memory_dynamic_min", 1 << 30)
    size = {f"memory_{limit}": str(3 << 30) for limit in ("static_max", "dynamic_max")}
    vms = [pool.vm(memory_dynamic_min=str(3 << 30), **size) for _ in range(2)]
    answers = [
        pool.send("VM.start_on", pool.session, vm, pool.host_ref, False, False) for vm in vms
    ]
    pool.run_for(2)
    assert pool.value_of(answers[0]) == ""
    with pytest.raises(Refused, match="HOST_NOT_ENOUGH_FREE_MEMORY"):
        pool.value_of(answers[1])

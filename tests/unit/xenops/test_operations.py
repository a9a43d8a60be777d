"""VM operations on a simulated host, under a test clock."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError

from tests.unit.xenops.factories import MIB, UUID, Lab, begun, done, make_md, outcome
from xapi_py.base.rpc.errors import RpcError
from xenops import plan
from xenops.backends.contract import GuestAction
from xenops.backends.simulator.config import FaultConfig, GuestConfig, XenopsSection
from xenops.metadata import Disk

IMAGE = Disk(sr="s", vdi="image")
INSTANT = GuestConfig(boot_delay_s=0.5, shutdown_delay_s=0.0)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, XenopsSection(guest=INSTANT))


def fault(at: str, **how: Any) -> dict[str, object]:
    return {"at": at, "error": "Boom", **how}


def failing(work: Any) -> RpcError:
    with pytest.raises(RpcError) as problem:
        done(work)
    return problem.value


def test_start_pause_unpause_shutdown(lab: Lab) -> None:
    vm, ops = lab.put(), lab.operations
    free = lab.backend.host_stat().memory_free
    done(ops.start("t", vm.id, paused=True))
    assert lab.state() == "Paused"
    done(ops.unpause("t", vm.id))
    done(ops.pause("t", vm.id))
    done(ops.unpause("t", vm.id))
    assert lab.state() == "Running"
    lab.clock.advance(1)
    done(ops.shutdown("t", vm.id, timeout_s=60, clean=True))
    assert lab.state() == "Halted"
    assert vm.extra.last_shutdown["initiator"] == "toolstack"
    assert lab.backend.host_stat().memory_free == free


@pytest.mark.parametrize(
    ("operation", "expected"),
    [("pause", "Running, Paused"), ("unpause", "Running, Paused")],
)
def test_a_halted_vm_cannot_be_paused(lab: Lab, operation: str, expected: str) -> None:
    vm = lab.put()
    problem = failing(getattr(lab.operations, operation)("t", vm.id))
    assert problem.args == ("Bad_power_state", "Halted", expected)


def test_a_running_vm_cannot_be_started(lab: Lab) -> None:
    vm = lab.started()
    problem = failing(lab.operations.start("t", vm.id, paused=False))
    assert problem.args == ("Bad_power_state", "Running", "Halted")


@pytest.mark.parametrize("at", ["create", "build", "vbd_plug", "vif_plug", "create_device_model"])
def test_a_failed_start_leaves_nothing_behind(lab: Lab, at: str) -> None:
    vm = lab.put()
    free = lab.backend.host_stat().memory_free
    lab.backend.inject_fault(fault(at))
    assert failing(lab.operations.start("t", vm.id, paused=False)).name == "Boom"
    assert (lab.state(), lab.backend.domains()) == ("Halted", [])
    assert lab.backend.host_stat().memory_free == free
    done(lab.operations.start("t", vm.id, paused=False))


def test_cancelling_a_start_undoes_it(tmp_path: Path) -> None:
    lab = Lab(tmp_path, XenopsSection(latencies={"build": 10}))
    vm = lab.put()
    running = begun(lab.operations.start("t", vm.id, paused=False))
    assert lab.state() == "Halted"
    assert len(lab.backend.domains()) == 1
    assert lab.operations.tasks.cancel("t")
    with pytest.raises(CancelledError):
        outcome(running)
    assert lab.backend.domains() == []
    assert not lab.operations.tasks.cancel("t")


def test_operations_on_one_vm_wait_for_each_other_and_others_do_not(tmp_path: Path) -> None:
    lab = Lab(tmp_path, XenopsSection(latencies={"build": 10}))
    first, second = lab.put(), lab.put(make_md(id="other"))
    running = [
        begun(lab.operations.start("a", first.id, paused=False)),
        begun(lab.operations.pause("b", first.id)),
        begun(lab.operations.start("c", second.id, paused=True)),
    ]
    lab.clock.advance(9)
    assert [r.called for r in running] == [False, False, False]
    lab.clock.advance(1)
    assert [r.called for r in running] == [True, True, True]
    assert [lab.state(first.id), lab.state(second.id)] == ["Paused", "Paused"]


def test_progress_is_announced_while_an_operation_is_slow(tmp_path: Path) -> None:
    lab = Lab(tmp_path, XenopsSection(latencies={"build": 10, "create_device_model": 10}))
    vm = lab.put()
    begun(lab.operations.start("t", vm.id, paused=False))
    cursor = lab.feed.cursor
    lab.clock.advance(10)
    updates: Any = done(lab.feed.get("", cursor, 0))["updates"]
    assert ["task", "t"] in updates
    assert 0.5 < lab.operations.tasks.stat("t")["progress"] < 0.9  # type: ignore[operator]


def test_memory_is_intact_after_suspend_and_resume(lab: Lab) -> None:
    vm = lab.started()
    token = lab.backend._machine.find(vm.id).memory_token  # type: ignore[union-attr]
    done(lab.operations.suspend("t", vm.id, IMAGE))
    assert lab.state() == "Suspended"
    done(lab.operations.resume("t", vm.id, IMAGE, paused=False))
    domain = lab.backend._machine.find(vm.id)
    assert domain is not None
    assert (lab.state(), domain.memory_token, domain.agent) == ("Running", token, True)
    done(lab.operations.shutdown("t", vm.id, timeout_s=9, clean=False))
    assert lab.state() == "Halted"


def test_the_image_is_written_where_the_disk_is(lab: Lab, tmp_path: Path) -> None:
    vm, image = lab.started(), Disk(path=str(tmp_path / "image"))
    (tmp_path / "image").write_bytes(bytes(4096))
    done(lab.operations.suspend("t", vm.id, image))
    assert vm.extra.image == {}
    (tmp_path / "image").write_bytes(b"garbage")
    assert failing(lab.operations.resume("t", vm.id, image, paused=False)).name == "IO_error"
    assert (lab.state(), lab.backend.domains()) == ("Suspended", [])


def test_a_failed_save_lets_the_guest_go_on(lab: Lab) -> None:
    vm = lab.started()
    lab.backend.inject_fault(fault("save"))
    assert failing(lab.operations.suspend("t", vm.id, IMAGE)).name == "Boom"
    (domain,) = lab.backend.domains()
    assert (lab.state(), domain.shutdown) == ("Running", None)


def test_a_deaf_guest_does_not_acknowledge(lab: Lab) -> None:
    vm = lab.started()
    lab.backend.inject_fault({"at": "guest", "error": "ignores_shutdown"})
    running = begun(lab.operations.shutdown("t", vm.id, timeout_s=1200, clean=True))
    lab.clock.advance(60)
    with pytest.raises(RpcError, match="Failed_to_acknowledge_shutdown_request"):
        outcome(running)
    assert lab.state() == "Running"


def test_a_guest_that_hangs_runs_into_the_timeout(lab: Lab) -> None:
    vm = lab.started()
    lab.backend.inject_fault({"at": "guest", "error": "hangs_at_shutdown"})
    running = begun(lab.operations.shutdown("t", vm.id, timeout_s=100, clean=True))
    lab.clock.advance(100)
    with pytest.raises(RpcError) as problem:
        outcome(running)
    assert problem.value.args == ("Failed_to_shutdown", UUID, 100)


def test_a_guest_without_drivers_is_switched_off(tmp_path: Path) -> None:
    lab = Lab(tmp_path, XenopsSection(guest=GuestConfig(agent=False)))
    vm = lab.started()
    done(lab.operations.shutdown("t", vm.id, timeout_s=60, clean=True))
    assert lab.state() == "Halted"


def test_the_guest_can_power_off(lab: Lab) -> None:
    vm = lab.started()
    done(lab.operations.live("t", vm.id, lambda vm, d: lab.backend.run_guest(d, "poweroff")))
    assert lab.state() == "Halted"
    assert vm.extra.last_shutdown["reason"] == "poweroff"
    assert vm.extra.last_shutdown["initiator"] == "guest"


def crash(lab: Lab, action: GuestAction) -> None:
    done(lab.operations.live("t", UUID, lambda vm, d: lab.backend.run_guest(d, action)))


def test_a_quick_reboot_waits_and_the_vm_stays_running_for_others(lab: Lab) -> None:
    lab.started()
    crash(lab, "reboot")
    assert (lab.state(), lab.backend.domains()) == ("Running", [])
    lab.clock.advance(14.9)
    assert lab.backend.domains() == []
    lab.clock.advance(0.2)
    (domain,) = lab.backend.domains()
    assert (domain.domid, domain.paused, lab.state()) == (2, False, "Running")


def test_hard_shutdown_ends_a_delayed_reboot(lab: Lab) -> None:
    lab.started()
    crash(lab, "reboot")
    done(lab.operations.shutdown("t", UUID, timeout_s=1, clean=False))
    lab.clock.advance(20)
    assert (lab.state(), lab.backend.domains()) == ("Halted", [])


def test_an_early_crash_ends_the_vm_and_a_late_one_restarts_it(lab: Lab) -> None:
    lab.started()
    lab.clock.advance(121)
    crash(lab, "crash")
    assert (lab.state(), lab.backend.domains()[0].domid) == ("Running", 2)
    lab.clock.advance(60)
    crash(lab, "crash")
    assert lab.state() == "Halted"


def test_preserve_pauses_a_crashed_guest(lab: Lab) -> None:
    lab.started(make_md(on_crash=["Pause"]))
    crash(lab, "crash")
    assert lab.state() == "Paused"


def test_a_reboot_takes_over_new_metadata(lab: Lab) -> None:
    lab.started()
    lab.put(make_md(vcpus=2))
    done(lab.operations.reboot("t", UUID, timeout_s=60, clean=True))
    assert lab.backend.stat(lab.backend.domains()[0].domid).vcpu_target == 2


def test_a_restarted_daemon_finds_its_vms_and_goes_on_with_the_boot(lab: Lab) -> None:
    vm = lab.put()
    done(lab.operations.start("t", vm.id, paused=False))
    lab.again()
    assert lab.state() == "Running"
    lab.clock.advance(0.5)
    assert lab.backend.stat(1).pv_drivers_detected


def test_a_restarted_daemon_destroys_a_half_made_domain(tmp_path: Path) -> None:
    lab = Lab(tmp_path, XenopsSection(latencies={"vbd_plug": 9}))
    begun(lab.operations.start("t", lab.put().id, paused=False))
    lab.backend.flush()
    lab.again(XenopsSection())
    assert (lab.state(), lab.backend.domains()) == ("Halted", [])


def test_a_restarted_daemon_finishes_a_reboot(lab: Lab) -> None:
    lab.started()
    crash(lab, "reboot")
    lab.again()
    assert (lab.state(), [d.domid for d in lab.backend.domains()]) == ("Running", [2])


def test_a_restarted_daemon_reacts_to_a_guest_that_stopped_meanwhile(lab: Lab) -> None:
    lab.started()
    lab.backend.listen(lambda change: None)
    done(lab.backend.run_guest(1, "poweroff"))
    lab.backend.flush()
    lab.again()
    assert (lab.state(), lab.backend.domains()) == ("Halted", [])


@pytest.mark.parametrize("saved", [False, True])
def test_a_restarted_daemon_settles_an_interrupted_suspend(tmp_path: Path, saved: bool) -> None:
    slow = "destroy" if saved else "save"
    lab = Lab(tmp_path, XenopsSection(guest=INSTANT, latencies={slow: 9}))
    lab.started()
    begun(lab.operations.suspend("t", UUID, IMAGE))
    lab.backend.flush()
    lab.again(XenopsSection())
    assert lab.state() == ("Suspended" if saved else "Running")
    assert len(lab.backend.domains()) == (0 if saved else 1)


def test_too_little_memory_is_refused_and_ballooning_makes_room(tmp_path: Path) -> None:
    section = XenopsSection(guest=INSTANT, control_domain_memory_mib=1024)
    lab = Lab(tmp_path, section, memory_mib=2048)
    first = lab.started(make_md(memory_mib=(256, 900, 900)))
    assert lab.backend.stat(1).memory_actual == 900 * MIB
    big = lab.put(make_md(id="big", memory_mib=(900, 900, 900)))
    problem = failing(lab.operations.start("t", big.id, paused=False))
    assert problem.name == "Cannot_free_this_much_memory"
    second = lab.started(make_md(id="second", memory_mib=(300, 900, 900)))
    assert lab.backend.stat(1).memory_actual < 900 * MIB
    assert lab.backend.host_stat().memory_free >= 0
    done(lab.operations.shutdown("t", second.id, timeout_s=9, clean=False))
    assert lab.backend.stat(1).memory_actual == 900 * MIB
    assert lab.state(first.id) == "Running"


def test_devices_come_and_go(lab: Lab) -> None:
    vm, ops = lab.started(), lab.operations
    done(ops.device("t", vm.id, plan.unplug_vif("0", force=False)))
    assert lab.backend.stat(1).vifs == {}
    assert failing(ops.device("t", vm.id, plan.unplug_vif("0", force=False))).args == (
        "Device_not_connected",
        "VIF",
        "0",
    )
    done(ops.device("t", vm.id, plan.plug_vif("0")))
    done(ops.insert("t", vm.id, "xvdd", IMAGE))
    assert failing(ops.insert("t", vm.id, "xvdd", IMAGE)).name == "Media_present"
    done(ops.eject("t", vm.id, "xvdd"))
    assert failing(ops.eject("t", vm.id, "xvdd")).name == "Media_not_present"


def test_fault_rules_count(tmp_path: Path) -> None:
    rule = FaultConfig(at="build", vm="vm-*", skip=1, times=2, error="Boom")
    lab = Lab(tmp_path, XenopsSection(faults=(rule,)))
    outcomes = []
    for n in range(5):
        vm = lab.put(make_md(id=str(n), name=f"vm-{n}"))
        try:
            done(lab.operations.start("t", vm.id, paused=True))
            outcomes.append("ok")
        except RpcError as error:
            outcomes.append(error.name)
    assert outcomes == ["ok", "Boom", "Boom", "ok", "ok"]

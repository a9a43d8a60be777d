"""Moving a running VM into a new domain."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.unit.xenops.factories import Lab, done, make_md
from xapi_py.base.rpc.errors import RpcError
from xenops.backends.simulator.config import GuestConfig, XenopsSection
from xenops.moving import move

INSTANT = GuestConfig(boot_delay_s=0.5, shutdown_delay_s=0.0)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, XenopsSection(guest=INSTANT))


def domain(lab: Lab) -> Any:
    (found,) = lab.backend.domains()
    return lab.backend._machine.domains[found.domid]


def test_the_guest_goes_on_in_a_new_domain(lab: Lab) -> None:
    vm = lab.started()
    before = domain(lab)
    disks = list(before.vbds)
    done(move(lab.operations, "t", vm.id, None))
    after = domain(lab)
    assert after.domid > before.domid and lab.state() == "Running"
    assert (after.memory_token, after.booted_at) == (before.memory_token, before.booted_at)
    assert list(after.vbds) == disks and list(after.vifs) == list(before.vifs)
    assert vm.extra.suspend_memory_bytes == 0 and after.shutdown is None


@pytest.mark.parametrize("at", ["save", "create", "restore", "vbd_plug", "create_device_model"])
def test_a_move_that_fails_leaves_the_guest_running_where_it_was(lab: Lab, at: str) -> None:
    vm = lab.started()
    before = domain(lab)
    disks, free = list(before.vbds), lab.backend.host_stat().memory_free
    lab.backend.inject_fault({"at": at, "error": "Boom"})
    with pytest.raises(RpcError):
        done(move(lab.operations, "t", vm.id, make_md()))
    assert domain(lab) is before and lab.state() == "Running"
    assert before.shutdown is None and sorted(before.vbds) == sorted(disks)
    assert lab.backend.host_stat().memory_free == free


def test_a_halted_vm_cannot_move(lab: Lab) -> None:
    vm = lab.put()
    with pytest.raises(RpcError) as problem:
        done(move(lab.operations, "t", vm.id, None))
    assert problem.value.args[0] == "Bad_power_state"


@pytest.mark.parametrize("at", ["save", "restore", "vbd_plug", "create_device_model", "destroy"])
def test_a_daemon_killed_in_a_move_leaves_one_running_domain(lab: Lab, at: str) -> None:
    vm = lab.started()
    disks = list(domain(lab).vbds)
    slow = XenopsSection(guest=INSTANT, latencies={at: 1000.0})
    lab.again(slow)
    Deferred.fromCoroutine(move(lab.operations, "t", vm.id, None)).addErrback(lambda f: None)
    lab.clock.advance(1)
    lab.again(XenopsSection(guest=INSTANT))
    lab.clock.advance(5)
    assert lab.state() == "Running"
    assert domain(lab).shutdown is None and sorted(domain(lab).vbds) == sorted(disks)

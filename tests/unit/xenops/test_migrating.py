"""Moving VMs between two hosts whose hypervisors are simulated and joined by a wire."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.unit.xenops.factories import UUID, Lab, begun, done, make_md, outcome
from xapi_py.base.rpc.errors import RpcError
from xenops import errors, migrating, plan
from xenops.backends.contract import Migration, ReceiveSteps, SendSteps
from xenops.backends.simulator.backend import SimulatorBackend
from xenops.metadata import VmConfig
from xenops.plan import AtomKind


class Wire:
    """Both ends of one migration; ``fault`` is where it goes wrong."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.target: tuple[SimulatorBackend, VmConfig, ReceiveSteps] | None = None
        self.decided: Deferred[Migration] = Deferred()

    def join(self, source: SimulatorBackend, target: SimulatorBackend) -> None:
        """Have two simulated hypervisors use this wire."""

        async def send(
            domid: int, address: str, hello: Mapping[str, Any], steps: SendSteps
        ) -> Migration:
            result = await self._move(source, domid, hello, steps)
            there = result.outcome == "there" or self.fault == "answer lost"
            self.decided.callback(Migration("there" if there else "here", result.text))
            return result

        async def receive(
            vm: VmConfig, token: str, steps: ReceiveSteps, listening: Callable[[str], None]
        ) -> Migration:
            self.target = (target, vm, steps)
            listening("/run/here")
            return await self.decided

        source.send = send  # type: ignore[method-assign]
        target.receive = receive  # type: ignore[method-assign]

    async def _move(
        self, source: SimulatorBackend, domid: int, hello: Mapping[str, Any], steps: SendSteps
    ) -> Migration:
        assert self.target is not None
        target, vm, taking = self.target
        try:
            there = await taking.create(hello)
            await steps.suspend()
            saved = await source.save(domid, "")
            await target.restore(there, vm, "", saved.inline)
            if self.fault == "cut":
                raise errors.io_error("the link is cut")
            await steps.let_go()
            await taking.run()
        except RpcError as problem:
            return Migration("here", str(problem))
        return Migration("unknown", "?") if self.fault == "answer lost" else Migration("there")


class Pair:
    """A VM that runs on one of two hosts."""

    def __init__(self, folder: Path, fault: str = "", memory_mib: int = 4096) -> None:
        self.here = Lab(folder / "here")
        self.there = Lab(folder / "there", memory_mib=memory_mib)
        Wire(fault).join(self.here.backend, self.there.backend)
        md = make_md(vbds=[{"device": "xvda", "backend": {"path": "/a"}}])
        self.here.started(md)
        self.there.put(md)
        self.address = done(migrating.receive(self.there.operations, "test", UUID, "t"))

    def send(self) -> None:
        """Move it."""
        sending = begun(migrating.send(self.here.operations, "test", UUID, self.address, "t"))
        for lab in (self.here, self.there):
            lab.clock.advance(5)
        outcome(sending)

    def states(self) -> tuple[str, str]:
        return self.here.state(), self.there.state()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_a_vm_moves_with_its_devices(folder: Path) -> None:
    pair = Pair(folder)
    assert pair.address == "unix:/run/here"
    token = pair.here.backend.find(UUID)
    pair.send()
    assert pair.states() == ("Halted", "Running")
    moved = pair.there.backend.find(UUID)
    assert token is not None and moved is not None and moved.survivable
    assert set(pair.there.backend.stat(moved.domid).vbds) == {"xvda"}
    assert pair.here.backend.domains() == []


def test_a_cut_link_leaves_it_where_it_is(folder: Path) -> None:
    pair = Pair(folder, "cut")
    with pytest.raises(RpcError, match="Migration_failed"):
        pair.send()
    assert pair.states() == ("Running", "Halted")
    domain = pair.here.backend.find(UUID)
    assert domain is not None and domain.shutdown is None
    assert set(pair.here.backend.stat(domain.domid).vbds) == {"xvda"}
    assert pair.there.backend.domains() == []


def test_a_target_without_memory_leaves_it_where_it_is(folder: Path) -> None:
    pair = Pair(folder, memory_mib=1200)
    with pytest.raises(RpcError, match="Migration_failed.*Cannot_free"):
        pair.send()
    assert pair.states() == ("Running", "Halted")


def test_a_target_that_fails_at_the_last_step_gives_it_back(folder: Path) -> None:
    pair = Pair(folder)
    pair.there.backend.inject_fault(
        {"at": "create_device_model", "error": "Failed_to_start_emulator", "params": ["q"]}
    )
    with pytest.raises(RpcError, match="Failed_to_start_emulator"):
        pair.send()
    assert pair.states() == ("Running", "Halted")
    domain = pair.here.backend.find(UUID)
    assert domain is not None and domain.shutdown is None
    assert set(pair.here.backend.stat(domain.domid).vbds) == {"xvda"}


def test_an_unknown_outcome_never_makes_two(folder: Path) -> None:
    """Not by the guest's stop being noticed, not by a new daemon; somebody has to say it."""
    pair = Pair(folder, "answer lost")
    with pytest.raises(RpcError, match="Migration_undecided"):
        pair.send()
    for _ in range(2):
        stopped = pair.here.backend.find(UUID)
        assert stopped is not None and stopped.shutdown == "suspend"
        pair.here.backend.flush()
        pair.here.again()
        pair.here.clock.advance(60)
    assert pair.there.state() == "Running"
    done(pair.here.operations.shutdown("test", UUID, timeout_s=1, clean=False))
    assert pair.states() == ("Halted", "Running")


def test_a_vm_of_an_unknown_outcome_can_be_told_to_go_on(folder: Path) -> None:
    pair = Pair(folder, "answer lost")
    with pytest.raises(RpcError, match="Migration_undecided"):
        pair.send()
    done(migrating.go_on(pair.here.operations, "test", UUID))
    domain = pair.here.backend.find(UUID)
    assert domain is not None and domain.shutdown is None
    assert set(pair.here.backend.stat(domain.domid).vbds) == {"xvda"}


def test_only_running_vms_go_and_only_halted_ones_come(folder: Path) -> None:
    lab = Lab(folder)
    lab.put()
    with pytest.raises(RpcError, match="Bad_power_state"):
        done(migrating.send(lab.operations, "test", UUID, "unix:/x", "t"))
    with pytest.raises(RpcError, match="Unimplemented"):
        done(migrating.receive(lab.operations, "test", UUID, "t"))
    lab.started()
    with pytest.raises(RpcError, match="Bad_power_state"):
        done(migrating.receive(lab.operations, "test", UUID, "t"))


def test_a_domain_is_made_and_settled_by_plans() -> None:

    kinds = [atom.kind for atom in plan.atoms(plan.settle(make_md()))]
    assert kinds[-2:] == [AtomKind.CLEAR_ACTION_REQUEST, AtomKind.UNPAUSE]

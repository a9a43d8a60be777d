"""A change that is cut off at any step leaves a host that starts and can be reached."""

import shutil
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.system import real_backends
from tests.system.namespaces import namespaces, needs_kernel
from tests.system.power_cut import PowerCut, PowerLoss
from xapi_py.base.rpc.updates import UpdateFeed
from xapi_py.base.simulator_config import SimulatorConfig
from xcp_networkd import plan
from xcp_networkd.backends.simulator import SimulatedNetwork
from xcp_networkd.config import HostNetwork, NetworkConfig
from xcp_networkd.contract import (
    Backend,
    BridgeConfig,
    InterfaceConfig,
    NetworkState,
    PortConfig,
)
from xcp_networkd.desired import DesiredNetwork

pytestmark = pytest.mark.system

Make = Callable[[Path], Backend]
ADDRESS = InterfaceConfig(
    ipv4_mode="Static4", ipv4_addresses=(("192.0.2.10", 24),), persistent=True
)


def nic(name: str) -> BridgeConfig:
    return BridgeConfig({name: PortConfig((name,))}, persistent=True)


BEFORE = NetworkState(
    {"xenbr0": nic("eth0"), "xenbr1": nic("eth1"), "xapi5": BridgeConfig()},
    {"xenbr0": ADDRESS},
    "xenbr0",
    "xenbr0",
)
TO_OTHER_CARD = NetworkState(
    {"xenbr1": nic("eth1"), "xenbr2": nic("eth0")}, {"xenbr1": ADDRESS}, "xenbr1", "xenbr1"
)
BOND = PortConfig(("eth0", "eth1"), "", {"mode": "active-backup"})
TO_BOND = NetworkState(
    {
        "xapi0": BridgeConfig({"bond0": BOND}, persistent=True),
        "xapi1": BridgeConfig(vlan=("xapi0", 25), persistent=True),
    },
    {"xapi0": ADDRESS},
    "xapi0",
    "xapi0",
)


LONGEST_CHANGE_S = 60.0
TURN_S = 0.01


def finish(work: Coroutine[Any, Any, object], clock: Clock) -> None:
    """Carry work out; the clock goes with the kernel's while the daemon waits for a link."""
    found: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(found.append)
    deadline = time.monotonic() + LONGEST_CHANGE_S
    while not found:
        assert time.monotonic() < deadline, "a change that does not end"
        time.sleep(TURN_S)
        clock.advance(TURN_S)
    if isinstance(found[0], Failure):
        found[0].raiseException()


class Machine:
    """Folders and a system that a network runs on; ``lose_power`` empties the system."""

    def __init__(self, system: str, folder: Path, stack: ExitStack) -> None:
        self.system = system
        self.state = folder / "state"
        self.state.mkdir(parents=True)
        self._stack = stack
        self.clock = Clock()
        self._boots = 1
        self._switch = folder / "switch"
        self._switch.mkdir()
        self._host = HostNetwork(1, SimulatorConfig().host(1).nics, NetworkConfig())
        if system != "simulator":
            self.power_on()

    def power_on(self) -> None:
        """A system as after switching the machine on; Open vSwitch's database is a file."""
        host, outside = self._stack.enter_context(namespaces(2))
        real_backends.with_nics(host, outside)
        if self.system == "openvswitch":
            self._stack.enter_context(real_backends.switch(host, self._switch))
        self._stack.enter_context(host.entered())

    def lose_power(self) -> None:
        self._boots += 1
        if self.system == "simulator":
            (self.state / "simulated-kernel.json").unlink(missing_ok=True)
            return
        self._stack.close()
        # What was applied is known for one start of the machine only.
        (self.state / "applied.json").unlink(missing_ok=True)
        self.power_on()

    def backend(self) -> Backend:
        if self.system == "simulator":
            return SimulatedNetwork(self._host, self.state, Clock())
        found = real_backends.backend(self.system, self.state, self._switch)
        self._stack.callback(found.close)
        return found

    def daemon(self, backend: Backend | None = None) -> DesiredNetwork:
        """A daemon that has just started, with the clock of the test."""
        clock = self.clock
        used = self.backend() if backend is None else backend
        feed = UpdateFeed(clock, "epoch")
        desired = DesiredNetwork(
            *(used, self.state / "networkd.json", feed, clock), boot=f"boot {self._boots}"
        )
        finish(desired.start(NetworkState()), clock)
        return desired


@pytest.fixture(params=["simulator", "bridge", "openvswitch"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    with ExitStack() as stack:
        yield Machine(request.param, tmp_path, stack)


def cut(machine: Machine, target: NetworkState, steps: int) -> bool:
    """Cut a change off after some steps; False when it needed no more than these."""
    kept = machine.state.with_name("kept")
    shutil.rmtree(kept, ignore_errors=True)
    power = PowerCut(machine.backend(), steps, lambda: shutil.copytree(machine.state, kept))
    desired = machine.daemon(power)  # type: ignore[arg-type]
    try:
        finish(desired.change(lambda _: target), machine.clock)
    except PowerLoss:
        # What an orderly end would have tidied up is still there.
        kernel = machine.state / "simulated-kernel.json"
        if kernel.exists():
            shutil.copy(kernel, kept / kernel.name)
        shutil.rmtree(machine.state)
        kept.rename(machine.state)
        return True
    return False


def check_reached(backend: Backend, wanted: NetworkState) -> None:
    async def look() -> None:
        found = await backend.observe()
        expected = plan.with_vifs(found, wanted)
        assert plan.steps(found, expected, await backend.present()) == [], found.interfaces
        deadline = time.monotonic() + LONGEST_CHANGE_S
        while not await backend.reachable(wanted.gateway_interface):
            # The kernel tells of a card's link some time after it is out of a bond.
            assert time.monotonic() < deadline, "out of reach"
            time.sleep(TURN_S)

    finish(look(), Clock())


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power lost"])
@pytest.mark.parametrize("target", [TO_OTHER_CARD, TO_BOND], ids=["other card", "bond"])
def test_cut_off_change_leaves_the_state_before_it(
    machine: Machine, target: NetworkState, power: bool
) -> None:
    if machine.system == "bridge" and target is TO_BOND:
        needs_kernel("bond")
        needs_kernel("vlan")
    finish(machine.daemon().change(lambda _: BEFORE), machine.clock)
    steps = 0
    while cut(machine, target, steps):
        if power:
            machine.lose_power()
        backend = machine.backend()
        desired = machine.daemon(backend)
        check_reached(backend, plan.persistent_part(BEFORE) if power else BEFORE)
        # And the change can be made afterwards; then back for the next cut.
        finish(desired.change(lambda _: target), machine.clock)
        check_reached(backend, target)
        finish(desired.change(lambda _: BEFORE), machine.clock)
        steps += 1
    assert steps >= 6
    check_reached(machine.backend(), target)

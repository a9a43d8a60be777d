"""The contract of network backends: the same tests on the simulator and the real ones.

The real backends run in a namespace of their own, whose NICs are cables to a second one.
"""

import subprocess
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.system import real_backends
from tests.system.namespaces import needs_kernel
from tests.system.real_backends import able_card
from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.simulator_config import SimulatorConfig
from xcp_networkd.backends.simulator import SimulatedNetwork
from xcp_networkd.config import HostNetwork, NetworkConfig
from xcp_networkd.contract import (
    AddPort,
    Backend,
    BridgeConfig,
    ConfigureInterface,
    CreateBridge,
    DestroyBridge,
    InterfaceConfig,
    PortConfig,
    RemovePort,
    Step,
    VifLock,
    VifPort,
)

T = TypeVar("T")
MakeBackend = Callable[[], Backend]


def wait(coroutine: Coroutine[Any, Any, T]) -> T:
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(found.append)
    if isinstance(found[0], Failure):
        found[0].raiseException()
    result: T = found[0]
    return result


@pytest.fixture
def make_backend(system: str, tmp_path: Path) -> Iterator[MakeBackend]:
    """Make a backend on the same system each time."""
    if system == "simulator":
        nics = [
            replace(nic, virtual_functions=7 if nic.device == "eth1" else 0)
            for nic in SimulatorConfig().host(1).nics
        ]
        host = HostNetwork(1, tuple(nics), NetworkConfig())
        yield lambda: SimulatedNetwork(host, tmp_path, Clock())
        return
    with real_backends.made(system, tmp_path) as make:
        yield make


@pytest.fixture(params=["simulator", "bridge", "openvswitch"])
def system(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def backend(make_backend: MakeBackend) -> Backend:
    return make_backend()


def needs(system: str, kind: str) -> None:
    """The kernel's own bridges need its devices for bonds and VLANs, too."""
    if system == "bridge":
        needs_kernel(kind)


def run(backend: Backend, *steps: Step) -> None:
    for step in steps:
        wait(backend.execute(step))


FUNCTIONS = InterfaceConfig(virtual_functions=True)
PORT = AddPort("br0", "eth0", PortConfig(("eth0",)))
MADE = (CreateBridge("br0", BridgeConfig(bridge_mac="02:00:00:00:00:09")), PORT)


def test_every_step_can_be_repeated(backend: Backend) -> None:
    address = InterfaceConfig(ipv4_mode="Static4", ipv4_addresses=(("192.0.2.1", 24),))
    steps = (PORT, ConfigureInterface("br0", address, True, True))
    run(backend, *MADE, *steps)
    before = (wait(backend.observe()), wait(backend.links()))
    run(backend, *steps)
    assert (wait(backend.observe()), wait(backend.links())) == before


def test_bridge_has_its_mac_its_port_and_its_address(backend: Backend) -> None:
    address = InterfaceConfig(ipv4_mode="Static4", ipv4_addresses=(("192.0.2.1", 24),), mtu=9000)
    run(backend, *MADE, ConfigureInterface("br0", address, True, True))
    links = wait(backend.links())
    bridge = links["br0"]
    assert (bridge.mac, bridge.mtu, bridge.ipv4) == (
        "02:00:00:00:00:09",
        9000,
        (("192.0.2.1", 24),),
    )
    assert (links["eth0"].bridge, links["eth0"].up) == ("br0", True)


def test_card_that_is_not_taken_keeps_its_addresses(system: str, backend: Backend) -> None:
    if system == "simulator":
        pytest.skip("the simulator's cards have no addresses of somebody else")
    words = "ip addr add 198.51.100.7/24 dev eth0"
    subprocess.run(words.split(), check=True)
    with pytest.raises(RpcError):
        wait(backend.execute(AddPort("nosuch", "eth0", PortConfig(("eth0",)))))
    assert wait(backend.links())["eth0"].ipv4 == (("198.51.100.7", 24),)
    run(backend, *MADE)
    assert wait(backend.links())["eth0"].ipv4 == ()


def test_bond_keeps_its_members_and_dissolves(backend: Backend, system: str) -> None:
    needs(system, "bond")
    members = PortConfig(("eth1", "eth2"), "02:00:00:00:00:08", {"mode": "balance-slb"})
    run(backend, *MADE, AddPort("br0", "bond0", members))
    bond = wait(backend.links())["bond0"]
    assert (bond.kind, bond.mac, bond.interfaces) == ("bond", "02:00:00:00:00:08", ("eth1", "eth2"))
    run(backend, RemovePort("br0", "bond0"))
    assert "bond0" not in wait(backend.links())


def test_vlan_bridge_comes_and_goes(backend: Backend, system: str) -> None:
    needs(system, "vlan")
    run(backend, *MADE, CreateBridge("xapi0", BridgeConfig(vlan=("br0", 5))))
    assert wait(backend.observe()).bridges["xapi0"].vlan == ("br0", 5)
    run(backend, DestroyBridge("xapi0"), DestroyBridge("br0"))
    assert "br0" not in wait(backend.links())


@pytest.mark.parametrize(
    "step, name",
    [
        (AddPort("nosuch", "eth0", PortConfig(("eth0",))), "Bridge_does_not_exist"),
        (AddPort("br0", "eth9", PortConfig(("eth9",))), "Interface_does_not_exist"),
    ],
)
def test_missing_things_are_named(backend: Backend, step: Step, name: str) -> None:
    run(backend, MADE[0])
    with pytest.raises(RpcError) as problem:
        wait(backend.execute(step))
    assert problem.value.name == name


def test_next_backend_sees_what_the_last_one_did(
    backend: Backend, make_backend: MakeBackend
) -> None:
    run(backend, *MADE)
    wait(backend.settle())
    again = make_backend()
    assert wait(again.observe()) == wait(backend.observe())
    assert wait(again.links()) == wait(backend.links())


def test_card_shows_its_functions_until_it_is_told_otherwise(
    system: str, backend: Backend, tmp_path: Path
) -> None:
    shown = able_card(tmp_path, "eth1", 7)
    on, off = (ConfigureInterface("eth1", c, False, False) for c in (FUNCTIONS, InterfaceConfig()))
    run(backend, on, on)
    assert wait(backend.observe()).interfaces["eth1"].virtual_functions
    assert wait(backend.links())["eth1"].capabilities == ("sriov",)
    assert wait(backend.links())["eth2"].capabilities == ()
    if system != "simulator":
        assert shown.read_text() == "7"
        shown.write_text("0\n")  # as after a loss of power
        assert not wait(backend.observe()).interfaces["eth1"].virtual_functions
        run(backend, on)
        assert shown.read_text() == "7"
    run(backend, off)
    assert system == "simulator" or shown.read_text() == "0"
    shown.write_text("3\n")
    run(backend, off)
    assert shown.read_text() == "3\n", "what nobody asked for here stays"
    with pytest.raises(RpcError, match="no virtual functions"):
        run(backend, ConfigureInterface("eth2", FUNCTIONS, False, False))


def test_every_device_has_counters(backend: Backend) -> None:
    run(backend, *MADE)
    assert set(wait(backend.counters())) == set(wait(backend.links()))


LOCKED = VifPort(
    "vif1.0",
    VifLock("02:00:00:00:00:07", "locked", ("192.0.2.20",)),
    external_ids={"xs-vif-uuid": "v"},
)


@pytest.fixture
def vif(system: str, backend: Backend) -> str:
    """A virtual machine's device, which the simulator needs none for."""
    if system != "simulator":
        subprocess.run(["ip", "link", "add", "vif1.0", "type", "veth", "peer", "guest"], check=True)
    return "vif1.0"


def where(backend: Backend, name: str) -> list[str]:
    return [b for b, c in wait(backend.observe()).bridges.items() if name in c.ports]


def test_vif_moves_between_bridges_and_leaves(backend: Backend, vif: str) -> None:
    run(backend, *MADE, CreateBridge("br1", BridgeConfig()))
    for bridge in ("br0", "br0", "br1"):
        wait(backend.attach_vif(bridge, LOCKED))
        assert where(backend, vif) == [bridge]
        assert wait(backend.links())[vif].bridge == bridge
    assert wait(backend.observe()).bridges["br1"].ports[vif].kind == "vif"
    for _ in range(2):
        wait(backend.detach_vif(vif))
        assert where(backend, vif) == []


def test_vif_whose_device_has_gone_can_be_detached(
    system: str, backend: Backend, vif: str, make_backend: MakeBackend
) -> None:
    run(backend, *MADE)
    wait(backend.attach_vif("br0", LOCKED))
    if system != "simulator":
        subprocess.run(["ip", "link", "del", vif], check=True)
    again = make_backend()
    wait(again.detach_vif(vif))
    assert where(again, vif) == []


@pytest.mark.parametrize("bridge, name", [("nosuch", "vif1.0"), ("br0", "vif9.0")])
def test_vif_needs_its_bridge_and_its_device(
    system: str, backend: Backend, vif: str, bridge: str, name: str
) -> None:
    if system == "simulator" and name != vif:
        pytest.skip("the simulator's guests have every device")
    run(backend, *MADE)
    with pytest.raises(RpcError, match="_does_not_exist"):
        wait(backend.attach_vif(bridge, replace(LOCKED, name=name)))

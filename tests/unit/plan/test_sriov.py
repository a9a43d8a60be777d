"""Which virtual function a VIF gets."""

from pathlib import Path

import pytest

from tests.unit.api.network.network_server import NetworkServer
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.base.simulator_config import NicConfig
from xapi_py.plan import placement, sriov
from xapi_py.plan.sriov import Function


@pytest.fixture
def server(tmp_path: Path) -> NetworkServer:
    """A host whose eth1 has three virtual functions."""
    return NetworkServer(tmp_path, nics=(NicConfig(), NicConfig(virtual_functions=3)))


@pytest.fixture
def network(server: NetworkServer) -> Ref:
    """The network of those functions."""
    made = server.network()
    server.do("network_sriov.create", server.pif("eth1"), made)
    return made


def machine(server: NetworkServer, *networks: Ref) -> Ref:
    vm = server.make("VM", name_label="guest", power_state="Halted")
    for number, network in enumerate(networks):
        mac = f"02:00:00:00:03:{number:02x}"
        server.make("VIF", network=network, VM=vm, device=f"{number}", MAC=mac)
    return vm


def allocated(server: NetworkServer, vm: Ref) -> list[Function]:
    found = sriov.allocate(server.db, server.db.row("VM", vm), server.this_host)
    return list(found.values())


def test_each_vif_gets_a_function_of_its_own(server: NetworkServer, network: Ref) -> None:
    first, second = allocated(server, machine(server, network, network))
    assert (first.address, first.mac) == ("0000:04:10.1", "02:00:00:00:03:00")
    assert (second.address, second.mac) == ("0000:04:10.3", "02:00:00:00:03:01")
    assert (first.vlan, first.rate_kib) == (-1, 0)


def test_function_carries_tag_and_limit_of_its_vif(server: NetworkServer, network: Ref) -> None:
    (logical,) = server.db.row("network", network).PIFs
    tagged = server.network_of(server.vlan(Ref(logical), 25))
    vm = machine(server, tagged)
    (vif,) = server.db.row("VM", vm).VIFs
    server.put("VIF", vif, qos_algorithm_type="ratelimit", qos_algorithm_params={"kbps": "500"})
    (found,) = allocated(server, vm)
    assert (found.vlan, found.rate_kib) == (25, 500)


def test_networks_of_bridges_need_none(server: NetworkServer, network: Ref) -> None:
    vm = machine(server, server.network(), network, server.network_of(server.pif("eth0")))
    assert [f.mac for f in allocated(server, vm)] == ["02:00:00:00:03:01"]


def test_functions_of_others_are_left_alone(server: NetworkServer, network: Ref) -> None:
    (group,) = server.db.refs("network_sriov")
    vm, other = machine(server, network, network), machine(server, network)
    taken = allocated(server, other)[0]
    server.put("PCI", Ref(taken.pci), scheduled_to_be_attached_to=other)
    assert server.do("network_sriov.get_remaining_capacity", group) == "2"
    assert taken.pci not in {f.pci for f in allocated(server, vm)}
    assert allocated(server, other)[0] == taken, "its own it may have again"


def test_host_without_enough_functions_is_no_place(server: NetworkServer, network: Ref) -> None:
    vm = machine(server, *(network,) * 4)
    with pytest.raises(ApiError) as problem:
        allocated(server, vm)
    assert (problem.value.code, problem.value.params) == (
        "NETWORK_SRIOV_INSUFFICIENT_CAPACITY",
        (network,),
    )
    row, host = server.db.row("VM", vm), server.db.row("host", server.this_host)
    found = placement.network_error(server.db, row, network, host)
    assert found is None, "the network is there: only the functions are too few"
    assert sriov.capacity_error(server.db, row, server.this_host) is not None

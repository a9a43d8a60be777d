"""Networks without a card: private ones, and the one between a host and its guests."""

from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from tests.unit.api.network.network_server import NetworkServer
from xapi_py.api.internal_networks import IDLE_S, InternalNetworks
from xapi_py.base.names import Ref


@pytest.fixture
def server(tmp_path: Path) -> NetworkServer:
    return NetworkServer(tmp_path)


def internal(server: NetworkServer) -> Ref:
    rows = server.db.rows("network")
    return next(Ref(r.ref) for r in rows if r.bridge == "xenapi")


def test_host_has_the_first_address_of_its_internal_network(server: NetworkServer) -> None:
    server.do("network.attach", internal(server), server.this_host)
    assert server.links()["xenapi"]["ipv4"] == [["169.254.0.1", 16]]


def guest(server: NetworkServer, network: Ref, number: int) -> Ref:
    """A VM with a VIF on a network that is about to be plugged."""
    vif = server.vif(network, attached=False)
    server.put("VIF", vif, MAC=f"02:00:00:00:00:0{number}")
    return vif


def test_guests_on_the_internal_network_are_given_addresses(server: NetworkServer) -> None:
    network = internal(server)
    vifs = [guest(server, network, n) for n in (1, 2)]
    for vif in vifs:
        server.do("network.attach_for_vm", server.this_host, server.db.row("VIF", vif).VM)
        server.put("VIF", vif, currently_attached=True)
        server.put("VM", Ref(server.db.row("VIF", vif).VM), resident_on=server.this_host)
    addresses = dict(zip(vifs, ("169.254.0.2", "169.254.0.3"), strict=True))
    assert server.db.row("network", network).assigned_ips == addresses
    assert server.leases("xenapi") == {
        "02:00:00:00:00:01": "169.254.0.2",
        "02:00:00:00:00:02": "169.254.0.3",
    }


def test_bridges_go_with_their_last_guest(server: NetworkServer) -> None:
    private, himn = server.network(), internal(server)
    kept = server.network(other_config={"persist": "true"})
    vifs = {network: guest(server, network, n) for n, network in enumerate((private, himn, kept))}
    for network, vif in vifs.items():
        server.do("network.attach_for_vm", server.this_host, server.db.row("VIF", vif).VM)
        server.put("VIF", vif, currently_attached=True)
        assert server.db.row("network", network).bridge in server.links()
    InternalNetworks(server.toolstack, server.this_host).start()
    server.clock.advance(IDLE_S)
    names = {network: server.db.row("network", network).bridge for network in vifs}
    assert set(names.values()) <= set(server.links())
    for vif in vifs.values():
        server.put("VIF", vif, currently_attached=False)
    server.settle()
    server.clock.advance(IDLE_S)
    assert set(names.values()) & set(server.links()) == {names[kept]}
    assert server.db.row("network", himn).assigned_ips == {}
    assert server.leases("xenapi") == {}


def test_bridge_stays_while_a_guest_is_on_its_way(server: NetworkServer) -> None:
    private = server.network()
    vif = guest(server, private, 1)
    vm = Ref(server.db.row("VIF", vif).VM)
    server.do("network.attach_for_vm", server.this_host, vm)
    server.put("VM", vm, current_operations={"OpaqueRef:task": "start"})
    tidy = InternalNetworks(server.toolstack, server.this_host)
    Deferred.fromCoroutine(tidy.tidy())
    assert server.db.row("network", private).bridge in server.links()


def test_internal_networks_outlast_other_changes(server: NetworkServer) -> None:
    server.do("network.attach", internal(server), server.this_host)
    private = server.network()
    server.do("network.attach", private, server.this_host)
    before = server.links()
    server.do("PIF.plug", server.pif("eth1"))
    server.do("PIF.unplug", server.pif("eth1"))
    after = server.links()
    for bridge in ("xenapi", server.db.row("network", private).bridge):
        assert after[bridge] == before[bridge]

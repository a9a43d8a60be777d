"""Errors that depend on other hosts, other services and the role of the host."""

from pathlib import Path

import pytest

from tests.unit.api.network.network_server import NetworkServer
from tests.unit.api.network.test_refusals import with_ha, with_ip
from xapi_py.base.names import Ref


@pytest.fixture
def server(tmp_path: Path) -> NetworkServer:
    return NetworkServer(tmp_path)


def other_host(server: NetworkServer) -> Ref:
    return server.make("host", hostname="host-2")


def clustered(server: NetworkServer, pif: Ref) -> Ref:
    """A cluster's member on an interface."""
    return server.make("Cluster_host", PIF=pif, host=server.this_host, enabled=True)


def test_bond_of_two_hosts(server: NetworkServer) -> None:
    foreign = server.pif("eth3")
    server.put("PIF", foreign, host=other_host(server))
    members = [server.pif("eth1"), foreign]
    refused = server.error("Bond.create", server.network(), members, "", "active-backup", {})
    assert refused == ["PIF_CANNOT_BOND_CROSS_HOST"]


def test_bond_of_two_kinds_of_address(server: NetworkServer) -> None:
    members = [server.pif("eth1"), server.pif("eth2")]
    server.do("PIF.set_primary_address_type", members[1], "IPv6")
    refused = server.error("Bond.create", server.network(), members, "", "active-backup", {})
    assert refused == ["PIF_INCOMPATIBLE_PRIMARY_ADDRESS_TYPE", members[0]]


def test_management_keeps_its_kind_of_address(server: NetworkServer) -> None:
    management, pif = server.pif("eth0"), server.pif("eth1")
    refused = server.error("PIF.set_primary_address_type", management, "IPv6")
    assert refused == ["PIF_IS_MANAGEMENT_INTERFACE", management]
    server.do("PIF.set_primary_address_type", pif, "IPv6")
    refused = server.error("host.management_reconfigure", pif)
    assert refused == ["PIF_HAS_NO_V6_NETWORK_CONFIGURATION", pif]
    server.do("PIF.reconfigure_ipv6", pif, "Static", "2001:db8::9/64", "", "")
    refused = server.error("host.management_reconfigure", pif)
    assert refused == ["PIF_INCOMPATIBLE_PRIMARY_ADDRESS_TYPE", pif]


def test_interface_of_a_cluster_stays_as_it_is(server: NetworkServer) -> None:
    pif = server.pif("eth1")
    refused = ["CLUSTERING_ENABLED", clustered(server, pif)]
    members = [pif, server.pif("eth2")]
    for call in (
        ("PIF.unplug", pif),
        ("PIF.forget", pif),
        ("PIF.reconfigure_ip", pif, "DHCP", "", "", "", ""),
        ("PIF.reconfigure_ipv6", pif, "DHCP", "", "", ""),
        ("PIF.set_disallow_unplug", pif, False),
        ("Bond.create", server.network(), members, "", "active-backup", {}),
    ):
        assert server.error(*call) == refused


def test_interface_of_a_plugged_fcoe_sr_stays_up(server: NetworkServer) -> None:
    sr = server.make("SR", type="lvmofcoe")
    server.make(
        "PBD",
        host=server.this_host,
        SR=sr,
        device_config={"ethdev": "eth1"},
        currently_attached=True,
    )
    pif = server.pif("eth1")
    assert server.error("PIF.unplug", pif) == ["PIF_HAS_FCOE_SR_IN_USE", pif, sr]


def test_management_over_a_vlan_or_a_bond_is_kept(server: NetworkServer) -> None:
    vlan = server.vlan(server.pif("eth1"), 7)
    server.do("PIF.reconfigure_ip", vlan, "Static", "192.0.2.7", "255.255.255.0", "", "")
    server.do("host.management_reconfigure", vlan)
    refused = ["PIF_IS_MANAGEMENT_INTERFACE", vlan]
    assert server.error("VLAN.destroy", server.db.row("PIF", vlan).VLAN_master_of) == refused
    assert server.error("PIF.destroy", vlan) == refused
    bond = server.bond("eth0", "eth2")
    master = Ref(server.db.row("Bond", bond).master)
    server.do("PIF.reconfigure_ip", master, "Static", "192.0.2.8", "255.255.255.0", "", "")
    server.do("host.management_reconfigure", master)
    with_ha(server)
    refused = ["HA_CANNOT_CHANGE_BOND_STATUS_OF_MGMT_IFACE"]
    assert server.error("Bond.destroy", bond) == refused


def test_what_carries_guests_is_not_taken_down(server: NetworkServer) -> None:
    vlan = server.vlan(server.pif("eth1"), 7)
    network = server.network_of(vlan)
    vif = server.vif(network)
    refused = ["VIF_IN_USE", network, vif]
    assert server.error("VLAN.destroy", server.db.row("PIF", vlan).VLAN_master_of) == refused
    server.put("VIF", vif, currently_attached=False)
    access = server.tunnel(with_ip(server, "eth2"))
    server.put("VIF", vif, currently_attached=True, network=server.network_of(access))
    (tunnel,) = server.db.refs("tunnel")
    refused = ["VIF_IN_USE", server.network_of(access), vif]
    assert server.error("tunnel.destroy", tunnel) == refused


def test_only_a_master_does_without_management(server: NetworkServer) -> None:
    server.put("pool", server.this_pool, master=other_host(server))
    assert server.error("host.management_disable") == ["SLAVE_REQUIRES_MANAGEMENT_INTERFACE"]
    server.put("pool", server.this_pool, master=server.this_host)
    with_ha(server)
    assert server.error("host.management_disable") == ["HA_IS_ENABLED"]
    server.put("pool", server.this_pool, ha_enabled=False)
    server.do("host.management_disable")
    assert not any(row.management for row in server.db.rows("PIF"))


def test_local_change_of_management_is_for_emergencies(server: NetworkServer) -> None:
    refused = server.error("host.local_management_reconfigure", "xenbr1")
    assert refused == ["NOT_IN_EMERGENCY_MODE"]


def test_guests_come_over_a_network_the_host_is_on_with_an_address(server: NetworkServer) -> None:
    pif, private = server.pif("eth1"), server.network()
    refused = server.error("host.migrate_receive", server.this_host, private, {})
    assert refused == ["HOST_CANNOT_ATTACH_NETWORK", server.this_host, private]
    refused = server.error("host.migrate_receive", server.this_host, server.network_of(pif), {})
    assert refused == ["INTERFACE_HAS_NO_IP", pif]


def test_unmanaged_network_needs_its_bridge(server: NetworkServer) -> None:
    foreign = server.network(managed=False, bridge="mine")
    refused = server.error("network.attach", foreign, server.this_host)
    assert refused == ["BRIDGE_NOT_AVAILABLE", "mine"]


def test_pool_wide_vlan_is_made_everywhere_or_nowhere(tmp_path: Path) -> None:
    server = NetworkServer(tmp_path, used_vlans=("eth1.100",))
    before, network = server.links(), server.network()
    refused = server.error("pool.create_VLAN_from_PIF", server.pif("eth1"), network, "100")
    assert refused == ["VLAN_IN_USE", "eth1", "100"]
    assert (server.links(), server.db.count("VLAN")) == (before, 0)
    refused = server.error("pool.create_VLAN", "eth9", network, "7")
    assert refused == ["INVALID_VALUE", "device", "eth9"]

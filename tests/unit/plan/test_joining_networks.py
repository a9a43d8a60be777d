from pathlib import Path

import pytest

from tests.unit.api.network.network_server import NetworkServer
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.db.row import Row
from xapi_py.plan.joining_networks import (
    NewBond,
    NewVlan,
    PoolNetwork,
    TakeOver,
    brought,
    refusals,
    take_over,
)


class Joining:
    """A master with its networks set up, and a second host with only its cards."""

    def __init__(self, folder: Path) -> None:
        self.server = NetworkServer(folder)
        self.master = self.server.this_host
        self.host = self.server.make("host", name_label="second", hostname="second")

    def card(self, device: str) -> Ref:
        """Give the second host a card on the network of the master's card of that name."""
        return self._pif(device, self.server.network_of(self.server.pif(device)), physical=True)

    def _pif(self, device: str, network: Ref, **more: object) -> Ref:
        fields = {"VLAN": -1, "VLAN_master_of": NULL_REF, "bond_slave_of": NULL_REF, **more}
        return self.server.make("PIF", device=device, network=network, host=self.host, **fields)

    def bond(self, network: Ref, *members: Ref) -> Ref:
        master = self._pif("bond0", network)
        bond = self.server.make("Bond", master=master, primary_slave=members[0], mode="lacp")
        for member in members:
            self.server.put("PIF", member, bond_slave_of=bond)
        return bond

    def row(self, ref: Ref) -> Row:
        return self.server.db.row("host", ref)

    @property
    def plan(self) -> TakeOver:
        return take_over(self.server.db, self.row(self.master), self.row(self.host))


@pytest.fixture
def joining(tmp_path: Path) -> Joining:
    return Joining(tmp_path)


def bond_network(joining: Joining, *devices: str) -> Ref:
    bond = joining.server.bond(*devices, mode="active-backup")
    return joining.server.network_of(Ref(joining.server.db.row("Bond", bond).master))


def test_host_with_the_same_cards_needs_nothing(joining: Joining) -> None:
    joining.card("eth0")
    assert joining.plan.nothing


def test_bond_and_the_vlan_on_it_are_made_in_order(joining: Joining) -> None:
    network = bond_network(joining, "eth1", "eth2")
    untagged = joining.server.vlan(joining.server.pif("bond0"), 25)
    for device in ("eth0", "eth1", "eth2"):
        joining.card(device)
    assert joining.plan == TakeOver(
        (),
        (NewBond(network, ("eth1", "eth2"), "active-backup", ()),),
        (NewVlan(joining.server.network_of(untagged), network, 25),),
    )


def test_host_with_some_of_the_members_gets_a_smaller_bond(joining: Joining) -> None:
    network = bond_network(joining, "eth1", "eth2")
    joining.card("eth2")
    assert joining.plan.bonds == (NewBond(network, ("eth2",), "active-backup", ()),)


def test_host_without_the_members_gets_neither_bond_nor_its_vlans(joining: Joining) -> None:
    bond_network(joining, "eth1", "eth2")
    joining.server.vlan(joining.server.pif("bond0"), 25)
    joining.card("eth0")
    assert joining.plan.nothing


def test_bond_of_other_cards_is_made_anew(joining: Joining) -> None:
    network = bond_network(joining, "eth1", "eth2")
    cards = [joining.card(device) for device in ("eth1", "eth2", "eth3")]
    old = joining.bond(network, cards[0], cards[2])
    assert (joining.plan.obsolete_bonds, len(joining.plan.bonds)) == ((old,), 1)


def test_bond_of_the_same_cards_stays(joining: Joining) -> None:
    network = bond_network(joining, "eth1", "eth2")
    joining.bond(network, joining.card("eth2"), joining.card("eth1"))
    assert joining.plan.nothing


def test_vlans_are_left_out_where_the_host_says_so(joining: Joining) -> None:
    joining.server.vlan(joining.server.pif("eth1"), 25)
    joining.card("eth1")
    assert len(joining.plan.vlans) == 1
    joining.server.put("host", joining.host, other_config={"sync_vlans": "nosync"})
    assert joining.plan.nothing


POOL = PoolNetwork(-1, "openvswitch", "IPv4", frozenset({"xenbr0", "xenapi"}))


@pytest.fixture
def server(tmp_path: Path) -> NetworkServer:
    return NetworkServer(tmp_path)


def codes(server: NetworkServer, pool: PoolNetwork = POOL) -> list[str]:
    host = server.db.row("host", server.this_host)
    return [problem.code for problem in refusals(server.db, host, pool)]


def test_host_with_cards_alone_may_join(server: NetworkServer) -> None:
    assert codes(server) == []


def test_everything_a_joining_host_must_not_have_is_named_in_order(server: NetworkServer) -> None:
    server.do("PIF.reconfigure_ip", server.pif("eth3"), "DHCP", "", "", "", "")
    server.tunnel(server.pif("eth3"))
    server.vlan(server.pif("eth3"), 7)
    server.bond("eth1", "eth2")
    server.sriov(server.pif("eth3"))
    server.do("network.add_purpose", server.network(), "insecure_nbd")
    pool = PoolNetwork(25, "bridge", "IPv6", purposes=frozenset({"nbd"}))
    assert codes(server, pool) == [
        "POOL_JOINING_HOST_HAS_BONDS",
        "POOL_JOINING_HOST_HAS_TUNNELS",
        "POOL_JOINING_HOST_HAS_NETWORK_SRIOVS",
        "POOL_JOINING_HOST_HAS_NON_MANAGEMENT_VLANS",
        "POOL_JOINING_HOST_MANAGEMENT_VLAN_DOES_NOT_MATCH",
        "OPERATION_NOT_ALLOWED",
        "PIF_INCOMPATIBLE_PRIMARY_ADDRESS_TYPE",
        "NETWORK_INCOMPATIBLE_PURPOSES",
    ]


def test_management_vlan_of_the_pool_is_no_hindrance(server: NetworkServer) -> None:
    vlan = server.vlan(server.pif("eth1"), 25)
    for row in server.db.rows("PIF"):
        server.put("PIF", Ref(row.ref), management=row.ref == vlan)
    assert codes(server, PoolNetwork(25, "openvswitch", "IPv4")) == []


def test_networks_with_cards_keep_their_bridges_and_others_come_anew(
    server: NetworkServer,
) -> None:
    private = server.network()
    host = server.db.row("host", server.this_host)
    found = {
        item.network: (item.bridge, item.how) for item in brought(server.db, host, POOL.bridges)
    }
    assert found[server.network_of(server.pif("eth0"))] == ("xenbr0", "same")
    assert found[server.network_of(server.pif("eth1"))] == ("xenbr1", "introduce")
    assert found[private] == ("", "anew")
    assert ("xenapi", "same") in found.values()

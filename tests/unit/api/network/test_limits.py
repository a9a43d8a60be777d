"""Sizes and ranges: members of bonds, MTUs, addresses, trunks."""

from pathlib import Path

import pytest

from tests.unit.api.network.network_server import NetworkServer
from tests.unit.api.network.test_refusals import with_ip
from xapi_py.base.names import Ref
from xapi_py.base.simulator_config import NicConfig


@pytest.fixture
def server(tmp_path: Path) -> NetworkServer:
    return NetworkServer(tmp_path, nics=5)


@pytest.mark.parametrize("backend, most", [("openvswitch", 4), ("bridge", 2)])
def test_bond_has_at_most_what_the_backend_is_made_for(
    server: NetworkServer, backend: str, most: int
) -> None:
    server.put("host", server.this_host, software_version={"network_backend": backend})
    members = [server.pif(f"eth{n}") for n in range(most + 1)]
    before = server.links()
    for mode in ("balance-slb", "active-backup", "lacp"):
        refused = server.error("Bond.create", server.network(), members, "", mode, {})
        assert refused[0] == "OPERATION_NOT_ALLOWED" and f"at most {most} NICs" in refused[1]
    assert server.links() == before
    server.do("Bond.create", server.network(), members[:most], "", "active-backup", {})
    assert server.links()["bond0"]["interfaces"] == [f"eth{n}" for n in range(most)]


@pytest.mark.parametrize("given, made", [(0, 1500), (-1, 1500), (9000, 9000), (70000, 1500)])
def test_network_gets_an_mtu_that_can_be(server: NetworkServer, given: int, made: int) -> None:
    record = {"name_label": "n", "other_config": {}, "MTU": str(given)}
    network = server.do("network.create", record)
    vlan = server.do("VLAN.create", server.pif("eth1"), "7", network)
    pif = server.db.row("VLAN", vlan).untagged_PIF
    mtu = server.db.row("PIF", pif).MTU
    assert mtu == min(made, 1500), "no more than the card below has"
    assert server.links()[server.db.row("network", network).bridge]["mtu"] == made


@pytest.mark.parametrize("text, mtu", [("9000", 9000), ("x", 1500), ("12", 1500), ("70000", 1500)])
def test_mtu_of_a_card_of_its_own(server: NetworkServer, text: str, mtu: int) -> None:
    pif = server.pif("eth1")
    server.do("PIF.add_to_other_config", pif, "mtu", text)
    server.do("PIF.plug", pif)
    assert server.db.row("PIF", pif).MTU == server.links()["eth1"]["mtu"] == mtu


def test_mtu_a_card_refuses_is_told_as_it_is(tmp_path: Path) -> None:
    server = NetworkServer(tmp_path, nics=(NicConfig(), NicConfig(max_mtu=4000)))
    pif = server.pif("eth1")
    server.put("network", server.network_of(pif), MTU=9000)
    server.do("PIF.plug", pif)
    assert server.db.row("PIF", pif).MTU == 4000


def test_second_address_on_a_subnet_leaves_the_way_out_alone(server: NetworkServer) -> None:
    """The real server takes an address on a used subnet; management keeps the default route."""
    pif = server.pif("eth0")
    server.do("PIF.reconfigure_ip", pif, "Static", "192.0.2.9", "255.255.255.0", "192.0.2.254", "")
    with_ip(server, "eth1")
    links = server.links()
    assert (links["xenbr0"]["ipv4"], links["xenbr1"]["ipv4"]) == (
        [["192.0.2.9", 24]],
        [["192.0.2.1", 24]],
    )
    assert (links["xenbr0"]["ipv4_gateway"], links["xenbr1"]["ipv4_gateway"]) == (
        "192.0.2.254",
        "",
    )


@pytest.mark.parametrize(
    "given, field",
    [
        (("Static", "192.0.2.9", "", "", ""), "netmask"),
        (("Static", "192.0.2.9", "255.255.255.0", "", "192.0.2.1,x"), "DNS"),
        (("Static", "2001:db8::1", "255.255.255.0", "", ""), "IP"),
        (("None", "", "", "2001:db8::1", ""), "gateway"),
    ],
)
def test_addresses_that_are_none(server: NetworkServer, given: tuple[str, ...], field: str) -> None:
    refused = server.error("PIF.reconfigure_ip", server.pif("eth1"), *given)
    assert refused == ["INVALID_IP_ADDRESS_SPECIFIED", field]


@pytest.mark.parametrize("tag", [-1, 4096])
def test_trunk_outside_the_range(server: NetworkServer, tag: int) -> None:
    vif = server.vif(server.network(), attached=False)
    refused = server.error("VIF.set_trunks", vif, [str(tag)])
    assert refused == ["INVALID_VALUE", "trunks", str(tag)]


def test_network_with_trunks_is_no_vlan(server: NetworkServer) -> None:
    network = server.network()
    server.do("VIF.set_trunks", server.vif(network, attached=False), ["7"])
    refused = server.error("VLAN.create", server.pif("eth1"), "7", network)
    assert refused == ["NETWORK_INCOMPATIBLE_WITH_TRUNKS", network]


def test_every_tag_of_the_range_is_taken(server: NetworkServer) -> None:
    for tag in (0, 1, 4094):
        row = server.db.row("PIF", server.vlan(server.pif("eth1"), tag))
        assert (row.VLAN, row.device) == (tag, "eth1")


def test_same_tag_on_two_cards(server: NetworkServer) -> None:
    made = [server.vlan(server.pif(device), 7) for device in ("eth1", "eth2")]
    assert len(set(made)) == 2


def test_nic_that_has_gone(tmp_path: Path) -> None:
    server = NetworkServer(tmp_path)
    gone = server.make(
        "PIF",
        device="eth9",
        host=server.this_host,
        network=server.network(),
        VLAN=-1,
        physical=True,
        managed=True,
        currently_attached=False,
    )
    assert server.error("PIF.plug", gone)[:2] == ["PIF_CONFIGURATION_ERROR", gone]
    assert not server.db.row("PIF", Ref(gone)).currently_attached

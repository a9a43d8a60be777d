"""Virtual functions of network cards: what is refused, and what fits together."""

from pathlib import Path

import pytest

from tests.unit.api.network.network_server import NetworkServer
from xapi_py.base.names import Ref
from xapi_py.base.simulator_config import NicConfig


@pytest.fixture
def server(tmp_path: Path) -> NetworkServer:
    able = NicConfig(virtual_functions=7)
    return NetworkServer(tmp_path, nics=(NicConfig(), NicConfig(), able, able))


def logical(server: NetworkServer, device: str = "eth3", network: Ref | None = None) -> Ref:
    """Offer a card's virtual functions and give the logical PIF."""
    pif, target = server.pif(device), network or server.network()
    sriov = server.do("network_sriov.create", pif, target)
    return Ref(server.db.row("network_sriov", sriov).logical_PIF)


def test_card_must_be_able_and_real(server: NetworkServer) -> None:
    plain, vlan = server.pif("eth1"), server.vlan(server.pif("eth1"), 7)
    network = server.network()
    for pif, error in ((plain, "PIF_IS_NOT_SRIOV_CAPABLE"), (vlan, "PIF_IS_NOT_PHYSICAL")):
        assert server.error("network_sriov.create", pif, network) == [error, pif]
    unmanaged = server.pif("eth2")
    server.put("PIF", unmanaged, managed=False)
    assert server.error("network_sriov.create", unmanaged, network) == ["PIF_UNMANAGED", unmanaged]
    assert server.db.count("network_sriov") == 0


def test_card_offers_its_functions_once(server: NetworkServer) -> None:
    logical(server)
    again = server.error("network_sriov.create", server.pif("eth3"), server.network())
    assert again == ["NETWORK_SRIOV_ALREADY_ENABLED", server.pif("eth3")]


def test_network_of_functions_carries_nothing_else(server: NetworkServer) -> None:
    """A second host's card, bond or VLAN on it is refused."""
    network = server.network_of(logical(server))
    elsewhere = server.make("host", hostname="host-2", software_version={})
    for ref in tuple(server.db.row("network", network).PIFs):
        server.put("PIF", Ref(ref), host=elsewhere)
    eth1, members = server.pif("eth1"), [server.pif("eth1"), server.pif("eth2")]
    server.put("host", elsewhere, software_version={"network_backend": "openvswitch"})
    assert server.error("VLAN.create", eth1, "7", network) == [
        "NETWORK_INCOMPATIBLE_WITH_VLAN_ON_BRIDGE",
        network,
    ]
    assert server.error("Bond.create", network, members, "", "active-backup", {}) == [
        "NETWORK_INCOMPATIBLE_WITH_BOND",
        network,
    ]
    assert server.error("tunnel.create", eth1, network) == [
        "NETWORK_INCOMPATIBLE_WITH_TUNNEL",
        network,
    ]


def test_functions_do_not_go_on_a_network_of_bridges(server: NetworkServer) -> None:
    network = server.network_of(server.pif("eth1"))
    elsewhere = server.make("host", hostname="host-2")
    server.put("PIF", server.pif("eth1"), host=elsewhere)
    refused = server.error("network_sriov.create", server.pif("eth3"), network)
    assert refused == ["NETWORK_INCOMPATIBLE_WITH_SRIOV", network]


def test_tunnels_do_not_go_over_functions(server: NetworkServer) -> None:
    pif = logical(server)
    refused = server.error("tunnel.create", pif, server.network())
    assert refused == ["CANNOT_ADD_TUNNEL_TO_SRIOV_LOGICAL", pif]
    vlan = server.vlan(pif, 7)
    refused = server.error("tunnel.create", vlan, server.network())
    assert refused == ["CANNOT_ADD_TUNNEL_TO_VLAN_ON_SRIOV_LOGICAL", vlan]


def test_vlans_over_functions_and_over_bridges_have_networks_of_their_own(
    server: NetworkServer,
) -> None:
    pif = logical(server)
    mixed = server.network()
    over_bridge = server.do("VLAN.create", server.pif("eth1"), "7", mixed)
    elsewhere = server.make("host", hostname="host-2")
    server.put("PIF", Ref(server.db.row("VLAN", over_bridge).untagged_PIF), host=elsewhere)
    refused = server.error("VLAN.create", pif, "8", mixed)
    assert refused == ["NETWORK_INCOMPATIBLE_WITH_VLAN_ON_SRIOV", mixed]


def test_functions_in_use_stay(server: NetworkServer) -> None:
    pif = logical(server)
    (sriov,) = server.db.refs("network_sriov")
    server.vlan(pif, 7)
    assert server.error("network_sriov.destroy", sriov) == ["PIF_VLAN_STILL_EXISTS", pif]
    network = server.network_of(pif)
    vif = server.vif(network)
    (vlan,) = server.db.refs("VLAN")
    server.do("VLAN.destroy", vlan)
    assert server.error("network_sriov.destroy", sriov) == ["VIF_IN_USE", network, vif]
    server.put("VIF", vif, currently_attached=False)
    server.do("network_sriov.destroy", sriov)
    assert server.db.find("PIF", pif) is None


def functions(server: NetworkServer, device: str = "eth3") -> list[str]:
    return list(server.links()[device]["virtual_functions"])


def test_card_shows_its_functions_while_a_network_has_them(server: NetworkServer) -> None:
    logical(server)
    assert len(functions(server)) == 7
    (sriov,) = server.db.refs("network_sriov")
    assert server.do("network_sriov.get_remaining_capacity", sriov) == "7"
    card = server.db.row("PCI", server.db.row("PIF", server.pif("eth3")).PCI)
    shown = [server.db.row("PCI", ref).pci_id for ref in card.virtual_functions]
    assert sorted(shown) == functions(server)
    server.do("PIF.plug", server.pif("eth2"))
    assert len(functions(server)) == 7, "a change elsewhere leaves them alone"
    server.do("network_sriov.destroy", sriov)
    assert functions(server) == []
    assert not server.db.row("PCI", card.ref).virtual_functions


def test_card_that_refuses_is_told_with_its_words(server: NetworkServer) -> None:
    pif = server.pif("eth3")
    server.debug("DEBUG.fail_step", step="ConfigureInterface", text="no memory for that")
    refused = server.error("network_sriov.create", pif, server.network())
    assert refused == ["NETWORK_SRIOV_ENABLE_FAILED", pif, "Script_error: no memory for that"]
    assert (server.db.count("network_sriov"), functions(server)) == (0, [])
    server.debug("DEBUG.fail_step", step="ConfigureInterface", text="")
    upper = logical(server)
    server.debug("DEBUG.fail_step", step="ConfigureInterface", text="in use")
    (sriov,) = server.db.refs("network_sriov")
    refused = server.error("network_sriov.destroy", sriov)
    assert refused == ["NETWORK_SRIOV_DISABLE_FAILED", pif, "Script_error: in use"]
    assert server.db.row("PIF", upper).currently_attached


def elsewhere(server: NetworkServer, *pifs: Ref) -> None:
    """Have PIFs be another host's, with a card of another kind."""
    host = server.make("host", hostname="host-2")
    metrics = server.make("PIF_metrics", vendor_name="Other", device_name="Another card")
    for pif in pifs:
        server.put("PIF", pif, host=host, metrics=metrics)


def test_functions_on_one_network_are_of_one_kind_of_card(server: NetworkServer) -> None:
    network = server.network()
    elsewhere(server, logical(server, "eth3", network), server.pif("eth3"))
    pif = server.pif("eth2")
    refused = server.error("network_sriov.create", pif, network)
    assert refused == ["NETWORK_HAS_INCOMPATIBLE_SRIOV_PIFS", pif, network]


def test_vlans_on_functions_are_of_one_kind_of_card(server: NetworkServer) -> None:
    upper = logical(server, "eth3")
    tagged = server.vlan(upper, 7)
    elsewhere(server, upper, tagged, server.pif("eth3"))
    network, other = server.network_of(tagged), logical(server, "eth2")
    refused = server.error("VLAN.create", other, "7", network)
    assert refused == ["NETWORK_HAS_INCOMPATIBLE_VLAN_ON_SRIOV_PIFS", other, network]

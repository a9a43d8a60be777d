"""Every error the network classes answer with, and that it changes nothing.

Source: brief NETWORK, sections 3 to 11 and 23.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.api.network.network_server import NetworkServer
from xapi_py.base.names import Ref

Case = Callable[[NetworkServer], tuple[tuple[object, ...], list[object]]]
NO_REF = Ref("OpaqueRef:NULL")


@pytest.fixture
def server(tmp_path: Path) -> NetworkServer:
    return NetworkServer(tmp_path)


def unmanaged(s: NetworkServer, device: str = "eth1") -> Ref:
    pif = s.pif(device)
    s.put("PIF", pif, managed=False)
    return pif


def with_ha(s: NetworkServer) -> Ref:
    s.put("pool", s.this_pool, ha_enabled=True)
    return s.pif("eth1")


def with_redo_log(s: NetworkServer) -> Ref:
    s.put("pool", s.this_pool, redo_log_enabled=True)
    return s.pif("eth1")


def slave(s: NetworkServer) -> Ref:
    s.bond("eth1", "eth2")
    return s.pif("eth1")


def with_ip(s: NetworkServer, device: str) -> Ref:
    pif = s.pif(device)
    number = device[-1]
    s.do("PIF.reconfigure_ip", pif, "Static", f"192.0.2.{number}", "255.255.255.0", "", "")
    return pif


def protected(s: NetworkServer) -> Ref:
    pif = s.pif("eth1")
    s.do("PIF.set_disallow_unplug", pif, True)
    return pif


def one(
    call: Callable[[NetworkServer, Ref], tuple[object, ...]], pif: object, *error: object
) -> Case:
    """A case about one PIF: the call's arguments and the error, ``...`` standing for the PIF."""

    def case(s: NetworkServer) -> tuple[tuple[object, ...], list[object]]:
        made = pif(s) if callable(pif) else s.pif(str(pif))
        return call(s, made), [made if part is ... else part for part in error]

    return case


def plug(s: NetworkServer, pif: Ref) -> tuple[object, ...]:
    return "PIF.plug", pif


def unplug(s: NetworkServer, pif: Ref) -> tuple[object, ...]:
    return "PIF.unplug", pif


def forget(s: NetworkServer, pif: Ref) -> tuple[object, ...]:
    return "PIF.forget", pif


def address(*given: str) -> Callable[[NetworkServer, Ref], tuple[object, ...]]:
    return lambda s, pif: ("PIF.reconfigure_ip", pif, *given)


def address6(*given: str) -> Callable[[NetworkServer, Ref], tuple[object, ...]]:
    return lambda s, pif: ("PIF.reconfigure_ipv6", pif, *given)


def tag(number: int) -> Callable[[NetworkServer, Ref], tuple[object, ...]]:
    return lambda s, pif: ("VLAN.create", pif, str(number), s.network())


def bond(
    *others: str, mode: str = "active-backup", mac: str = "", **properties: str
) -> Callable[[NetworkServer, Ref], tuple[object, ...]]:
    def call(s: NetworkServer, pif: Ref) -> tuple[object, ...]:
        members = [pif, *(s.pif(device) for device in others)]
        return "Bond.create", s.network(), members, mac, mode, properties

    return call


def manage(s: NetworkServer, pif: Ref) -> tuple[object, ...]:
    return "host.management_reconfigure", pif


def tunnel(s: NetworkServer, pif: Ref) -> tuple[object, ...]:
    return "tunnel.create", pif, s.network()


def gro(value: str) -> Callable[[NetworkServer, Ref], tuple[object, ...]]:
    return lambda s, pif: ("PIF.set_property", pif, "gro", value)


STATIC = ("192.0.2.9", "255.255.255.0", "192.0.2.1", "192.0.2.2")
PIFS: dict[str, Case] = {
    "plug unmanaged": one(plug, unmanaged, "PIF_UNMANAGED", ...),
    "plug slave": one(plug, slave, "CANNOT_PLUG_BOND_SLAVE", ...),
    "unplug unmanaged": one(unplug, unmanaged, "PIF_UNMANAGED", ...),
    "unplug with HA": one(unplug, with_ha, "HA_IS_ENABLED"),
    "unplug with redo log": one(unplug, with_redo_log, "REDO_LOG_IS_ENABLED"),
    "unplug management": one(unplug, "eth0", "PIF_IS_MANAGEMENT_INTERFACE", ...),
    "unplug protected": one(unplug, protected, "PIF_DOES_NOT_ALLOW_UNPLUG", ...),
    "forget management": one(forget, "eth0", "PIF_IS_MANAGEMENT_INTERFACE", ...),
    "forget slave": one(forget, slave, "PIF_ALREADY_BONDED", ...),
    "forget with HA": one(forget, with_ha, "HA_IS_ENABLED"),
    "address of unmanaged": one(address("DHCP", "", "", "", ""), unmanaged, "PIF_UNMANAGED", ...),
    "address with HA": one(address("DHCP", "", "", "", ""), with_ha, "HA_IS_ENABLED"),
    "no address": one(
        address("Static", "", *STATIC[1:]), "eth1", "INVALID_IP_ADDRESS_SPECIFIED", "IP"
    ),
    "bad address": one(
        address("Static", "1.2.3", *STATIC[1:]), "eth1", "INVALID_IP_ADDRESS_SPECIFIED", "IP"
    ),
    "bad netmask": one(
        address("Static", STATIC[0], "255.0.255.0", "", ""),
        "eth1",
        *("INVALID_IP_ADDRESS_SPECIFIED", "netmask"),
    ),
    "bad gateway in any mode": one(
        address("DHCP", "", "", "nowhere", ""), "eth1", "INVALID_IP_ADDRESS_SPECIFIED", "gateway"
    ),
    "management without address": one(
        address("None", "", "", "", ""), "eth0", "PIF_IS_MANAGEMENT_INTERFACE", ...
    ),
    "bad IPv6 address": one(
        address6("Static", "2001:db8::1", "", ""), "eth1", "INVALID_CIDR_ADDRESS_SPECIFIED", "IPv6"
    ),
    "bad IPv6 gateway": one(
        address6("Static", "2001:db8::1/64", "192.0.2.1", ""),
        *("eth1", "INVALID_IP_ADDRESS_SPECIFIED", "gateway"),
    ),
    "property of a slave": one(gro("off"), slave, "CANNOT_CHANGE_PIF_PROPERTIES", ...),
    "unknown property value": one(
        gro("maybe"), "eth1", "INVALID_VALUE", "properties", "gro = maybe"
    ),
}
VLANS: dict[str, Case] = {
    "below the range": one(tag(-1), "eth1", "VLAN_TAG_INVALID", "-1"),
    "above the range": one(tag(4095), "eth1", "VLAN_TAG_INVALID", "4095"),
    "tag twice": one(
        tag(7), lambda s: (s.vlan(s.pif("eth1"), 7), s.pif("eth1"))[1], "PIF_VLAN_EXISTS", "eth1"
    ),
    "on a slave": one(tag(7), slave, "CANNOT_ADD_VLAN_TO_BOND_SLAVE", ...),
    "on a VLAN": one(tag(8), lambda s: s.vlan(s.pif("eth1"), 7), "PIF_IS_VLAN", ...),
    "on a tunnel": one(tag(8), lambda s: s.tunnel(with_ip(s, "eth1")), "IS_TUNNEL_ACCESS_PIF", ...),
    "on an unmanaged PIF": one(tag(8), unmanaged, "PIF_UNMANAGED", ...),
}
BONDS: dict[str, Case] = {
    "unmanaged member": one(bond("eth2"), unmanaged, "PIF_UNMANAGED", ...),
    "member of another": one(bond("eth3"), slave, "PIF_ALREADY_BONDED", ...),
    "VLAN as member": one(
        bond("eth2"), lambda s: s.vlan(s.pif("eth1"), 7), "PIF_VLAN_EXISTS", "eth1"
    ),
    "tunnel as member": one(
        bond("eth2"), lambda s: s.tunnel(with_ip(s, "eth1")), "IS_TUNNEL_ACCESS_PIF", ...
    ),
    "virtual function as member": one(
        bond("eth2"), lambda s: s.sriov(s.pif("eth3")), "PIF_IS_SRIOV_LOGICAL", ...
    ),
    "bad MAC": one(bond("eth2", mac="zz"), "eth1", "MAC_INVALID", "zz"),
    "unknown property": one(
        bond("eth2", mode="lacp", colour="red"),
        "eth1",
        "INVALID_VALUE",
        "properties",
        "colour = red",
    ),
    "property of another mode": one(
        bond("eth2", hashing_algorithm="src_mac"),
        *("eth1", "INVALID_VALUE", "properties", "hashing_algorithm = src_mac"),
    ),
    "two addresses": one(
        bond("eth2"),
        lambda s: (with_ip(s, "eth2"), with_ip(s, "eth1"))[1],
        "PIF_BOND_MORE_THAN_ONE_IP",
    ),
    "different properties": one(
        bond("eth2"),
        lambda s: (s.do("PIF.set_property", s.pif("eth2"), "gro", "off"), s.pif("eth1"))[1],
        "INCOMPATIBLE_PIF_PROPERTIES",
    ),
    "management with HA": one(
        bond("eth1"),
        lambda s: (with_ha(s), s.pif("eth0"))[1],
        "HA_CANNOT_CHANGE_BOND_STATUS_OF_MGMT_IFACE",
    ),
}
MANAGEMENT: dict[str, Case] = {
    "with HA": one(manage, with_ha, "HA_IS_ENABLED"),
    "slave": one(manage, slave, "CANNOT_PLUG_BOND_SLAVE", ...),
    "no address": one(manage, "eth1", "PIF_HAS_NO_NETWORK_CONFIGURATION", ...),
}
TUNNELS: dict[str, Case] = {
    "on a slave": one(tunnel, slave, "CANNOT_ADD_TUNNEL_TO_BOND_SLAVE", ...),
    "on a tunnel": one(tunnel, lambda s: s.tunnel(with_ip(s, "eth1")), "IS_TUNNEL_ACCESS_PIF", ...),
    "on an unmanaged PIF": one(tunnel, unmanaged, "PIF_UNMANAGED", ...),
}
CASES = {
    f"{group}: {name}": case
    for group, cases in {
        "PIF": PIFS,
        "VLAN": VLANS,
        "bond": BONDS,
        "management": MANAGEMENT,
        "tunnel": TUNNELS,
    }.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_refused_and_nothing_is_changed(server: NetworkServer, case: Case) -> None:
    call, error = case(server)
    before = server.links()
    counts = {c: server.db.count(c) for c in ("PIF", "VLAN", "Bond", "tunnel", "network")}
    assert server.error(*call) == error  # type: ignore[arg-type]
    assert server.links() == before
    assert counts == {c: server.db.count(c) for c in counts}


def test_forgetting_what_carries_something_is_refused(server: NetworkServer) -> None:
    eth1, eth2 = server.pif("eth1"), server.pif("eth3")
    server.vlan(eth1, 7)
    assert server.error("PIF.forget", eth1) == ["PIF_VLAN_STILL_EXISTS", eth1]
    server.tunnel(with_ip(server, "eth2"))
    assert server.error("PIF.forget", server.pif("eth2"))[0] == "PIF_TUNNEL_STILL_EXISTS"
    logical = server.sriov(eth2)
    assert server.error("PIF.forget", eth2) == ["PIF_SRIOV_STILL_EXISTS", eth2]
    assert server.error("PIF.forget", logical) == ["CANNOT_FORGET_SRIOV_LOGICAL", logical]


def test_introducing_cards_that_are_not_there(server: NetworkServer) -> None:
    missing = "COULD_NOT_FIND_NETWORK_INTERFACE_WITH_SPECIFIED_DEVICE_NAME_AND_MAC_ADDRESS"
    host = server.this_host
    assert server.error("PIF.introduce", host, "zz", "eth9", True) == ["MAC_INVALID", "zz"]
    assert server.error("PIF.introduce", host, "", "eth1", True) == [
        "DUPLICATE_PIF_DEVICE_NAME",
        "eth1",
    ]
    assert server.error("PIF.introduce", host, "", "eth9", True) == [missing, "eth9", ""]


def test_network_on_a_host_that_has_a_card_on_it(server: NetworkServer) -> None:
    eth1, taken = server.pif("eth1"), server.network_of(server.pif("eth2"))
    refused = ["NETWORK_ALREADY_CONNECTED", server.this_host, server.pif("eth2")]
    assert server.error("VLAN.create", eth1, "7", taken) == refused
    assert server.error("tunnel.create", eth1, taken) == refused
    members = [eth1, server.pif("eth3")]
    assert server.error("Bond.create", taken, members, "", "active-backup", {}) == refused
    foreign = server.network(managed=False)
    refused = ["NETWORK_UNMANAGED", foreign]
    assert server.error("VLAN.create", eth1, "7", foreign) == refused
    assert server.error("tunnel.create", eth1, foreign) == refused
    assert server.error("Bond.create", foreign, members, "", "active-backup", {}) == refused


def test_bond_needs_members(server: NetworkServer) -> None:
    refused = server.error("Bond.create", server.network(), [], "", "active-backup", {})
    assert refused == ["PIF_BOND_NEEDS_MORE_MEMBERS"]


def test_interfaces_of_machines_keep_their_network(server: NetworkServer) -> None:
    eth1 = server.pif("eth1")
    network = server.network_of(eth1)
    vif = server.vif(network)
    assert server.error("PIF.unplug", eth1) == ["VIF_IN_USE", network, vif]
    assert server.error("PIF.forget", eth1) == ["VIF_IN_USE", network, vif]
    assert server.error("network.destroy", network) == ["NETWORK_CONTAINS_VIF", vif]
    refused = server.error("network.set_default_locking_mode", network, "disabled")
    assert refused == ["VIF_IN_USE", network, vif]


def test_networks_that_stay(server: NetworkServer) -> None:
    network = server.network_of(server.pif("eth1"))
    assert server.error("network.destroy", network) == ["NETWORK_CONTAINS_PIF", server.pif("eth1")]
    internal = server.network(other_config={"is_host_internal_management_network": "true"})
    refused = ["CANNOT_DESTROY_SYSTEM_NETWORK", internal]
    assert server.error("network.destroy", internal) == refused


@pytest.mark.parametrize("name", ["xenbr9", "xapi9", "vif1", "tap1", "eth9", "a-name-too-long!"])
def test_bridge_names_that_are_not_free_to_choose(server: NetworkServer, name: str) -> None:
    record = {"name_label": "n", "other_config": {}, "bridge": name}
    assert server.error("network.create", record) == ["INVALID_VALUE", "bridge", name]


def test_bridge_name_that_is_taken(server: NetworkServer) -> None:
    record = {"name_label": "n", "other_config": {}, "bridge": "mine"}
    server.do("network.create", record)
    assert server.error("network.create", record) == ["BRIDGE_NAME_EXISTS", "mine"]


def test_purposes_that_exclude_each_other(server: NetworkServer) -> None:
    network = server.network()
    server.do("network.add_purpose", network, "nbd")
    refused = server.error("network.add_purpose", network, "insecure_nbd")
    assert refused[0] == "NETWORK_INCOMPATIBLE_PURPOSES"


def test_tunnels_need_open_vswitch(server: NetworkServer) -> None:
    server.put("host", server.this_host, software_version={"network_backend": "bridge"})
    pif = with_ip(server, "eth1")
    assert server.error("tunnel.create", pif, server.network()) == ["OPENVSWITCH_NOT_ACTIVE"]


def test_tunnel_over_an_interface_without_address_stays_down(server: NetworkServer) -> None:
    access = server.tunnel(server.pif("eth1"))
    assert not server.db.row("PIF", access).currently_attached
    refused = server.error("PIF.plug", access)
    assert refused == ["TRANSPORT_PIF_NOT_CONFIGURED", server.pif("eth1")]


def test_only_vlans_can_be_destroyed(server: NetworkServer) -> None:
    assert server.error("PIF.destroy", server.pif("eth1"))[0] == "PIF_IS_PHYSICAL"
    refused = server.error("PIF.create_VLAN", "eth9", server.network(), server.this_host, "7")
    assert refused == ["INVALID_VALUE", "device", "eth9"]


def test_slave_cannot_attach_its_network(server: NetworkServer) -> None:
    pif = slave(server)
    network = server.network_of(pif)
    refused = server.error("network.attach", network, server.this_host)
    assert refused == ["HOST_CANNOT_ATTACH_NETWORK", server.this_host, network]


def test_tag_that_something_else_took(tmp_path: Path) -> None:
    server = NetworkServer(tmp_path, used_vlans=("eth1.100",))
    before = server.links()
    refused = server.error("VLAN.create", server.pif("eth1"), "100", server.network())
    assert refused == ["VLAN_IN_USE", "eth1", "100"]
    assert server.links() == before


def test_failing_daemon_is_told_with_its_words(server: NetworkServer) -> None:
    server.debug("DEBUG.fail_step", step="AddPort", text="no room")
    before = server.links()
    members = [server.pif("eth1"), server.pif("eth2")]
    refused = server.error("Bond.create", server.network(), members, "", "active-backup", {})
    assert refused == ["PIF_CONFIGURATION_ERROR", members[0], "Script_error: no room"]
    assert server.links().keys() == before.keys()
    assert server.db.count("Bond") == 0

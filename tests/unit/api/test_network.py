"""Networks, NICs, VLANs, bonds and tunnels over the simulated network daemon."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.services import NOBODY, NULL, Services
from xapi_py.start import network as start_of_network


@pytest.fixture
def server(tmp_path: Path) -> Services:
    return Services(tmp_path)


def attached(server: Services) -> set[tuple[str, int]]:
    return {(p.device, p.VLAN) for p in server.db.rows("PIF") if p.currently_attached}


def shape(server: Services) -> Any:
    """All that a failed change must leave as it was."""
    rows = [server.db.rows(cls) for cls in ("PIF", "Bond", "VLAN", "tunnel", "VIF", "network")]
    columns = server.db.tables["PIF"].columns
    pifs = {p.ref: {n: str(getattr(p, n)) for n in columns} for p in rows[0]}
    return pifs, [len(r) for r in rows], server.bridges()


def test_nics_become_pifs_and_one_is_the_management_interface(server: Services) -> None:
    pifs = {p.device: p for p in server.db.rows("PIF")}
    assert set(pifs) == {"eth0", "eth1", "eth2", "eth3"}
    assert [p.device for p in pifs.values() if p.management] == ["eth0"]
    assert pifs["eth0"].ip_configuration_mode == "DHCP"
    assert pifs["eth0"].IP == "10.71.1.10"
    assert all(p.currently_attached for p in pifs.values())
    metrics = server.db.row("PIF_metrics", pifs["eth0"].metrics)
    assert (metrics.carrier, metrics.speed, metrics.duplex) == (True, 10000, True)
    assert set(server.bridges()) == {f"xenbr{n}" for n in range(4)}


def test_a_pulled_cable_shows(server: Services) -> None:
    server.networkd.methods["DEBUG.set_carrier"](None, "eth1", False)
    server.settle()
    metrics = server.db.row("PIF_metrics", server.db.row("PIF", server.pif("eth1")).metrics)
    assert (metrics.carrier, metrics.speed) == (False, 0)


def test_a_vlan_lives(server: Services) -> None:
    network, eth1 = server.network(), server.pif("eth1")
    vlan = server.do("VLAN.create", eth1, "10", network)
    pif = server.db.row("PIF", server.pif("eth1", 10))
    bridge = server.do("network.get_bridge", network)
    assert server.bridges()[bridge]["vlan"] == ["xenbr1", 10]
    assert pif.metrics == server.db.row("PIF", eth1).metrics
    assert pif.currently_attached
    server.do("VLAN.destroy", vlan)
    assert bridge not in server.bridges()
    assert server.db.row("PIF_metrics", server.db.row("PIF", eth1).metrics)
    assert server.do("VLAN.get_all") == []


def test_what_cannot_be_a_vlan(server: Services) -> None:
    network, other, eth1 = server.network(), server.network("other"), server.pif("eth1")
    server.do("VLAN.create", eth1, "10", network)
    untagged = server.pif("eth1", 10)
    connected = ["NETWORK_ALREADY_CONNECTED", server.here, untagged]
    assert server.refusal("VLAN.create", eth1, "11", network) == connected
    assert server.refusal("VLAN.create", eth1, "10", other) == ["PIF_VLAN_EXISTS", "eth1"]
    assert server.refusal("VLAN.create", eth1, "4095", other) == ["VLAN_TAG_INVALID", "4095"]
    assert server.refusal("VLAN.create", eth1, "-1", other) == ["VLAN_TAG_INVALID", "-1"]
    assert server.refusal("VLAN.create", untagged, "7", other) == ["PIF_IS_VLAN", untagged]
    assert server.refusal("PIF.forget", eth1) == ["PIF_VLAN_STILL_EXISTS", eth1]
    assert server.refusal("PIF.destroy", eth1) == ["PIF_IS_PHYSICAL"]
    server.db.find("PIF", eth1)
    free = server.network("free", managed=False, bridge="ext0")
    assert server.refusal("VLAN.create", eth1, "12", free) == ["NETWORK_UNMANAGED", free]


def test_vlans_of_a_whole_pool(server: Services) -> None:
    network = server.network()
    (pif,) = server.do("pool.create_VLAN_from_PIF", server.pif("eth0"), network, "20")
    assert server.do("PIF.get_VLAN", pif) == "20"
    assert server.refusal("pool.create_VLAN", "eth9", network, "21") == [
        "INVALID_VALUE",
        "device",
        "eth9",
    ]


def test_a_bond_takes_everything_over_and_gives_it_back(server: Services) -> None:
    eth0, eth1 = server.pif("eth0"), server.pif("eth1")
    vlan_net, bond_net = server.network("vlan"), server.network("bond")
    server.do("VLAN.create", eth1, "10", vlan_net)
    before = shape(server)
    bond = server.do("Bond.create", bond_net, [eth1, eth0], "", "active-backup", {})
    master = server.db.row("PIF", server.do("Bond.get_master", bond))
    assert (master.device, master.management, master.ip_configuration_mode) == (
        "bond0",
        True,
        "DHCP",
    )
    assert server.do("PIF.get_MAC", eth0) == master.MAC
    assert attached(server) == {("bond0", -1), ("bond0", 10), ("eth2", -1), ("eth3", -1)}
    assert server.do("PIF.get_ip_configuration_mode", eth0) == "None"
    assert server.do("Bond.get_links_up", bond) == "2"
    assert server.refusal("PIF.plug", eth0) == ["CANNOT_PLUG_BOND_SLAVE", eth0]
    assert server.refusal("PIF.unplug", master.ref) == ["PIF_IS_MANAGEMENT_INTERFACE", master.ref]
    server.do("Bond.destroy", bond)
    assert attached(server) == {(f"eth{n}", -1) for n in range(4)} | {("eth0", 10)}
    assert server.do("PIF.get_management", eth0) is True
    assert set(server.bridges()) == set(before[2])


def test_a_bond_that_cannot_be_brought_up_changes_nothing(server: Services) -> None:
    server.do("VLAN.create", server.pif("eth1"), "10", server.network("vlan"))
    network = server.network("bond")
    before = shape(server)
    members = [server.pif("eth0"), server.pif("eth1")]
    server.networkd.methods["DEBUG.fail_step"](None, "AddPort", "no")
    refused = server.refusal("Bond.create", network, members, "", "lacp", {})
    assert refused[0] == "PIF_CONFIGURATION_ERROR"
    server.networkd.methods["DEBUG.fail_step"](None, "AddPort", "")
    assert shape(server)[:2] == before[:2]
    bond = server.do("Bond.create", network, members, "", "lacp", {})
    between = shape(server)
    server.networkd.methods["DEBUG.fail_step"](None, "AddPort", "no")
    assert server.refusal("Bond.destroy", bond)[0] == "PIF_CONFIGURATION_ERROR"
    server.networkd.methods["DEBUG.fail_step"](None, "AddPort", "")
    assert shape(server)[:2] == between[:2]
    server.do("Bond.destroy", bond)


def test_what_cannot_be_a_bond(server: Services) -> None:
    network = server.network()
    eth0, eth1, eth2 = (server.pif(f"eth{n}") for n in range(3))

    def refused(members: list[str], mac: str = "", mode: str = "lacp", **options: str) -> list[str]:
        return server.refusal("Bond.create", network, members, mac, mode, options)

    assert refused([]) == ["PIF_BOND_NEEDS_MORE_MEMBERS"]
    assert refused([NOBODY]) == ["HANDLE_INVALID", "PIF", NOBODY]
    assert refused([eth1], "zz") == ["MAC_INVALID", "zz"]
    assert refused([eth1], odd="x") == ["INVALID_VALUE", "properties", "odd = x"]
    assert refused([eth1], mode="balance-slb", hashing_algorithm="src_mac") == [
        "INVALID_VALUE",
        "properties",
        "hashing_algorithm = src_mac",
    ]
    server.do("PIF.reconfigure_ip", eth1, "Static", "10.0.0.5", "255.255.255.0", "", "")
    assert refused([eth0, eth1]) == ["PIF_BOND_MORE_THAN_ONE_IP"]
    server.do("PIF.set_property", eth2, "gro", "off")
    assert refused([eth1, eth2]) == ["INCOMPATIBLE_PIF_PROPERTIES"]
    bonded = server.network("first")
    server.do("Bond.create", bonded, [eth2], "", "active-backup", {})
    assert refused([eth2]) == ["PIF_ALREADY_BONDED", eth2]


def test_bond_options_follow_the_mode(server: Services) -> None:
    members = [server.pif("eth1"), server.pif("eth2")]
    options = {"hashing_algorithm": "src_mac"}
    bond = server.do("Bond.create", server.network(), members, "", "lacp", options)
    assert server.do("Bond.get_properties", bond)["lacp-time"] == "slow"
    server.do("Bond.set_property", bond, "lacp-time", "fast")
    assert server.refusal("Bond.set_property", bond, "lacp-time", "odd")[0] == "INVALID_VALUE"
    server.do("Bond.set_mode", bond, "balance-slb")
    assert server.do("Bond.get_properties", bond) == {}
    bridge = server.bridges()["xapi0"]
    assert ["mode", "balance-slb"] in bridge["ports"]["bond0"]["bond_properties"]


def test_a_bond_that_loses_a_link_raises_an_alert(server: Services) -> None:
    members = [server.pif("eth1"), server.pif("eth2")]
    bond = server.do("Bond.create", server.network(), members, "", "active-backup", {})
    server.networkd.methods["DEBUG.set_carrier"](None, "eth1", False)
    server.settle()
    assert server.do("Bond.get_links_up", bond) == "1"
    bodies = [m.body for m in server.db.rows("message") if m.name == "BOND_STATUS_CHANGED"]
    assert bodies == ["The status of the eth1+eth2 bond changed: 1/2 up (was 2/2)"]


def test_addresses_are_set_at_once_and_checked(server: Services) -> None:
    eth0, eth2 = server.pif("eth0"), server.pif("eth2")
    server.do("PIF.reconfigure_ip", eth2, "Static", "10.0.0.5", "255.255.255.0", "", "1.1.1.1")
    links = {k["name"]: k for k in server.daemon("Interface.scan")["result"]}
    assert links["xenbr2"]["ipv4"] == [["10.0.0.5", 24]]
    for ip, mask, gateway, field in (
        ("bad", "255.255.255.0", "", "IP"),
        ("10.0.0.5", "255.0.255.0", "", "netmask"),
        ("10.0.0.5", "255.255.255.0", "x", "gateway"),
    ):
        assert server.refusal("PIF.reconfigure_ip", eth2, "Static", ip, mask, gateway, "") == [
            "INVALID_IP_ADDRESS_SPECIFIED",
            field,
        ]
    assert server.refusal("PIF.reconfigure_ip", eth0, "None", "", "", "", "") == [
        "PIF_IS_MANAGEMENT_INTERFACE",
        eth0,
    ]
    assert server.refusal("PIF.reconfigure_ipv6", eth2, "Static", "bad", "", "") == [
        "INVALID_CIDR_ADDRESS_SPECIFIED",
        "IPv6",
    ]
    server.do("PIF.reconfigure_ipv6", eth2, "Static", "fd00::5/64", "", "")
    server.do("PIF.reconfigure_ip", eth2, "None", "", "", "", "")
    assert server.do("PIF.get_IP", eth2) == ""


def test_pifs_go_and_come(server: Services) -> None:
    eth0, eth3 = server.pif("eth0"), server.pif("eth3")
    assert server.refusal("PIF.forget", eth0) == ["PIF_IS_MANAGEMENT_INTERFACE", eth0]
    server.do("PIF.set_disallow_unplug", eth3, True)
    assert server.refusal("PIF.unplug", eth3) == ["PIF_DOES_NOT_ALLOW_UNPLUG", eth3]
    server.do("PIF.set_disallow_unplug", eth3, False)
    server.do("PIF.unplug", eth3)
    assert "xenbr3" not in server.bridges()
    server.do("PIF.plug", eth3)
    server.do("PIF.forget", eth3)
    assert server.refusal("PIF.introduce", server.here, "zz", "eth3", True) == ["MAC_INVALID", "zz"]
    assert server.refusal("PIF.introduce", server.here, "", "eth0", True) == [
        "DUPLICATE_PIF_DEVICE_NAME",
        "eth0",
    ]
    wrong = ("eth3", "02:00:00:00:99:99")
    assert server.refusal("PIF.introduce", server.here, wrong[1], wrong[0], True)[1:] == list(wrong)
    server.do("PIF.introduce", server.here, "", "eth3", True)
    server.do("PIF.forget", server.pif("eth3"))
    server.do("PIF.scan", server.here)
    assert server.db.row("PIF", server.pif("eth3")).network


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"bridge": "xapi7"}, ["INVALID_VALUE", "bridge", "xapi7"]),
        ({"bridge": "a" * 16}, ["INVALID_VALUE", "bridge", "a" * 16]),
        ({"bridge": "taken0"}, ["BRIDGE_NAME_EXISTS", "taken0"]),
    ],
)
def test_bridge_names(server: Services, fields: dict[str, str], expected: list[str]) -> None:
    server.network("first", bridge="taken0")
    record = {"name_label": "n", "other_config": {}, **fields}
    assert server.refusal("network.create", record) == expected


def test_networks_in_use_stay(server: Services) -> None:
    eth1 = server.db.row("PIF", server.pif("eth1"))
    assert server.refusal("network.destroy", eth1.network) == ["NETWORK_CONTAINS_PIF", eth1.ref]
    (internal,) = server.db.by_name_label("network", "Host internal management network")
    assert server.refusal("network.destroy", internal) == [
        "CANNOT_DESTROY_SYSTEM_NETWORK",
        internal,
    ]
    network = server.network()
    server.do("network.add_purpose", network, "nbd")
    assert server.refusal("network.add_purpose", network, "insecure_nbd") == [
        "NETWORK_INCOMPATIBLE_PURPOSES",
        "insecure_nbd",
        "nbd",
    ]
    server.do("network.destroy", network)


def test_private_networks_get_a_bridge_that_survives_other_changes(server: Services) -> None:
    network = server.network()
    bridge = server.do("network.get_bridge", network)
    server.do("network.attach", network, server.here)
    assert bridge in server.bridges()
    server.do("VLAN.create", server.pif("eth1"), "10", server.network("vlan"))
    assert bridge in server.bridges()
    unmanaged = server.network("ext", managed=False, bridge="ext0")
    assert server.refusal("network.attach", unmanaged, server.here) == [
        "BRIDGE_NOT_AVAILABLE",
        "ext0",
    ]


def test_tunnels_need_the_right_switch_and_an_address(server: Services) -> None:
    network, eth1 = server.network(), server.pif("eth1")
    tunnel = server.do("tunnel.create", eth1, network, "gre")
    access = server.do("tunnel.get_access_PIF", tunnel)
    assert server.do("tunnel.get_status", tunnel)["active"] == "false"
    assert server.refusal("PIF.plug", access) == ["TRANSPORT_PIF_NOT_CONFIGURED", eth1]
    assert server.refusal("tunnel.create", access, server.network("n"), "gre") == [
        "IS_TUNNEL_ACCESS_PIF",
        access,
    ]
    server.do("PIF.reconfigure_ip", eth1, "Static", "10.0.0.5", "255.255.255.0", "", "")
    server.do("PIF.plug", access)
    assert server.do("tunnel.get_status", tunnel)["active"] == "true"
    assert server.refusal("PIF.forget", eth1) == ["PIF_TUNNEL_STILL_EXISTS", eth1]
    server.do("tunnel.destroy", tunnel)
    assert server.do("tunnel.get_all") == []


def test_a_plain_bridge_has_no_tunnels_nor_controllers(tmp_path: Path) -> None:
    server = Services(tmp_path, backend="bridge")
    refused = server.refusal("tunnel.create", server.pif("eth1"), server.network(), "gre")
    assert refused == ["OPENVSWITCH_NOT_ACTIVE"]
    assert server.refusal("SDN_controller.introduce", "ssl", "1.2.3.4", "6640") == [
        "OPERATION_NOT_ALLOWED",
        "host not configured for vswitch operation",
    ]


def test_one_controller_at_most(server: Services) -> None:
    controller = server.do("SDN_controller.introduce", "ssl", "1.2.3.4", "0")
    assert server.do("SDN_controller.get_port", controller) == "6632"
    assert server.refusal("SDN_controller.introduce", "pssl", "", "0")[0] == "OPERATION_NOT_ALLOWED"
    server.do("SDN_controller.forget", controller)


def test_a_start_makes_the_host_what_the_records_say(server: Services) -> None:
    server.do("VLAN.create", server.pif("eth1"), "10", server.network("vlan"))
    members = [server.pif("eth2"), server.pif("eth3")]
    server.do("Bond.create", server.network("bond"), members, "", "lacp", {})
    before = attached(server), set(server.bridges())
    server.network_updates.stop()
    server.wait(start_of_network.prepare(server.toolstack))
    assert (attached(server), set(server.bridges())) == before


def test_gro_is_switched_for_nics_only(server: Services) -> None:
    eth1 = server.pif("eth1")
    server.do("VLAN.create", eth1, "10", server.network())
    vlan = server.pif("eth1", 10)
    assert server.refusal("PIF.set_property", vlan, "gro", "on") == [
        "CANNOT_CHANGE_PIF_PROPERTIES",
        vlan,
    ]
    assert server.refusal("PIF.set_property", eth1, "gro", "maybe")[0] == "INVALID_VALUE"
    server.do("PIF.set_property", eth1, "gro", "off")
    assert server.do("PIF.get_properties", vlan) == {"gro": "off"}
    assert server.do("PIF.get_bond_slave_of", vlan) == NULL

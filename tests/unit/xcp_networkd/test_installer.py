from dataclasses import replace

import pytest

from xapi_py.base.rpc.errors import RpcError
from xcp_networkd import installer
from xcp_networkd.contract import BridgeConfig, InterfaceConfig, NetworkState, PortConfig
from xcp_networkd.installer import FoundNic

MACS = {"eth0": "02:00:00:00:00:01", "eth1": "02:00:00:00:00:02"}
STATIC = """
# made by the installer
LABEL='eth1'
MODE='static'
IP='192.0.2.10'
NETMASK='255.255.255.0'
GATEWAY='192.0.2.1'
DNS='192.0.2.2,192.0.2.3'
DOMAIN='one.example two.example'
"""


def test_static_management_becomes_a_bridge_with_its_address() -> None:
    state = installer.first_state(installer.parse(STATIC), MACS)
    assert state.bridges == {
        "xenbr1": BridgeConfig(
            {"eth1": PortConfig(("eth1",))}, bridge_mac=MACS["eth1"], persistent=True
        )
    }
    assert state.interfaces["xenbr1"] == InterfaceConfig(
        ipv4_mode="Static4",
        ipv4_addresses=(("192.0.2.10", 24),),
        ipv4_gateway="192.0.2.1",
        name_servers=("192.0.2.2", "192.0.2.3"),
        domains=("one.example", "two.example"),
        persistent=True,
    )
    assert (state.gateway_interface, state.dns_interface) == ("xenbr1", "xenbr1")


def test_management_on_a_vlan_stands_on_a_bridge_of_its_own() -> None:
    state = installer.first_state(installer.parse("LABEL=eth0\nMODE=dhcp\nVLAN=25"), MACS)
    assert state.bridges["xentemp"].vlan == ("xenbr0", 25)
    assert state.interfaces["xentemp"].ipv4_mode == "DHCP4"


STATIC_NIC = FoundNic(
    "eth1", MACS["eth1"], (("192.0.2.10", 24),), "192.0.2.1", name_servers=("192.0.2.2",)
)


def test_what_the_host_is_reached_through_is_taken_over() -> None:
    other = FoundNic("eth0", MACS["eth0"], (("198.51.100.1", 24),))
    state = installer.as_found([other, STATIC_NIC])
    assert state.bridges == {
        "xenbr1": BridgeConfig(
            {"eth1": PortConfig(("eth1",))}, bridge_mac=MACS["eth1"], persistent=True
        )
    }
    config = state.interfaces["xenbr1"]
    assert (config.ipv4_mode, config.ipv4_addresses, config.ipv4_gateway, config.name_servers) == (
        "Static4",
        (("192.0.2.10", 24),),
        "192.0.2.1",
        ("192.0.2.2",),
    )
    assert state.gateway_interface == "xenbr1"


def test_leased_addresses_stay_leased() -> None:
    nic = replace(STATIC_NIC, leased4=True, ipv6=(("2001:db8::9", 64),), leased6=True)
    config = installer.as_found([nic]).interfaces["xenbr1"]
    assert (config.ipv4_mode, config.ipv6_mode) == ("DHCP4", "Autoconf6")


def test_card_with_another_name_has_a_bridge_of_that_name() -> None:
    state = installer.as_found([replace(STATIC_NIC, name="enp3s0")])
    assert list(state.bridges) == ["brenp3s0"]
    assert installer.as_found([FoundNic("eth0", MACS["eth0"])]) == NetworkState()


def test_management_on_a_bond() -> None:
    text = "LABEL=eth0\nMODE=dhcp\nBOND_MODE=lacp\nBOND_MEMBERS=eth0,eth1"
    bridge = installer.first_state(installer.parse(text), MACS).bridges["xapi0"]
    assert bridge.ports["bond0"] == PortConfig(("eth0", "eth1"), MACS["eth0"], {"mode": "lacp"})


@pytest.mark.parametrize("text", ["", "LABEL=eth9\nMODE=dhcp", "MODE=dhcp"])
def test_missing_card_gives_no_network(text: str) -> None:
    assert installer.first_state(installer.parse(text), MACS).bridges == {}


@pytest.mark.parametrize(
    "line, name",
    [
        ("IP=192.0.2.300", "Bad_network_config"),
        ("GATEWAY=nonsense", "Bad_network_config"),
        ("NETMASK=255.0.255.0", "Bad_network_config"),
        ("VLAN=5000", "Bad_network_config"),
        ("VLAN=x", "Bad_network_config"),
    ],
)
def test_mistakes_are_named(line: str, name: str) -> None:
    with pytest.raises(RpcError) as problem:
        installer.first_state(installer.parse(STATIC + line), MACS)
    assert problem.value.name == name

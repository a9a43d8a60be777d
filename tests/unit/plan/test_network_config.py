"""The network document of a host, planned from records alone."""

from typing import Any

import pytest

from tests.unit.plan.factories import DictView
from xapi_py.plan import bond
from xapi_py.plan.network_config import document, ethtool, mtu_of, prefix_length, static_routes


def nic(view: DictView, host: Any, number: int, **fields: Any) -> Any:
    network = view.add("network", bridge=f"xenbr{number}", MTU=1500)
    given = {"device": f"eth{number}", "MAC": f"02:00:00:00:00:0{number}", "VLAN": -1, **fields}
    return view.add("PIF", host=host.ref, network=network.ref, managed=True, **given)


@pytest.fixture
def view() -> DictView:
    return DictView()


def test_a_vlan_brings_what_it_sits_on_without_an_address(view: DictView) -> None:
    host = view.add("host")
    below = nic(view, host, 0, ip_configuration_mode="DHCP")
    vlan = view.add("VLAN", tagged_PIF=below.ref, tag=7)
    network = view.add("network", bridge="xapi0", MTU=1500)
    pif = view.add(
        "PIF", host=host.ref, network=network.ref, device="eth0", VLAN=7, VLAN_master_of=vlan.ref
    )
    made = document(view, host, {pif.ref})
    assert made["bridge_config"]["xapi0"]["vlan"] == ["xenbr0", 7]
    assert made["bridge_config"]["xapi0"]["bridge_mac"] == below.MAC
    assert "ipv4_conf" not in made["interface_config"]["xenbr0"]
    both = document(view, host, {pif.ref, below.ref})
    assert both["interface_config"]["xenbr0"]["ipv4_conf"] == ["DHCP4"]
    assert both["gateway_interface"] == "xenbr0"


def test_who_has_the_default_route(view: DictView) -> None:
    host = view.add("host")
    first = nic(view, host, 0, ip_configuration_mode="DHCP")
    second = nic(view, host, 1, ip_configuration_mode="DHCP")
    refs = {first.ref, second.ref}
    assert document(view, host, refs)["gateway_interface"] == "xenbr0"
    second.management = True
    assert document(view, host, refs)["gateway_interface"] == "xenbr1"
    first.other_config = {"defaultroute": "true"}
    assert document(view, host, refs)["gateway_interface"] == "xenbr0"
    assert document(view, host, refs)["dns_interface"] == "xenbr1"
    assert document(view, host, set())["gateway_interface"] is None


def test_static_addresses_with_servers_and_domains(view: DictView) -> None:
    host = view.add("host")
    pif = nic(
        view, host, 0, ip_configuration_mode="Static", IP="10.0.0.5", netmask="255.255.240.0",
        gateway="10.0.0.1", DNS="1.1.1.1, 2.2.2.2", other_config={"domain": "a.example,b.example"},
    )  # fmt: skip
    found = document(view, host, {pif.ref})["interface_config"]["xenbr0"]
    assert found["ipv4_conf"] == ["Static4", [["10.0.0.5", 20]]]
    assert found["dns"] == [["1.1.1.1", "2.2.2.2"], ["a.example", "b.example"]]


@pytest.mark.parametrize(
    ("own", "network", "expected"),
    [("", 9000, 9000), ("1400", 9000, 1400), ("x", 0, 1500), ("", 100_000, 1500)],
)
def test_mtu_of_a_pif(view: DictView, own: str, network: int, expected: int) -> None:
    pif = nic(view, view.add("host"), 0, other_config={"mtu": own} if own else {})
    view.row("network", pif.network).MTU = network
    assert mtu_of(view, pif) == expected


def test_ethtool_keys() -> None:
    settings, offload = ethtool(
        {"ethtool-speed": "1000", "ethtool-gro": "true", "ethtool-tx": "off", "ethtool-sg": "?"}
    )
    assert settings == [["speed", "1000"]]
    assert offload == [["tx", "off"], ["gro", "on"], ["lro", "off"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.1.0.0/16/10.0.0.1", [["10.1.0.0", 16, "10.0.0.1"]]),
        ("", []),
        ("bad, 10.1.0.0/16/x,10.2.0.0/24/10.0.0.2", [["10.2.0.0", 24, "10.0.0.2"]]),
    ],
)
def test_static_routes(text: str, expected: list[list[Any]]) -> None:
    assert static_routes(text) == expected


def test_netmasks() -> None:
    assert prefix_length("255.255.255.0") == 24
    assert prefix_length("0.0.0.0") == 0
    for wrong in ("255.0.255.0", "0.0.0.255", "24", ""):
        with pytest.raises(ValueError):  # noqa: PT011  its text is nobody's business
            prefix_length(wrong)


def test_bond_options_that_stay_good_in_another_mode() -> None:
    options = bond.checked("lacp", {"lacp-aggregation-key": "5"})
    assert options["lacp-time"] == "slow"
    assert bond.kept("lacp", options) == options
    assert bond.kept("active-backup", options) == {}

import pytest

from xcp_networkd.backends.openvswitch import commands
from xcp_networkd.contract import BridgeConfig, PortConfig, VifLock, VifPort


def text(words: list[str]) -> str:
    return " ".join(words)


def test_bridge_is_made_with_its_options_in_one_transaction() -> None:
    config = BridgeConfig(bridge_mac="02:00:00:00:00:01", igmp_snooping=True)
    assert text(commands.create_bridge("xenbr0", config, "system")) == (
        "-- --may-exist add-br xenbr0 -- set bridge xenbr0 datapath_type=system"
        " -- set bridge xenbr0 fail_mode=standalone other_config:mac-table-size=10000"
        " mcast_snooping_enable=true other_config:mcast-snooping-disable-flood-unregistered=true"
        ' other_config:hwaddr="02:00:00:00:00:01"'
        " -- remove bridge xenbr0 other_config disable-in-band"
    )


def test_vlan_is_a_fake_bridge() -> None:
    config = BridgeConfig(vlan=("xenbr0", 25), bridge_mac="02:00:00:00:00:01")
    assert text(commands.create_bridge("xapi3", config, "system")) == (
        '-- --may-exist add-br xapi3 xenbr0 25 -- set interface xapi3 mac="02:00:00:00:00:01"'
    )


def test_limit_of_a_device_is_told_in_kilobits_and_taken_away_again() -> None:
    limited = VifPort("vif1.0", VifLock("", rate_kib=1000))
    assert text(commands.add_vif("xenbr0", limited, move=False)).endswith(
        "add-port xenbr0 vif1.0 -- set port vif1.0 trunks=[]"
        " -- set interface vif1.0 ingress_policing_rate=8192 ingress_policing_burst=9240"
    )
    assert text(commands.limit("vif1.0", VifLock(""))).endswith(
        "ingress_policing_rate=0 ingress_policing_burst=0"
    )


def test_device_carries_the_vlans_of_its_trunk() -> None:
    trunk = VifPort("vif1.0", VifLock(""), trunks=(0, 25))
    assert "-- set port vif1.0 trunks=[0,25]" in text(commands.add_vif("br", trunk, move=False))


def test_controller_options_come_from_the_network() -> None:
    config = BridgeConfig(
        other_config={
            "vswitch-controller-fail-mode": "secure",
            "vswitch-disable-in-band": "true",
        }
    )
    found = text(commands.set_bridge("xenbr0", config))
    assert "fail_mode=secure" in found
    assert found.endswith("other_config:disable-in-band=true")


@pytest.mark.parametrize(
    "properties, expected",
    [
        ({"mode": "balance-slb"}, {"lacp": "off", "bond_mode": "balance-slb"}),
        ({"mode": "active-backup"}, {"lacp": "off", "bond_mode": "active-backup"}),
        ({"mode": "lacp"}, {"lacp": "active", "bond_mode": "balance-tcp"}),
        (
            {"mode": "lacp", "hashing-algorithm": "src_mac", "lacp-time": "fast"},
            {
                "lacp": "active",
                "bond_mode": "balance-slb",
                "other_config:lacp-time": "fast",
                "other_config:lacp-fallback-ab": "true",
            },
        ),
        (
            {"mode": "active-backup", "updelay": "5", "use_carrier": "0", "primary": "eth1"},
            {
                "bond_updelay": "5",
                "bond_downdelay": "200",
                "other_config:bond-detect-mode": "miimon",
                "other_config:bond-primary": "eth1",
            },
        ),
    ],
)
def test_each_kind_of_bond_has_its_columns(
    properties: dict[str, str], expected: dict[str, str]
) -> None:
    assert expected.items() <= dict(commands.bond_columns(properties)).items()


def test_aggregation_key_goes_to_the_members() -> None:
    port = PortConfig(("eth0", "eth1"), "", {"mode": "lacp", "lacp-aggregation-key": "7"})
    found = text(commands.add_port("xapi0", "bond0", port))
    assert "add-bond xapi0 bond0 eth0 eth1 lacp=active" in found
    assert "-- set interface eth1 other_config:lacp-aggregation-key=7" in found

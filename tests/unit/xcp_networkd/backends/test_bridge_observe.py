"""What a kernel with bonds and VLANs looks like; this needs no such kernel."""

from typing import Any

import pytest

from xcp_networkd.backends.bridge import bonding, observe
from xcp_networkd.contract import BridgeConfig, PortConfig
from xcp_networkd.linux.interfaces import Snapshot
from xcp_networkd.netlink import codec
from xcp_networkd.netlink.codec import Device

BOND = {"mode": "lacp", "lacp-time": "fast"}


def device(index: int, name: str, info: str = "", **more: Any) -> Device:
    values: dict[str, Any] = {"mac": f"02:00:00:00:00:{index:02x}", "mtu": 1500, "flags": 0}
    values |= {"ethernet": True, "master": 0, "lower": 0, "alias": "", "permanent_mac": ""}
    values |= {"parent": "", "data": {}, "slave_data": {}, "counters": (0,) * 6}
    return Device(index=index, name=name, info=info, **{**values, **more})


def bond_data() -> dict[int, bytes]:
    return {key: value.to_bytes(4, "little") for key, value in bonding.options(BOND).items()}


def devices(*, tag: int = 25) -> Snapshot:
    mark = observe.alias(None)
    found = [
        device(1, "eth0", master=3),
        device(2, "eth1", master=3),
        device(3, "bond0", "bond", master=4, alias=mark, data=bond_data()),
        device(4, "xapi0", "bridge", alias=mark),
        device(
            *(5, "bond0.25", "vlan"),
            **{"master": 6, "lower": 3, "alias": mark},
            data={codec.VLAN_ID: tag.to_bytes(2, "little")},
        ),
        device(6, "xapi1", "bridge", alias=observe.alias(("xapi0", 25))),
        device(7, "vif3.0", "vif", master=6),
        device(8, "docker0", "bridge"),
    ]
    return Snapshot({d.name: d for d in found}, [], [])


KEPT = {
    "xapi0": BridgeConfig({"bond0": PortConfig(("eth1", "eth0"), "", BOND)}, persistent=True),
    "xapi1": BridgeConfig(vlan=("xapi0", 25)),
}


def test_what_is_as_it_was_made_is_found_as_it_was_asked_for() -> None:
    vif = {"vif3.0": PortConfig(("vif3.0",), kind="vif")}
    assert observe.bridges(devices(), KEPT) == {
        "xapi0": KEPT["xapi0"],
        "xapi1": BridgeConfig(vif, vlan=("xapi0", 25)),
    }


def test_bond_with_other_options_is_found_without_them() -> None:
    kept = {"xapi0": BridgeConfig({"bond0": PortConfig(("eth0", "eth1"), "", {"mode": "lacp"})})}
    assert observe.bridges(devices(), kept)["xapi0"].ports["bond0"].bond_properties == {}


def test_vlan_with_another_tag_is_no_vlan_of_ours() -> None:
    assert observe.bridges(devices(tag=26), KEPT)["xapi1"].vlan is None


def test_without_record_the_devices_speak() -> None:
    found = observe.bridges(devices(), {})
    assert found["xapi0"].ports["bond0"].interfaces == ("eth0", "eth1")
    assert found["xapi1"].vlan == ("xapi0", 25)
    assert "docker0" not in found


def test_balance_slb_works_as_active_backup() -> None:
    assert bonding.options({"mode": "balance-slb"})[bonding.MODE] == bonding.ACTIVE_BACKUP
    assert bonding.options({"mode": "lacp"})[bonding.MODE] == bonding.LACP
    assert bonding.options({"mode": "lacp", "hashing-algorithm": "src_mac"})[14] == 0


@pytest.mark.parametrize(
    "mode, states, counted",
    [
        ("active-backup", (0, 0), ["eth0", "eth1"]),
        ("lacp", (63, 63), ["eth0", "eth1"]),
        ("lacp", (63, 15), ["eth0"]),
        ("lacp", (61, 7), ["eth0"]),
        ("lacp", (69, 71), ["eth0"]),
    ],
)
def test_member_counts_once_the_peer_agreed_to_it(
    mode: str, states: tuple[int, int], counted: list[str]
) -> None:
    value = bonding.options({"mode": mode})[bonding.MODE]
    bond = device(3, "bond0", "bond", data={bonding.MODE: value.to_bytes(1, "little")})
    members = [
        device(
            *(number, f"eth{number}"),
            flags=0x10001,
            slave_data={codec.SLAVE_LACP_STATE: state.to_bytes(1, "little")},
        )
        for number, state in enumerate(states)
    ]
    assert [m.name for m in bonding.carrying(bond, members)] == counted

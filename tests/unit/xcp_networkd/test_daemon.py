from pathlib import Path

import pytest

from tests.unit.xcp_networkd.network_host import NetworkHost


@pytest.fixture
def host(tmp_path: Path) -> NetworkHost:
    return NetworkHost(tmp_path)


def bridge(*nics: str, **more: object) -> dict[str, object]:
    return {"ports": {n: {"interfaces": [n]} for n in nics}, **more}


BOND = {
    "ports": {
        "bond0": {
            "interfaces": ["eth1", "eth2"],
            "bond_properties": {"mode": "active-backup"},
            "bond_mac": "02:00:00:00:01:01",
        }
    },
    "persistent_b": True,
}


def test_fresh_host_has_a_management_bridge_with_a_lease(host: NetworkHost) -> None:
    link = host.links()["xenbr0"]
    assert (link["ipv4"], link["carrier"]) == ((("10.71.1.10", 16),), True)
    assert host.call("Interface.get_ipv4_addr", name="xenbr0") == [["10.71.1.10", 16]]
    assert host.call("Interface.get_dns", name="xenbr0") == [["10.71.0.2"], ["example"]]
    assert link["mac"] == host.links()["eth0"]["mac"]


def test_scan_lists_the_nics_with_their_hardware(host: NetworkHost) -> None:
    nics = {n: v for n, v in host.links().items() if v["kind"] == "nic"}
    assert list(nics) == ["eth0", "eth1", "eth2", "eth3"]
    assert nics["eth1"]["speed_mbps"] == 10000
    assert nics["eth1"]["pci_bus_path"] == "0000:04:00.1"


def test_bare_host_has_nothing(tmp_path: Path) -> None:
    assert NetworkHost(tmp_path, nics=()).links() == {}


def test_static_address_replaces_the_lease(host: NetworkHost) -> None:
    conf = {
        "ipv4_conf": ["Static4", [["192.0.2.5", 24]]],
        "ipv4_gateway": "192.0.2.1",
        "dns": [["192.0.2.2"], ["lab"]],
        "mtu": 9000,
        "persistent_i": True,
    }
    host.call("Interface.make_config", config=[["xenbr0", conf]])
    link = host.links()["xenbr0"]
    assert link["ipv4"] == (("192.0.2.5", 24),)
    assert (link["ipv4_gateway"], link["mtu"]) == ("192.0.2.1", 9000)


def test_vlan_bridge_follows_its_parent(host: NetworkHost) -> None:
    host.call("Bridge.make_config", config={"xapi0": {"vlan": ["xenbr0", 25]}})
    assert host.call("Bridge.get_physical_interfaces", name="xapi0") == ["eth0"]
    assert host.call("Interface.has_vlan", name="eth0", vlan=25) is True
    host.answer("DEBUG.set_carrier", device="eth0", carrier=False)
    assert host.links()["xapi0"]["carrier"] is False


def test_parent_with_vlans_stays_unless_forced(host: NetworkHost) -> None:
    host.call("Bridge.make_config", config={"xapi0": {"vlan": ["xenbr0", 25]}})
    host.call("Bridge.destroy", name="xenbr0")
    assert "xenbr0" in host.call("Bridge.get_all")
    host.call("Bridge.destroy", name="xenbr0", force=True)
    assert host.call("Bridge.get_all") == []


@pytest.mark.parametrize(
    "config, error",
    [
        ({"xapi0": {"vlan": ["nosuch", 2]}}, ("Bridge_does_not_exist", "nosuch")),
        (
            {"xapi0": {"vlan": ["xenbr0", 2]}, "xapi1": {"vlan": ["xenbr0", 2]}},
            ("Vlan_in_use", "xenbr0", 2),
        ),
        ({"xapi0": {"vlan": ["xenbr0", 4095]}}, ("Bad_network_config", "xapi0: VLAN tag 4095")),
        ({"xapi0": bridge("eth0")}, ("Bad_network_config", "eth0 is in xenbr0 and in xapi0")),
        ({"xapi0": {"colour": 1}}, ("Bad_network_config", "xapi0: unknown member colour")),
    ],
)
def test_contradictions_are_refused_and_change_nothing(
    host: NetworkHost, config: object, error: object
) -> None:
    before = host.links()
    assert host.error("Bridge.make_config", config=config) == error
    assert host.links() == before


def test_bond_counts_links_and_moves_to_the_other_member(host: NetworkHost) -> None:
    host.call("Bridge.make_config", config={"xapi0": BOND})
    bond = host.links()["bond0"]
    assert (bond["links_up"], bond["active"], bond["speed_mbps"]) == (2, "eth1", 10000)
    host.answer("DEBUG.set_carrier", device="eth1", carrier=False)
    bond = host.links()["bond0"]
    assert (bond["links_up"], bond["active"], bond["carrier"]) == (1, "eth2", True)
    assert host.call("Bridge.get_all_bonds") == [["bond0", ["eth1", "eth2"]]]


def test_carrier_change_reaches_the_update_feed(host: NetworkHost) -> None:
    host.call("Bridge.make_config", config={"xapi0": BOND})
    answer = host.answer("Bridge.get_all")
    host.answer("DEBUG.set_carrier", device="eth2", carrier=False)
    updates = host.answer("UPDATES.get", epoch=answer["epoch"], cursor=answer["cursor"])
    names = {u[1] for u in updates["updates"]}
    assert {"eth2", "bond0", "xapi0"} == names


def test_killed_daemon_finds_bridges_as_they_were(host: NetworkHost) -> None:
    host.call("Bridge.make_config", config={"xapi0": BOND, "xapi1": {}})
    host.call("Bridge.add_port", bridge="xapi1", name="vif1.0", interfaces=["vif1.0"], kind="vif")
    before = host.links()
    host.restart()
    assert host.links() == before


def test_after_a_host_restart_only_what_is_persistent_comes_back(host: NetworkHost) -> None:
    host.call("Bridge.make_config", config={"xapi0": BOND, "xapi1": {}})
    (host.state / "simulated-kernel.json").unlink()
    host.restart()
    assert sorted(host.call("Bridge.get_all")) == ["xapi0", "xenbr0"]


def test_ports_of_virtual_machines_survive_a_new_bridge_configuration(host: NetworkHost) -> None:
    host.call("Bridge.add_port", bridge="xenbr0", name="vif1.0", interfaces=["vif1.0"], kind="vif")
    host.call("Bridge.make_config", config={"xenbr0": bridge("eth0", persistent_b=True)})
    assert "vif1.0" in host.call("Bridge.get_interfaces", name="xenbr0")
    host.call("Bridge.remove_port", bridge="xenbr0", name="vif1.0")
    assert host.call("Bridge.get_interfaces", name="xenbr0") == ["eth0"]


def test_failing_step_leaves_everything_as_it_was(host: NetworkHost) -> None:
    before, wanted = host.links(), host.call("Network.get")
    host.answer("DEBUG.fail_step", step="AddPort", text="no such port")
    config = {"bridge_config": {"xapi0": BOND}, "interface_config": {}}
    assert host.error("Network.apply", config=config) == ("Script_error", "no such port")
    host.answer("DEBUG.fail_step", step="AddPort", text="")
    host.call("Network.apply", config=wanted)
    assert host.links() == before


def test_clearing_touches_nothing_until_it_is_asked_for_again(host: NetworkHost) -> None:
    host.call("Bridge.make_config", config={"xapi1": {}})
    host.call("Network.clear_state")
    host.call("Bridge.make_config", config={"xapi2": {"persistent_b": True}})
    host.call("Network.sync_state")
    assert sorted(host.call("Bridge.get_all")) == ["xapi1", "xapi2", "xenbr0"]


def test_same_configuration_twice_changes_nothing(host: NetworkHost) -> None:
    host.call("Bridge.make_config", config={"xapi0": BOND})
    cursor = host.answer("Bridge.get_all")["cursor"]
    host.call("Bridge.make_config", config={"xapi0": BOND})
    assert host.answer("Bridge.get_all")["cursor"] == cursor


def test_tag_that_something_else_took_is_refused(tmp_path: Path) -> None:
    host = NetworkHost(tmp_path, used_vlans=("eth0.100",))
    error = host.error("Bridge.make_config", config={"xapi0": {"vlan": ["xenbr0", 100]}})
    assert error == ("Vlan_in_use", "eth0", 100)
    assert host.call("Bridge.get_all") == ["xenbr0"]


def test_traffic_counters_move_with_time(host: NetworkHost) -> None:
    first = host.call("Network.stats")["xenbr0"]["rx_bytes"]
    host.clock.advance(10)
    assert host.call("Network.stats")["xenbr0"]["rx_bytes"] > first


def test_unknown_interface_is_named(host: NetworkHost) -> None:
    assert host.error("Interface.get_mac", name="eth9") == ("Interface_does_not_exist", "eth9")
    assert host.call("Interface.exists", name="eth9") is False

"""The network tabs' journeys: networks on VLANs, bonds, addresses, what VMs are on."""

from collections.abc import Iterator

import pytest
import XenAPI

from tests.integration.journey import User, Watcher, destroy_vm, user, watching

pytestmark = pytest.mark.integration


@pytest.fixture
def me(server) -> Iterator[User]:
    with user(server.host(), "https") as client:
        yield client


@pytest.fixture
def watcher(me: User, server) -> Iterator[Watcher]:
    with watching(server.host(), "https") as second:
        yield second


def nic(me: User, device: str) -> str:
    """Give the physical interface of a device name."""
    (ref,) = [
        ref
        for ref, record in me("PIF.get_all_records").items()
        if record["device"] == device and record["physical"]
    ]
    return str(ref)


def new_network(me: User, name: str, **other_config: str) -> str:
    record = {
        "name_label": name,
        "name_description": "",
        "MTU": me.int(1500),
        "tags": [],
        "other_config": other_config,
    }
    ref: str = me("network.create", record)
    return ref


def refusal(me: User, *call: object) -> list[str]:
    with pytest.raises(XenAPI.Failure) as refused:
        me(*call)
    details: list[str] = refused.value.details
    return details


def test_each_card_has_its_network(me: User):
    for device in ("eth0", "eth1", "eth2", "eth3"):
        record = me("PIF.get_record", nic(me, device))
        name = me("network.get_name_label", record["network"])
        assert name == f"Pool-wide network associated with {device}"
        assert me("PIF_metrics.get_carrier", record["metrics"]) is True
    management = me("PIF.get_record", nic(me, "eth0"))
    assert management["management"] is True
    assert management["currently_attached"] is True
    assert management["IP"]


def test_a_network_on_a_vlan(me: User, watcher: Watcher):
    base = nic(me, "eth1")
    network = new_network(me, "VLAN 42", automatic="false")
    made = me("pool.create_VLAN_from_PIF", base, network, me.int(42))
    (tagged,) = made
    record = watcher.until_same(me, "PIF", tagged)
    assert (int(record["VLAN"]), record["network"], record["physical"]) == (42, network, False)
    assert watcher.until_same(me, "network", network)["PIFs"] == [tagged]
    vlan = watcher.until_same(me, "VLAN", record["VLAN_master_of"])
    assert (vlan["tagged_PIF"], int(vlan["tag"])) == (base, 42)
    second = new_network(me, "again")
    assert refusal(me, "pool.create_VLAN_from_PIF", base, second, me.int(42))[0] == (
        "PIF_VLAN_EXISTS"
    )
    for tag in (-1, 4095, 5000):
        failed = refusal(me, "pool.create_VLAN_from_PIF", base, second, me.int(tag))
        assert failed[0] == "VLAN_TAG_INVALID"
    me("VLAN.destroy", record["VLAN_master_of"])
    watcher.until_gone("PIF", tagged)
    me("network.destroy", network)
    me("network.destroy", second)
    watcher.until_gone("network", network)


def test_a_network_with_a_vm_on_it_stays(me: User):
    network = new_network(me, "private")
    vm = me.task("VM.clone", me.one("VM", "Other install media"), "on private")
    me.task("VM.provision", vm)
    interface = me.task(
        "VIF.create",
        {
            "VM": vm,
            "network": network,
            "device": "0",
            "MAC": "",
            "MTU": me.int(1500),
            "other_config": {},
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        },
    )
    me.task("VM.start", vm, False, False)
    assert me("VIF.get_currently_attached", interface) is True
    assert me("network.get_bridge", network)
    assert refusal(me, "network.destroy", network)[0] in ("NETWORK_CONTAINS_VIF", "NETWORK_IN_USE")
    destroy_vm(me, vm)
    me("network.destroy", network)


@pytest.mark.parametrize(
    ("mode", "properties"),
    [("balance-slb", {}), ("active-backup", {}), ("lacp", {"hashing_algorithm": "tcpudp_ports"})],
)
def test_a_bond_of_two_cards(me: User, watcher: Watcher, mode: str, properties: dict[str, str]):
    if mode == "lacp" and me("host.get_software_version", me.host())["network_backend"] == "bridge":
        properties = {}
    slaves = [nic(me, "eth2"), nic(me, "eth3")]
    network = new_network(me, "Bond 2+3", XenCenterCreateInProgress="true", automatic="true")
    me("network.remove_from_other_config", network, "XenCenterCreateInProgress")
    bond = me.task("Bond.create", network, slaves, "", mode, properties)
    record = watcher.until_same(me, "Bond", bond)
    assert (set(record["slaves"]), record["mode"]) == (set(slaves), mode)
    master = watcher.until_same(me, "PIF", record["master"])
    assert (master["network"], master["bond_master_of"]) == (network, [bond])
    assert [me("PIF.get_bond_slave_of", s) for s in slaves] == [bond, bond]
    assert me("PIF_metrics.get_carrier", master["metrics"]) is True
    assert refusal(me, "PIF.plug", slaves[0])[0] == "CANNOT_PLUG_BOND_SLAVE"
    me.task("Bond.destroy", bond)
    watcher.until_gone("Bond", bond)
    me("network.destroy", network)
    assert {me("PIF.get_bond_slave_of", s) for s in slaves} == {"OpaqueRef:NULL"}


def test_the_management_interface_moves_to_a_bond_and_back(me: User, watcher: Watcher):
    eth0, eth1 = nic(me, "eth0"), nic(me, "eth1")
    address = me("PIF.get_IP", eth0)
    network = new_network(me, "Bond 0+1")
    bond = me.task("Bond.create", network, [eth0, eth1], "", "active-backup", {})
    master = me("Bond.get_master", bond)
    record = watcher.until_same(me, "PIF", master)
    assert (record["management"], record["IP"]) == (True, address)
    assert watcher.until_same(me, "PIF", eth0)["management"] is False
    me.task("Bond.destroy", bond)
    assert watcher.until_same(me, "PIF", eth0)["management"] is True
    assert me("PIF.get_IP", eth0) == address
    me("network.destroy", network)


def test_a_second_management_interface_for_storage(me: User, watcher: Watcher):
    card = nic(me, "eth1")
    me("PIF.reconfigure_ip", card, "Static", "192.0.2.99", "255.255.255.0", "", "")
    me("PIF.set_disallow_unplug", card, True)
    me("PIF.plug", card)
    record = watcher.until_same(me, "PIF", card)
    assert (record["ip_configuration_mode"], record["IP"]) == ("Static", "192.0.2.99")
    assert record["currently_attached"] is True
    bad = refusal(
        me, "PIF.reconfigure_ip", card, "Static", "not.an.address", "255.255.255.0", "", ""
    )
    assert bad[0] == "INVALID_IP_ADDRESS_SPECIFIED"
    me("PIF.set_disallow_unplug", card, False)
    me("PIF.reconfigure_ip", card, "None", "", "", "", "")
    assert watcher.until_same(me, "PIF", card)["IP"] == ""


def test_a_rescan_finds_the_same_cards(me: User):
    before = me("PIF.get_all")
    me("PIF.scan", me.host())
    assert set(me("PIF.get_all")) == set(before)


def test_the_management_interface_cannot_be_unplugged(me: User):
    assert refusal(me, "PIF.unplug", nic(me, "eth0"))[0] == "PIF_IS_MANAGEMENT_INTERFACE"

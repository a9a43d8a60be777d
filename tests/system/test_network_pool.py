"""What a client sees of a real network: carrier, speeds, bonds, alerts, machines' devices."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import XenAPI

from tests.system import real_backends
from tests.system.network_lab import ADDRESS, GATEWAY, Echo, NetworkLab, lab, until
from tests.system.network_pool import NetworkPool, pool, seconds_until

pytestmark = pytest.mark.system

BAR_S = 2.0
INSTALLED = f"LABEL=eth0\nMODE=static\nIP={ADDRESS}\nNETMASK=255.255.255.0\nGATEWAY={GATEWAY}\n"


@pytest.fixture(params=["bridge", "openvswitch"])
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def host(system: str, tmp_path: Path) -> Iterator[NetworkLab]:
    """A host as the installer left it."""
    with lab(system, tmp_path) as made:
        made.connect_outside("port0", "port1")
        (tmp_path / "management.conf").write_text(INSTALLED)
        yield made


@pytest.fixture
def client(host: NetworkLab) -> Iterator[NetworkPool]:
    with pool(host) as made:
        yield made


def test_installed_host_shows_its_cards_and_its_address(
    host: NetworkLab, client: NetworkPool
) -> None:
    records = client.do("PIF.get_all_records").values()
    found = {p["device"]: (p["management"], p["IP"], p["MAC"]) for p in records}
    cards = {f"eth{n}": (False, "", f"02:00:00:00:01:0{n}") for n in range(4)}
    assert found == {**cards, "eth0": (True, ADDRESS, "02:00:00:00:01:00")}
    assert client.metrics(client.pif("eth0"))["speed"] == "10000"
    assert client.do("host.get_software_version", client.host)["network_backend"] == host.system


def test_host_set_up_by_somebody_else_stays_reachable(tmp_path: Path, system: str) -> None:
    with lab(system, tmp_path) as host:
        host.connect_outside("port2")
        host.host.ip("addr", "add", f"{ADDRESS}/24", "dev", "eth2")
        host.host.ip("route", "add", "default", "via", GATEWAY)
        echo = Echo(host.outside, host.host, ADDRESS)
        until(echo.passes, 5, "the host as it is")
        with pool(host) as client:
            until(echo.passes, 10, "the host under the daemon")
            (record,) = (p for p in client.do("PIF.get_all_records").values() if p["management"])
            assert (record["device"], record["IP"], record["gateway"]) == ("eth2", ADDRESS, GATEWAY)
        echo.close()


def test_pulled_cable_is_seen_in_time(host: NetworkLab, client: NetworkPool) -> None:
    pif = client.pif("eth1")
    assert client.metrics(pif)["carrier"]
    for state, carrier in (("down", False), ("up", True)):
        host.outside.ip("link", "set", "port1", state)
        took_s = seconds_until(lambda: client.metrics(pif)["carrier"], carrier, 10)
        print(f"{host.system}: carrier {state} told after {took_s * 1000:.0f} ms")
        assert took_s < BAR_S


@pytest.mark.parametrize("mode", ["active-backup", "balance-slb"])
def test_bond_whose_member_loses_its_link_raises_an_alert(
    host: NetworkLab, client: NetworkPool, mode: str
) -> None:
    host.needs("bond")
    bond = client.bond("eth1", "eth2", mode=mode)
    until(lambda: client.do("Bond.get_links_up", bond) == "2", 40, "two links")
    before = set(client.do("message.get_all"))
    host.outside.ip("link", "set", "port1", "down")
    took_s = seconds_until(lambda: client.do("Bond.get_links_up", bond), "1", 10)
    print(f"{host.system}, {mode}: links_up told after {took_s * 1000:.0f} ms")
    assert took_s < BAR_S
    until(lambda: set(client.do("message.get_all")) > before, 5, "an alert")
    records = client.do("message.get_all_records")
    (alert,) = (m for ref, m in records.items() if ref not in before)
    host_uuid = client.do("host.get_uuid", client.host)
    assert (alert["name"], alert["priority"], alert["cls"], alert["obj_uuid"]) == (
        *("BOND_STATUS_CHANGED", "3"),
        *("Host", host_uuid),
    )
    assert alert["body"] == "The status of the eth1+eth2 bond changed: 1/2 up (was 2/2)"
    master = client.do("Bond.get_master", bond)
    assert client.metrics(master)["carrier"]


def test_address_changes_while_traffic_runs(host: NetworkLab, client: NetworkPool) -> None:
    pif, mask = client.pif("eth0"), "255.255.255.0"
    echo = Echo(host.outside, host.host, ADDRESS)
    until(echo.passes, 10, "the host's address")

    def add_names() -> None:
        client.do("PIF.reconfigure_ip", pif, "Static", ADDRESS, mask, GATEWAY, "192.0.2.3")

    gap_s = echo.longest_gap_s(add_names, 1.0)
    assert gap_s < 1.0 + 0.2, "an address that stays is never taken away"
    echo.close()
    client.do("PIF.reconfigure_ip", pif, "Static", "192.0.2.11", mask, GATEWAY, "")
    moved = Echo(host.outside, host.host, "192.0.2.11", 7001)
    until(moved.passes, 5, "the new address")
    moved.close()
    with pytest.raises(XenAPI.Failure, match="PIF_CONFIGURATION_ERROR"):
        client.do("PIF.reconfigure_ip", pif, "Static", "198.51.100.7", mask, "198.51.100.1", "")
    assert client.do("PIF.get_IP", pif) == "192.0.2.11"
    again = Echo(host.outside, host.host, "192.0.2.11", 7002)
    until(again.passes, 5, "the address from before")
    again.close()


def test_management_moves_to_a_bond_and_back(host: NetworkLab, client: NetworkPool) -> None:
    host.needs("bond")
    bond = client.bond("eth0", "eth1", mode="active-backup")
    master = client.do("Bond.get_master", bond)
    record = client.do("PIF.get_record", master)
    assert (record["management"], record["IP"], record["device"]) == (True, ADDRESS, "bond0")
    echo = Echo(host.outside, host.host, ADDRESS)
    until(echo.passes, 10, "the host's address on the bond")
    client.do("Bond.destroy", bond)
    until(echo.passes, 10, "the host's address on its card")
    assert client.do("PIF.get_management", client.pif("eth0"))
    echo.close()


def test_limit_of_a_machine_holds_and_follows_changes(
    host: NetworkLab, client: NetworkPool
) -> None:
    """From a VIF's record to its traffic; the VM's domain is made up, its cable is real."""
    if host.system == "openvswitch" and real_backends.DATAPATH == "netdev":
        pytest.skip("a switch in user space takes frames before the kernel can drop them")
    guest = host.plugged("vif1.0", "02:00:00:00:02:01", "192.0.2.20")
    vm = client.machine(network_of="eth1", mac="02:00:00:00:02:01", kbps="256")
    (vif,) = client.do("VM.get_VIFs", vm)
    flow = Echo(guest, host.outside, GATEWAY, 7003)
    until(flow.passes, 10, "guest to outside")
    for limit in (256, 512):
        client.do("VIF.set_qos_algorithm_params", vif, {"kbps": str(limit)})
        seen = f"{limit} kbytes/second" if host.system == "bridge" else ""
        until(lambda text=seen: text in client.rules(), 10, "the limit in force")
        kib, seconds = flow.flood(1024)
        burst = limit + 128
        print(f"{host.system}: {(kib - burst) / seconds:.0f} of {limit} KiB/s after the burst")
        assert 0.85 * limit * seconds < kib < 1.05 * limit * seconds + burst
    client.do("VM.hard_shutdown", vm)
    flow.close()

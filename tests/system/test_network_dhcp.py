"""Leases: a real client against a real server, in namespaces of the test's own."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.running_pool import children, command_line
from tests.system.inside_daemon import needs_process
from tests.system.namespaces import Namespace
from tests.system.network_lab import NetworkLab, lab, nic_bridge, until

pytestmark = pytest.mark.system


@pytest.fixture(params=["bridge", "openvswitch"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NetworkLab]:
    for tool, package in (("dnsmasq", "dnsmasq-base"), ("dhclient", "isc-dhcp-client")):
        if shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin") is None:
            pytest.skip(f"{tool} is not installed (Debian package {package})")
    with lab(request.param, tmp_path, management_timeout_s=15.0) as made:
        made.connect_outside("port0", "port1")
        server = made.outside.start(
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0"),
            *("--bind-interfaces", "--interface=out", "--except-interface=lo", "--user=root"),
            *("--dhcp-range=192.0.2.50,192.0.2.90,255.255.255.0,2m", "--dhcp-authoritative"),
            *("--dhcp-option=option:dns-server,192.0.2.3", "--domain=lab.example"),
            *(f"--dhcp-leasefile={tmp_path / 'leases'}", "--pid-file", "--no-ping"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield made
        finally:
            made.stop()
            server.kill()
            server.wait()


def lease(*, persistent: bool = True) -> dict[str, object]:
    return {"ipv4_conf": ["DHCP4"], "persistent_i": persistent}


def address(host: NetworkLab, name: str) -> str:
    found = host.links()[name]["ipv4"]
    return str(found[0][0]) if found else ""


def test_management_gets_address_route_and_names(host: NetworkLab) -> None:
    host.call(
        "Network.change",
        bridge_config={"xenbr0": nic_bridge("eth0"), "xenbr1": nic_bridge("eth1")},
        interface_config={"xenbr0": lease(), "xenbr1": lease()},
        gateway_interface="xenbr0",
        dns_interface="xenbr0",
    )
    until(lambda: bool(address(host, "xenbr0") and address(host, "xenbr1")), 15, "two leases")
    links = host.links()
    assert links["xenbr0"]["ipv4_gateway"] == "192.0.2.1"
    assert links["xenbr1"]["ipv4_gateway"] == ""
    assert host.call("Interface.get_dns", name="xenbr0") == [["192.0.2.3"], ["lab.example"]]
    assert "nameserver 192.0.2.3" in (host.folder / "resolv.conf").read_text()

    before = address(host, "xenbr0")
    cursor = host.daemon.answer("Bridge.get_all")["cursor"]
    host.restart()
    assert address(host, "xenbr0") == before
    host.call("Network.change", interface_config={"xenbr0": lease(), "xenbr1": lease()})
    assert cursor > 0

    host.call("Network.change", interface_config={"xenbr1": {}})
    assert address(host, "xenbr1") == ""
    host.call("Network.change", gateway_interface="xenbr1", interface_config={"xenbr1": lease()})
    until(lambda: host.links()["xenbr1"]["ipv4_gateway"] == "192.0.2.1", 15, "the route moved")
    assert host.links()["xenbr0"]["ipv4_gateway"] == ""


@pytest.fixture(params=["bridge", "openvswitch"])
def internal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NetworkLab]:
    """A host with its internal network."""
    if shutil.which("dhclient", path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip("dhclient is not installed (Debian package isc-dhcp-client)")
    with lab(request.param, tmp_path) as made:
        address = {"ipv4_conf": ["Static4", [["169.254.0.1", 16]]]}
        made.call(
            "Network.change", bridge_config={"xenapi": {}}, interface_config={"xenapi": address}
        )
        yield made


def test_client_that_is_killed_comes_back(host: NetworkLab, tmp_path: Path) -> None:
    host.call(
        "Network.change",
        bridge_config={"xenbr0": nic_bridge("eth0")},
        interface_config={"xenbr0": lease()},
        gateway_interface="xenbr0",
    )
    until(lambda: bool(address(host, "xenbr0")), 15, "a lease")
    (keeper,) = (int(f.read_text()) for f in tmp_path.glob("*/dhcp/xenbr0.4.pid"))
    first = until_client(keeper, None)
    os.kill(first, signal.SIGKILL)
    assert until_client(keeper, first) != first
    host.call("Interface.make_config", config={"xenbr0": {"ipv4_conf": ["None4"]}})
    until(lambda: not Path(f"/proc/{keeper}/cmdline").exists(), 5, "no client")


def until_client(keeper: int, other_than: int | None) -> int:
    """Wait for the client a keeper runs and give its process."""
    found: list[int] = []

    def there() -> bool:
        for process in children(keeper):
            if process != other_than and any(b"dhclient" in w for w in command_line(process)[:1]):
                found.append(process)
        return bool(found)

    until(there, 10, "a client")
    return found[0]


def leased(guest: Namespace, folder: Path) -> str:
    """Ask for a lease as a guest does, and give the address."""
    said = folder / "said"
    script = folder / "script"
    script.write_text(f'#!/bin/sh\necho "$reason $new_ip_address" >>{said}\n')
    script.chmod(0o755)
    client = guest.start(
        *("dhclient", "-4", "-1", "-d", "-q", "-sf", str(script), "-lf", str(folder / "guest")),
        *("-pf", str(folder / "guest-pid"), "-cf", "/dev/null", "eth0"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: said.exists() and "BOUND" in said.read_text(), 20, "a lease")
    finally:
        client.kill()
        client.wait()
    return said.read_text().split()[-1]


def test_guest_gets_its_address_on_the_internal_network(
    internal: NetworkLab, tmp_path: Path
) -> None:
    needs_process()
    mac = "02:00:00:00:02:01"
    guest = internal.guest("xenapi", 1, mac, "198.51.100.9", mode="locked")
    leases = {"bridge": "xenapi", "address": "169.254.0.1", "prefix_length": 16}
    internal.call("Dhcp.set_leases", **leases, leases={mac: "169.254.0.2"})
    internal.restart()
    assert leased(guest, tmp_path) == "169.254.0.2"
    internal.call("Dhcp.set_leases", **leases, leases={})
    assert internal.call("Dhcp.get_leases", bridge="xenapi") == {}


@pytest.fixture(params=["bridge", "openvswitch"])
def host6(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NetworkLab]:
    """A host whose router speaks IPv6: announcements, and leases for those who ask."""
    for tool, package in (("dnsmasq", "dnsmasq-base"), ("dhclient", "isc-dhcp-client")):
        if shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin") is None:
            pytest.skip(f"{tool} is not installed (Debian package {package})")
    with lab(request.param, tmp_path, management_timeout_s=15.0) as made:
        made.connect_outside("port0", address="")
        made.outside.ip("addr", "add", "2001:db8::1/64", "dev", "out", "nodad")
        router = made.outside.start(
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0"),
            *("--bind-interfaces", "--interface=out", "--except-interface=lo", "--user=root"),
            *("--dhcp-range=2001:db8::50,2001:db8::90,slaac,64,2m", "--enable-ra"),
            *("--ra-param=out,4,120", f"--dhcp-leasefile={tmp_path / 'leases'}", "--pid-file"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield made
        finally:
            made.stop()
            router.kill()
            router.wait()


@pytest.mark.parametrize("mode", ["Autoconf6", "DHCP6"])
def test_ipv6_address_comes_from_the_router(host6: NetworkLab, mode: str) -> None:
    host6.call(
        "Network.change",
        bridge_config={"xenbr0": nic_bridge("eth0", bridge_mac="02:00:00:00:01:00")},
        interface_config={"xenbr0": {"ipv6_conf": [mode], "persistent_i": True}},
        gateway_interface="xenbr0",
    )

    def addresses() -> list[str]:
        return [address for address, _ in host6.links()["xenbr0"]["ipv6"]]

    made_up = "2001:db8::ff:fe00:100"
    wanted = (
        (lambda: made_up in addresses())
        if mode == "Autoconf6"
        else (lambda: any(re.fullmatch("2001:db8::[5-9][0-9a-f]", a) for a in addresses()))
    )
    until(wanted, 30, f"an address by {mode}")
    assert (made_up in addresses()) == (mode == "Autoconf6")
    host6.call("Interface.make_config", config={"xenbr0": {"ipv6_conf": ["None6"]}})
    assert addresses() == []

"""The network daemon on a real kernel: traffic, VLANs, bonds, MTU, forged frames.

Everything happens in namespaces of the test's own.
"""

import functools
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system import real_backends
from tests.system.frames import Wire, arp, tagged, udp, udp6
from tests.system.inside_daemon import needs_process
from tests.system.namespaces import Namespace, needs_kernel
from tests.system.network_lab import (
    ADDRESS,
    GATEWAY,
    Echo,
    NetworkLab,
    bond_bridge,
    lab,
    nic_bridge,
    static,
    until,
    whole_checksums,
)
from xapi_py.base.rpc.errors import RpcError

LONGEST_GAP_S = float(os.environ.get("XAPI_PY_LONGEST_GAP_S", "1"))
"""What a pulled cable may cost; an emulated machine gets more."""
pytestmark = pytest.mark.system

SOON_S = 0.3
MAC = "02:00:00:00:02:01"
ALLOWED = {"ipv4_allowed": ["192.0.2.20"], "ipv6_allowed": ["2001:db8::20"]}
OTHER_MAC = "02:00:00:00:02:99"


@pytest.fixture(params=["bridge", "openvswitch"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NetworkLab]:
    with lab(request.param, tmp_path) as made:
        yield made


def test_traffic_passes_the_bridge_and_is_counted(host: NetworkLab) -> None:
    host.connect_outside("port0")
    host.manage()
    guest = host.guest("xenbr0", 1, MAC, "192.0.2.20")
    outward = Echo(guest, host.outside, GATEWAY)
    inward = Echo(host.outside, host.host, ADDRESS)
    until(outward.passes, 5, "guest to outside")
    until(inward.passes, 5, "outside to the host")
    stats = host.call("Network.stats")
    assert stats["eth0"]["tx_bytes"] > 0
    assert stats["vif1.0"]["rx_bytes"] > 0
    outward.close()
    inward.close()


def test_vlan_frames_are_tagged_outside_and_apart_inside(host: NetworkLab) -> None:
    host.needs("vlan")
    host.connect_outside("port0")
    host.call(
        "Network.change",
        bridge_config={
            "xenbr0": nic_bridge("eth0"),
            "xapi0": {"vlan": ["xenbr0", 25]},
            "xapi1": {"vlan": ["xenbr0", 26]},
        },
    )
    first = host.guest("xapi0", 1, MAC, "198.51.100.1")
    second = host.guest("xapi1", 2, OTHER_MAC, "198.51.100.2")
    wire, near, sender = Wire(host.outside, "port0"), Wire(second, "eth0"), Wire(first, "eth0")
    sender.send(udp(MAC, "198.51.100.1", b"from vlan 25"))
    frame = wire.receive(b"from vlan 25", 2.0)
    assert frame is not None and frame.tag == 25
    assert near.receive(b"from vlan 25", SOON_S) is None
    for end in (wire, near, sender):
        end.close()


def test_jumbo_frames_pass_end_to_end(host: NetworkLab) -> None:
    host.connect_outside("port0")
    for device in ("port0", "out"):
        host.outside.ip("link", "set", device, "mtu", "9000")
    host.call(
        "Network.change",
        bridge_config={"xenbr0": nic_bridge("eth0")},
        interface_config={"eth0": {"mtu": 9000}, "xenbr0": static(ADDRESS, mtu=9000)},
    )
    assert {host.links()[n]["mtu"] for n in ("eth0", "xenbr0")} == {9000}
    echo = Echo(host.host, host.outside, GATEWAY)
    until(lambda: echo.passes(9000 - 28, fragments=False), 5, "a jumbo frame")
    echo.close()


@pytest.mark.parametrize("mode", ["active-backup", "balance-slb"])
def test_pulled_cable_of_a_bond_costs_less_than_a_second(host: NetworkLab, mode: str) -> None:
    host.needs("bond")
    host.connect_outside("port0", "port1")
    host.call(
        "Network.change",
        bridge_config={"xapi0": bond_bridge("eth0", "eth1", mode=mode, updelay="0")},
        interface_config={"xapi0": static(ADDRESS)},
    )
    echo = Echo(host.host, host.outside, GATEWAY)
    until(echo.passes, 5, "traffic over the bond")
    check_gap(host, echo, mode)
    bond = host.links()["bond0"]
    assert (bond["links_up"], bond["carrier"]) == (1, True)
    echo.close()


def carrying(host: NetworkLab, echo: Echo) -> str:
    """The member that the traffic takes."""

    def sent() -> dict[str, int]:
        stats = host.call("Network.stats")
        return {name: stats[name]["tx_packets"] for name in ("eth0", "eth1")}

    before = sent()
    for _ in range(20):
        echo.passes()
    after = sent()
    return max(after, key=lambda name: after[name] - before[name])


def check_gap(
    host: NetworkLab, echo: Echo, what: str, agreed: Callable[[], bool] = lambda: True
) -> None:
    """Pull the cable that carries the traffic: less than a second is lost.

    A machine that stands still for a second itself gets another chance.
    """
    gaps_s: list[float] = []
    while not gaps_s or (min(gaps_s) >= LONGEST_GAP_S and len(gaps_s) < 3):
        if gaps_s:
            for port in ("port0", "port1"):
                host.outside.ip("link", "set", port, "up")
            until(lambda: host.links()["bond0"]["links_up"] == 2, 40, "both links again")
            until(agreed, 40, "both links in the peer's view")
            until(echo.passes, 20, "traffic over both")
        port = f"port{carrying(host, echo).removeprefix('eth')}"
        pull = functools.partial(host.outside.ip, "link", "set", port, "down")
        gaps_s.append(echo.longest_gap_s(pull, 3 * LONGEST_GAP_S))
    print(f"{host.system}, {what}: longest gap", *(f"{s * 1000:.0f}" for s in gaps_s), "ms")
    assert min(gaps_s) < LONGEST_GAP_S


def test_lacp_bond_agrees_with_a_real_peer(tmp_path: Path) -> None:
    (tmp_path / "peer").mkdir()
    peer = tmp_path / "peer"
    with (
        lab("openvswitch", tmp_path) as host,
        real_backends.switch(host.outside, peer),
    ):
        vsctl = ["ovs-vsctl", f"--db=unix:{peer / 'db.sock'}", "--timeout=20"]
        words = "-- add-br out -- set bridge out datapath_type=netdev"
        words += " -- add-bond out bond0 port0 port1 lacp=active bond_mode=balance-tcp"
        host.outside.run(*vsctl, *words.split())
        host.outside.ip("addr", "add", f"{GATEWAY}/24", "dev", "out")
        host.outside.ip("link", "set", "out", "up")
        bridge = bond_bridge("eth0", "eth1", mode="lacp", **{"lacp-time": "fast"})
        host.call(
            "Network.change",
            bridge_config={"xapi0": bridge},
            interface_config={"xapi0": static(ADDRESS)},
        )
        echo = Echo(host.host, host.outside, GATEWAY)
        until(lambda: host.links()["bond0"]["links_up"] == 2, 20, "LACP on both links")
        until(echo.passes, 10, "traffic over the bond")
        gap_s = echo.longest_gap_s(lambda: host.outside.ip("link", "set", "port0", "down"))
        print(f"LACP: longest gap {gap_s * 1000:.0f} ms")
        assert gap_s < LONGEST_GAP_S
        assert host.links()["bond0"]["links_up"] == 1
        echo.close()


def kernel_bond(outside: Namespace, *ports: str, mtu: int = 1500) -> None:
    """A switch that aggregates its ports by LACP: the kernel's bond."""
    words = "mode 802.3ad miimon 100 lacp_rate fast xmit_hash_policy layer3+4"
    outside.ip("link", "add", "out", "type", "bond", *words.split())
    for port in ports:
        outside.ip("link", "set", port, "down")
        outside.ip("link", "set", port, "mtu", str(mtu), "master", "out")
    outside.ip("link", "set", "out", "up")
    whole_checksums(outside, "out")


def aggregated(outside: Namespace) -> int:
    """How many ports the peer sends through and takes from; its own half of the states."""
    states = re.findall(r"port state: (\d+)", outside.run("cat", "/proc/net/bonding/out"))
    return sum(int(state) & 0x30 == 0x30 for state in states[::2])


@pytest.mark.parametrize("hashing", ["tcpudp_ports", "src_mac"])
def test_lacp_bond_agrees_with_the_kernel_of_its_peer(host: NetworkLab, hashing: str) -> None:
    needs_kernel("bond")
    kernel_bond(host.outside, "port0", "port1")
    host.outside.ip("addr", "add", f"{GATEWAY}/24", "dev", "out")
    options = {"lacp-time": "fast", "updelay": "0", "hashing-algorithm": hashing}
    host.call(
        "Network.change",
        bridge_config={"xapi0": bond_bridge("eth0", "eth1", mode="lacp", **options)},
        interface_config={"xapi0": static(ADDRESS)},
    )
    echo = Echo(host.host, host.outside, GATEWAY)
    until(lambda: host.links()["bond0"]["links_up"] == 2, 40, "LACP on both links")

    def agreed() -> bool:
        return aggregated(host.outside) == 2

    until(agreed, 40, "both links in the peer's aggregate")
    until(echo.passes, 20, "traffic over the bond")
    check_gap(host, echo, f"LACP by {hashing} with a kernel bond", agreed)
    assert host.links()["bond0"]["links_up"] == 1
    echo.close()


def test_jumbo_frames_pass_a_vlan_on_a_bond(host: NetworkLab) -> None:
    host.needs("bond")
    host.needs("vlan")
    host.connect_outside("port0", "port1")
    for device in ("port0", "port1", "out"):
        host.outside.ip("link", "set", device, "mtu", "9000")
    jumbo = {"mtu": 9000}
    host.call(
        "Network.change",
        bridge_config={
            "xapi0": bond_bridge("eth0", "eth1", mode="active-backup"),
            "xapi1": {"vlan": ["xapi0", 25]},
        },
        interface_config={
            **{name: jumbo for name in ("eth0", "eth1", "xapi0")},
            "xapi1": static("198.51.100.1", "198.51.100.2", mtu=9000),
        },
    )
    wire = Wire(host.outside, "out")
    with host.host.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, DO
        frame = None
        for _ in range(50):
            sender.sendto(b"jumbo" * 1790, ("198.51.100.255", 9))
            frame = wire.receive(b"jumbojumbo", 0.2)
            if frame is not None:
                break
    assert frame is not None and (frame.tag, len(frame.data)) == (25, 5 * 1790 + 42)
    sender.close()
    wire.close()


@pytest.fixture
def locked(host: NetworkLab) -> tuple[NetworkLab, Wire, Wire]:
    """A guest's end of its cable and the outside's, the guest locked to its addresses."""
    host.call("Network.change", bridge_config={"xenbr0": nic_bridge("eth0")})
    guest = host.guest("xenbr0", 1, MAC, "192.0.2.20", mode="locked", **ALLOWED)
    return host, Wire(guest, "eth0"), Wire(host.outside, "port0")


def lock(host: NetworkLab, mode: str) -> None:
    host.call(
        "Interface.set_locking",
        name="vif1.0",
        mac=MAC,
        mode=mode,
        **ALLOWED,
    )


FORGED = {
    "mac": udp(OTHER_MAC, "192.0.2.20", b"forged"),
    "address": udp(MAC, "192.0.2.21", b"forged"),
    "ipv6 address": udp6(MAC, "2001:db8::21", b"forged"),
    "arp address": arp(MAC, "192.0.2.77", "192.0.2.1"),
    "arp mac": arp(MAC, "192.0.2.20", "192.0.2.1", sender=OTHER_MAC),
}


def test_locked_vif_sends_only_what_it_may(locked: tuple[NetworkLab, Wire, Wire]) -> None:
    _, guest, outside = locked
    only_allowed_passes(guest, outside)


def test_locked_vif_stays_locked_when_its_bridge_moves_to_another_nic(
    locked: tuple[NetworkLab, Wire, Wire],
) -> None:
    host, guest, _ = locked
    host.call("Network.change", destroy=["xenbr0"])
    host.call("Network.change", bridge_config={"xenbr0": nic_bridge("eth1")})
    host.call("Vif.attach", bridge="xenbr0", name="vif1.0", mac=MAC, mode="locked", **ALLOWED)
    only_allowed_passes(guest, Wire(host.outside, "port1"))


def test_locked_vif_is_locked_again_when_its_switch_was_killed(
    locked: tuple[NetworkLab, Wire, Wire],
) -> None:
    needs_process()
    host, guest, outside = locked
    if host.restart_switch is None:
        pytest.skip("the kernel's bridge has no daemon to kill")
    host.restart_switch()

    def locked_again() -> bool:
        guest.send(FORGED["address"])
        guest.send(udp(MAC, "192.0.2.20", b"true"))
        found = outside.receive(b"", SOON_S)
        forged = False
        while found is not None and b"true" not in found.data:
            forged = forged or b"forged" in found.data
            found = outside.receive(b"", SOON_S)
        return found is not None and not forged

    until(locked_again, 10, "rules in force again")
    only_allowed_passes(guest, outside)


def test_locked_vif_stays_locked_when_its_vlan_moves_to_another_nic(host: NetworkLab) -> None:
    host.needs("vlan")
    bridges = {"xenbr0": nic_bridge("eth0"), "xenbr1": nic_bridge("eth1")}
    change = {**bridges, "xapi0": {"vlan": ["xenbr0", 25]}}
    host.call("Network.change", bridge_config=change)
    guest = host.guest("xapi0", 1, MAC, "192.0.2.20", mode="locked", **ALLOWED)
    host.call("Network.change", bridge_config={"xapi0": {"vlan": ["xenbr1", 25]}})
    assert host.call("Bridge.get_interfaces", name="xapi0") == ["vif1.0"]
    only_allowed_passes(Wire(guest, "eth0"), Wire(host.outside, "port1"))


def only_allowed_passes(guest: Wire, outside: Wire) -> None:
    true = udp(MAC, "192.0.2.20", b"true")
    for name, frame in FORGED.items():
        guest.send(frame)
        guest.send(true)
        # What was sent first would have come first.
        found = outside.receive(b"", 2.0)
        while found is not None and b"true" not in found.data:
            assert found.data[:60] != frame[:60], f"forged {name} passed"
            found = outside.receive(b"", 2.0)
        assert found is not None, f"after a forged {name} nothing passes"
    for allowed in (
        udp6(MAC, "2001:db8::20", b"allowed"),
        udp(MAC, "0.0.0.0", b"allowed", (68, 67)),
        arp(MAC, "192.0.2.20", "192.0.2.1"),
    ):
        guest.send(allowed)
        assert outside.receive(allowed[6:40], 2.0) is not None


def test_disabled_vif_is_cut_off_and_unlocked_one_is_free(
    locked: tuple[NetworkLab, Wire, Wire],
) -> None:
    host, guest, outside = locked
    lock(host, "disabled")
    guest.send(udp(MAC, "192.0.2.20", b"out"))
    outside.send(udp(OTHER_MAC, "192.0.2.9", b"inward"))
    assert outside.receive(b"out", SOON_S) is None
    assert guest.receive(b"inward", SOON_S) is None
    lock(host, "unlocked")
    guest.send(udp(OTHER_MAC, "192.0.2.21", b"free"))
    outside.send(udp("02:00:00:00:02:55", "192.0.2.9", b"back"))
    assert outside.receive(b"free", 2.0) is not None
    assert guest.receive(b"back", 2.0) is not None


def test_limited_vif_sends_no_more_than_its_rate(host: NetworkLab) -> None:
    if host.system == "openvswitch" and real_backends.DATAPATH == "netdev":
        pytest.skip("a switch in user space takes frames before the kernel can drop them")
    host.connect_outside("port0")
    host.call("Network.change", bridge_config={"xenbr0": nic_bridge("eth0")})
    guest = host.guest("xenbr0", 1, MAC, "192.0.2.20", rate_kbps=64)
    flow = Echo(guest, host.outside, GATEWAY)
    until(flow.passes, 5, "guest to outside")
    for limit in (256, 512):
        rules = {"mac": MAC, "mode": "locked", **ALLOWED, "rate_kbps": limit}
        host.call("Interface.set_locking", name="vif1.0", **rules)
        kib, seconds = flow.flood(1024)
        burst = limit + 128
        assert 0.85 * limit * seconds < kib < 1.05 * limit * seconds + burst
        print(f"{host.system}, {limit} KiB/s: {(kib - burst) / seconds:.0f} KiB/s after the burst")
    lock(host, "unlocked")
    kib, seconds = flow.flood(1024, 1.0)
    assert kib > 1.2 * 512 * seconds
    flow.close()


def test_vif_carries_the_vlans_of_its_trunk_only(tmp_path: Path) -> None:
    with lab("openvswitch", tmp_path) as host:
        host.call("Network.change", bridge_config={"xenbr0": nic_bridge("eth0")})
        guest = host.guest("xenbr0", 1, MAC, "192.0.2.20", trunks=[25, 27])
        inside, outside = Wire(guest, "eth0"), Wire(host.outside, "port0")
        plain = udp(MAC, "192.0.2.20", b"to the trunk")
        for frame in (plain, tagged(plain, 26), tagged(plain, 27)):
            inside.send(frame)
        # What was sent first would have come first.
        found = outside.receive(b"to the trunk", 2.0)
        assert found is not None and found.tag == 27
        outside.send(tagged(udp(OTHER_MAC, "192.0.2.9", b"back"), 26))
        outside.send(tagged(udp(OTHER_MAC, "192.0.2.9", b"back"), 25))
        found = inside.receive(b"back", 2.0)
        assert found is not None and found.tag == 25
        host.call("Vif.attach", bridge="xenbr0", name="vif1.0", mac=MAC)
        inside.send(plain)
        found = outside.receive(b"to the trunk", 2.0)
        assert found is not None and found.tag is None
        for end in (inside, outside):
            end.close()


def test_change_that_cuts_the_host_off_is_taken_back(host: NetworkLab) -> None:
    host.connect_outside("port0")
    host.manage()
    before = host.links()
    with pytest.raises(RpcError) as problem:
        host.manage(nic="eth1")
    assert "out of reach" in str(problem.value.params[0])
    after = host.links()
    assert after["xenbr0"]["ipv4"] == before["xenbr0"]["ipv4"]
    assert (after["eth0"]["bridge"], after["eth1"]["bridge"]) == ("xenbr0", "")
    echo = Echo(host.outside, host.host, ADDRESS)
    until(echo.passes, 5, "the host's address")
    echo.close()


def test_carrier_is_told_within_two_seconds(host: NetworkLab) -> None:
    needs_process()
    host.call("Network.change", bridge_config={"xenbr0": nic_bridge("eth0")})
    answer = host.daemon.answer("Bridge.get_all")
    host.outside.ip("link", "set", "port0", "down")

    def told() -> bool:
        return not host.links()["eth0"]["carrier"]

    assert until(told, 2.0, "carrier lost") < 2.0
    updates = host.daemon.answer(
        "UPDATES.get", epoch=answer["epoch"], cursor=answer["cursor"], timeout_s=2.0
    )
    assert ["interface", "eth0"] in updates["updates"]


def test_killed_daemon_leaves_traffic_alone_and_finds_all_again(host: NetworkLab) -> None:
    host.connect_outside("port0")
    host.manage()
    guest = host.guest("xenbr0", 1, MAC, "192.0.2.20")
    echo = Echo(guest, host.outside, GATEWAY)
    until(echo.passes, 5, "guest to outside")
    before = host.links()
    gap_s = echo.longest_gap_s(host.restart, 0.5)
    assert gap_s < 0.5 + 0.1
    assert host.links() == before
    echo.close()


def test_devices_of_others_stay(host: NetworkLab) -> None:
    host.host.ip("link", "add", "docker0", "type", "bridge")
    host.host.ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
    host.host.ip("link", "set", "veth0", "master", "docker0")
    host.manage()
    host.call("Network.reset_state")
    assert "docker0" in host.host.ip("link", "show", "veth0")
    assert "xenbr0" not in host.host.ip("link")


def test_lost_device_is_put_back_when_it_comes(host: NetworkLab) -> None:
    needs_process()
    host.call("Network.change", bridge_config={"xenbr0": nic_bridge("eth0")})
    host.host.ip("link", "del", "eth0")
    host.host.cable("eth0", host.outside, "port9")
    until(lambda: host.links()["eth0"]["bridge"] == "xenbr0", 5, "the NIC in its bridge")


def test_namespace_of_the_machine_is_untouched(host: NetworkLab) -> None:
    host.manage()
    names = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
    assert "xenbr0" not in names
    assert isinstance(host.host, Namespace)

"""Memory of guests on real Xen: suspended, resumed, checkpointed, moved between hosts."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.lab import leftovers
from tests.system.xen_daemon import DaemonError, metadata
from tests.system.xen_guest import BRIDGE, NAME, VM, Bench
from tests.xenlab.lab import Host

pytestmark = [pytest.mark.system, pytest.mark.slow]

VIF = {"device": "0", "mac": "00:16:3e:00:00:10", "bridge": BRIDGE}
IMAGE = {"path": "/root/suspend.image"}


@pytest.fixture(scope="module")
def _bench(_xen_lab: Host) -> Iterator[Bench]:
    bench = Bench(_xen_lab)
    yield bench
    bench.stop()


def clean(bench: Bench) -> None:
    """End the guest; nothing of it may be left."""
    for vm, state in bench.states().items():
        if state != "Halted":
            bench.daemon.call("VM.shutdown", id=vm, force=True)
        bench.daemon.call("VM.remove", id=vm)
    assert leftovers(bench.host) == []


@pytest.fixture
def bench(_bench: Bench) -> Iterator[Bench]:
    _bench.host.output("truncate -s 400M /root/suspend.image")
    yield _bench
    clean(_bench)


def remember(bench: Bench, word: str) -> None:
    """Have the guest keep a word in its memory."""
    bench.type(f"echo {word} >/kept; sync; echo KEPT-{word}-")
    bench.said(f"KEPT-{word}-")


def remembered(bench: Bench, word: str) -> None:
    """Make sure that the guest still knows it, and still runs."""
    bench.host.run(f"echo >/var/log/xen/console/guest-{NAME}.log")
    bench.type("echo FOUND-$(cat /kept)-")
    bench.said(f"FOUND-{word}-")


@pytest.mark.parametrize("ty", ["PV", "PVH"])
def test_a_suspended_guest_comes_back_with_its_memory(bench: Bench, ty: str) -> None:
    bench.guest(ty, vifs=[VIF])
    remember(bench, "apple")
    given = bench.call("VM.suspend", disk=IMAGE)
    assert bench.daemon.state(VM) == "Suspended"
    assert leftovers(bench.host) == []
    md = metadata(VM, NAME, ty) | {"vifs": [VIF], "domains": given["domains"]}
    bench.daemon.call("VM.import_metadata", md=md)
    bench.call("VM.resume", disk=IMAGE)
    assert bench.daemon.state(VM) == "Running"
    remembered(bench, "apple")


def test_a_checkpoint_can_be_gone_back_to(bench: Bench) -> None:
    bench.guest()
    remember(bench, "before")
    given = bench.call("VM.suspend", disk=IMAGE)
    bench.host.output("cp /root/suspend.image /root/checkpoint.image")
    bench.call("VM.resume", disk=IMAGE)
    remember(bench, "after")
    bench.call("VM.shutdown", force=True)
    bench.call("VM.remove")
    md = metadata(VM, NAME) | {"domains": given["domains"]}
    bench.daemon.call("VM.import_metadata", md=md)
    bench.call("VM.resume", disk={"path": "/root/checkpoint.image"})
    remembered(bench, "before")


def test_an_image_that_is_none_leaves_the_vm_suspended(bench: Bench) -> None:
    bench.guest()
    bench.call("VM.suspend", disk=IMAGE)
    bench.host.output("head -c 1M /dev/urandom >/root/other.image")
    with pytest.raises(DaemonError) as problem:
        bench.call("VM.resume", disk={"path": "/root/other.image"})
    assert problem.value.name == "IO_error"
    assert bench.daemon.state(VM) == "Suspended"
    bench.call("VM.resume", disk=IMAGE)
    assert bench.daemon.state(VM) == "Running"


def test_a_full_image_disk_lets_the_guest_go_on(bench: Bench) -> None:
    bench.guest()
    remember(bench, "still")
    with pytest.raises(DaemonError) as problem:
        bench.call("VM.suspend", disk={"path": "/dev/full"})
    assert problem.value.name == "IO_error"
    assert bench.daemon.state(VM) == "Running"
    remembered(bench, "still")


def test_suspending_takes_no_longer_than_with_xl(bench: Bench) -> None:
    bench.guest("PVH")
    begin = time.monotonic()
    bench.call("VM.suspend", disk=IMAGE)
    ours = time.monotonic() - begin
    bench.call("VM.resume", disk=IMAGE)
    domid = bench.daemon.domid(VM)
    script = f"s=$(date +%s%N); xl save -c {domid} /root/xl.image >/dev/null; e=$(date +%s%N)"
    output = bench.host.output(f"{script}; echo $((e-s)); rm /root/xl.image", timeout=200)
    theirs = int(output.split()[-1]) / 1e9
    print(f"suspend: ours {ours:.2f} s, xl {theirs:.2f} s")
    assert ours <= theirs * 1.2


@pytest.fixture
def pair(xen_pair: list[Host]) -> Iterator[list[Bench]]:
    """Two hosts whose bridges are one network."""
    benches = [Bench(host) for host in xen_pair]
    for bench in benches:
        bench.host.output(f"ip link set eth1 master {BRIDGE} up")
    benches[1].host.output(f"ip addr flush dev {BRIDGE}; ip addr add 10.9.8.3/24 dev {BRIDGE}")
    yield benches
    for bench in benches:
        clean(bench)
        bench.stop()


def move(pair: list[Bench]) -> float:
    """Send the guest from the first host to the second; gives the seconds it took."""
    source, target = pair
    address = target.call("VM.receive", token="t")["address"]
    path = address.removeprefix("unix:")
    relay = f"socat TCP-LISTEN:8900,fork,reuseaddr UNIX-CONNECT:{path}"
    target.host.output(f"setsid {relay} >/dev/null 2>&1 </dev/null & echo $! >/run/relay.pid")
    begin = time.monotonic()
    try:
        source.call("VM.send", address="tcp:10.9.8.3:8900", token="t")
    finally:
        target.host.run("kill $(cat /run/relay.pid)")
    return time.monotonic() - begin


def awaited(pair: list[Bench], **more: Any) -> None:
    """Start a PVH guest on the first host and tell the second of it."""
    pair[0].guest("PVH", vifs=[VIF])
    pair[1].daemon.call("VM.import_metadata", md=metadata(VM, NAME, "PVH") | {"vifs": [VIF]})


def test_a_guest_moves_to_another_host_with_its_network_session(pair: list[Bench]) -> None:
    awaited(pair)
    remember(pair[0], "moved")
    ping = "ping -i 0.5 -D 10.9.8.2 >/root/ping.log 2>&1"
    pair[0].host.output(f"setsid {ping} </dev/null & echo $! >/run/ping.pid")
    took = move(pair)
    assert pair[0].daemon.state(VM) == "Halted"
    assert pair[1].daemon.state(VM) == "Running"
    pair[0].daemon.until(
        "the guest answers from the other host",
        lambda: pair[0].host.run("ping -c 1 -W 1 10.9.8.2").returncode == 0,
    )
    pair[0].host.run("kill -INT $(cat /run/ping.pid)")
    remembered(pair[1], "moved")
    print(f"live migration of a PVH guest of 128 MiB: {took:.1f} s")


def test_a_link_cut_in_the_middle_leaves_one_guest(pair: list[Bench]) -> None:
    awaited(pair)
    remember(pair[0], "stays")
    source, target = pair
    address = target.call("VM.receive", token="t")["address"].removeprefix("unix:")
    relay = f"head -c 20M | socat - UNIX-CONNECT:{address}"
    target.host.put("/root/relay", f"#!/bin/sh\n{relay}\n".encode(), 0o755)
    listen = "socat TCP-LISTEN:8900,reuseaddr EXEC:/root/relay"
    target.host.output(f"setsid {listen} >/dev/null 2>&1 </dev/null &")
    with pytest.raises(DaemonError) as problem:
        source.call("VM.send", address="tcp:10.9.8.3:8900", token="t")
    assert problem.value.name == "Migration_failed"
    assert source.daemon.state(VM) == "Running"
    target.daemon.until("the target gives up", lambda: target.daemon.state(VM) == "Halted")
    remembered(source, "stays")

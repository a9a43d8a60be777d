"""A guest on its way between two hosts with real Xen."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.lab import UNPROVEN
from tests.system.xen_daemon import DaemonError, metadata
from tests.system.xen_guest import (
    BRIDGE,
    NAME,
    VIF,
    VM,
    Bench,
    clean,
    remember,
    remembered,
)
from tests.xenlab.lab import Host

pytestmark = [pytest.mark.system, pytest.mark.slow, UNPROVEN]


@pytest.fixture(scope="module")
def _pair(_xen_pair: list[Host]) -> Iterator[list[Bench]]:
    benches = [Bench(host) for host in _xen_pair]
    for bench in benches:
        bench.host.output(f"ip link set eth1 master {BRIDGE} up")
    benches[1].host.output(f"ip addr flush dev {BRIDGE}; ip addr add 10.9.8.3/24 dev {BRIDGE}")
    yield benches
    for bench in benches:
        bench.stop()


@pytest.fixture
def pair(_pair: list[Bench]) -> Iterator[list[Bench]]:
    """Two hosts whose bridges are one network; nothing of the guest may be left on either."""
    yield _pair
    for bench in _pair:
        clean(bench)


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

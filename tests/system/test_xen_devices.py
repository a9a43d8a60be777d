"""Devices of domains on real Xen, by the domain daemon's own calls, in a lab."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.lab import UNPROVEN
from tests.system.xen_daemon import DaemonError
from tests.system.xen_guest import BRIDGE, LOG, VIF, VM, Bench, clean, screen
from tests.xenlab.lab import Host

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.fixture(scope="module")
def _bench(_xen_lab: Host) -> Iterator[Bench]:
    """A guest that is up, with one network device."""
    bench = Bench(_xen_lab)
    bench.guest(vifs=[VIF])
    yield bench
    clean(bench)
    bench.stop()


@pytest.fixture
def bench(_bench: Bench) -> Iterator[Bench]:
    """The guest; after each test no device but its first may be left."""
    _bench.host.output(f": >{LOG}")
    yield _bench
    for device, disk in _bench.call("VM.stat")["vbds"].items():
        if disk["plugged"]:
            _bench.call("VBD.unplug", device=device, force=True)
    left = _bench.host.output(
        "ls /sys/bus/xen-backend/devices; cat /sys/block/loop*/loop/backing_file 2>/dev/null; "
        "xenstore-ls -f /xenops | grep -o 'device/v.*/[0-9]*/record'; "
        "xenstore-ls -f /local/domain/0/backend | grep -Eo 'backend/(vbd|qdisk|vif)/[0-9]*/[0-9]* '"
    )
    domid = _bench.daemon.domid(VM)
    assert left.split() == [f"vif-{domid}-0", "device/vif/0/record", f"backend/vif/{domid}/0"]


def test_its_terminal_is_shown_as_a_screen(bench: Bench) -> None:
    assert screen(bench) == "RFB 003.008\n"


def test_a_disk_from_a_file_is_seen_with_what_is_in_it(bench: Bench) -> None:
    bench.host.output("head -c 8M /dev/urandom >/root/disk.img")
    expected = bench.host.output("md5sum </root/disk.img").split()[0]
    disk = {"device": "xvdb", "backend": {"path": "/root/disk.img"}}
    bench.call("VBD.plug", device="xvdb", vbd=disk)
    bench.said("GUEST disk + xvdb=16384")
    bench.type("md5sum </dev/xvdb; echo changed | dd of=/dev/xvdb bs=512 conv=sync,fsync")
    bench.said(expected)
    assert bench.call("VM.stat")["vbds"]["xvdb"]["plugged"] is True
    bench.daemon.until(
        "the write arrives", lambda: "changed" in bench.host.output("head -c 7 /root/disk.img")
    )
    bench.call("VBD.unplug", device="xvdb")
    assert bench.call("VM.stat")["vbds"]["xvdb"]["plugged"] is False
    assert "disk.img" not in bench.host.output("losetup -a")


def test_a_disk_that_only_qemu_can_read(bench: Bench) -> None:
    bench.host.output(
        "head -c 4M /dev/urandom >/root/nbd.img; "
        "setsid qemu-nbd -t -f raw -e 4 -x v1 -k /run/nbd.sock /root/nbd.img "
        ">/dev/null 2>&1 </dev/null & echo $! >/run/nbd.pid; "
        "for i in $(seq 100); do [ -S /run/nbd.sock ] && break; sleep 0.2; done"
    )
    try:
        expected = bench.host.output("md5sum </root/nbd.img").split()[0]
        disk = {"device": "xvdc", "backend": {"path": "nbd:unix:/run/nbd.sock:exportname=v1"}}
        bench.call("VBD.plug", device="xvdc", vbd=disk)
        bench.said("GUEST disk + xvdc=8192")
        bench.type("md5sum </dev/xvdc")
        bench.said(expected)
        bench.call("VBD.unplug", device="xvdc")
    finally:
        bench.host.run("kill $(cat /run/nbd.pid)")


def test_a_disk_that_the_guest_keeps_can_be_forced_away(bench: Bench) -> None:
    """The lab's kernel gives up even disks in use: it is paused, and older ones are spoken for."""
    disk = {"device": "xvdb", "backend": {"path": "/dev/vdc"}}
    bench.call("VBD.plug", device="xvdb", vbd=disk)
    bench.said("GUEST disk + xvdb=")
    bench.call("VM.pause")
    domid = bench.daemon.domid(VM)
    bench.host.output(
        f"(until [ $(xenstore-read /local/domain/0/backend/vbd/{domid}/51728/state) = 5 ]; "
        "do sleep 0.1; done; xenstore-write "
        f"/local/domain/{domid}/error/device/vbd/51728/error 'in use') >/dev/null 2>&1 </dev/null &"
    )
    with pytest.raises(DaemonError) as problem:
        bench.call("VBD.unplug", device="xvdb")
    assert problem.value.name == "Device_detach_rejected"
    assert problem.value.params[-1] == "in use"
    assert bench.call("VM.stat")["vbds"]["xvdb"]["plugged"] is True
    bench.call("VBD.unplug", device="xvdb", force=True)
    assert bench.call("VM.stat")["vbds"]["xvdb"]["plugged"] is False
    bench.call("VM.unpause")
    bench.said("GUEST disk - xvdb=")
    bench.call("VBD.plug", device="xvdb", vbd=disk | {"mode": "RO"})
    bench.type("dd if=/dev/zero of=/dev/xvdb count=1 2>&1 | sed s/^/ANSWER-/")
    bench.said("ANSWER-dd: error writing '/dev/xvdb'")


def test_a_network_device_is_seen_and_reached(bench: Bench) -> None:
    def reached() -> bool:
        return bench.host.run("ping -c 1 -W 1 10.9.8.2").returncode == 0

    bench.daemon.until("the guest answers", reached)
    second = VIF | {"device": "1", "mac": "00:16:3e:00:00:11", "rate_kbps": 1000}
    bench.call("VIF.plug", device="1", vif=second)
    bench.said("GUEST nic + eth1=00:16:3e:00:00:11")
    assert bench.call("VM.stat")["vifs"]["1"]["plugged"] is True
    bench.call("VIF.unplug", device="1")
    bench.said("GUEST nic - eth1=00:16:3e:00:00:11")
    bench.call("VIF.set_locking_mode", device="0", locking_mode="disabled")
    assert bench.call("VM.stat")["vifs"]["0"]["carrier"] is False
    assert not reached()
    bench.call("VIF.set_locking_mode", device="0", locking_mode="unlocked")
    bench.daemon.until("the guest answers again", reached)


RECEIVE = """
rm -f /root/flow; socat -u TCP-LISTEN:5001,bind=10.9.8.1,reuseaddr - </dev/null |
{ head -c 65536 >/dev/null; s=$(date +%s%N); n=$(wc -c)
echo $n $(($(date +%s%N) - s)) >/root/flow; } >/dev/null 2>&1 </dev/null &
"""


@UNPROVEN
def test_what_a_guest_sends_is_limited_from_now_on(bench: Bench) -> None:
    """netback keeps to it; the first 64 KiB are not counted."""

    def measured() -> bool:
        return bench.host.run("[ -s /root/flow ]").returncode == 0

    found = []
    for rate, kib in ((100, 500), (200, 1000), (0, 1000)):
        md = bench.daemon.call("VM.export_metadata", id=VM)
        md["vifs"][0]["rate_kbps"] = rate
        bench.daemon.call("VM.import_metadata", md=md)
        bench.host.output(RECEIVE)
        bench.type(f"dd if=/dev/zero bs=1024 count={kib} | nc 10.9.8.1 5001")
        bench.daemon.until("all of it came", measured)
        count, nanoseconds = bench.host.output("cat /root/flow").split()
        found.append(int(count) / 1024 / (int(nanoseconds) / 1e9))
    print("limits of 100, 200 and none:", *(f"{rate:.0f}" for rate in found), "KiB/s")
    assert 70 < found[0] < 110
    assert 140 < found[1] < 220
    assert found[2] > 300


def test_a_bridge_that_is_not_there_leaves_nothing(bench: Bench) -> None:
    vif = {"device": "1", "mac": "00:16:3e:00:00:11", "bridge": "nosuch"}
    with pytest.raises(DaemonError):
        bench.call("VIF.plug", device="1", vif=vif)
    disk = {"device": "xvdb", "backend": {"path": "/root/absent"}}
    with pytest.raises(DaemonError) as problem:
        bench.call("VBD.plug", device="xvdb", vbd=disk)
    assert problem.value.name == "Hotplug_failed"
    stat = bench.call("VM.stat")
    assert not any(disk["plugged"] for disk in stat["vbds"].values())
    assert [name for name, vif in stat["vifs"].items() if vif["plugged"]] == ["0"]
    kept = bench.host.output("xenstore-ls -f /xenops | grep /device/v; ip -o link")
    assert "device/vif/1" not in kept and "device/vbd/5" not in kept and "vif1.1" not in kept


def test_devices_are_found_again_by_a_new_daemon(bench: Bench) -> None:
    disk = {"device": "xvdb", "backend": {"path": "/dev/vdc"}}
    bench.call("VBD.plug", device="xvdb", vbd=disk)
    before = bench.call("VM.stat")["vbds"]
    bench.daemon.kill()
    bench.daemon.start()
    assert bench.call("VM.stat")["vbds"] == before
    bench.call("VBD.unplug", device="xvdb")


@UNPROVEN
def test_plugging_takes_no_longer_than_with_xl(bench: Bench) -> None:
    """Disk and network device added to a running guest, next to xl, in turns."""
    domid = bench.daemon.domid(VM)
    disk = {"device": "xvdb", "backend": {"path": "/dev/vdc"}}
    vif = {"device": "1", "mac": "00:16:3e:00:00:11", "bridge": BRIDGE}
    figures: dict[str, list[float]] = {"disk": [], "nic": [], "xl disk": [], "xl nic": []}

    def ours(kind: str, method: str, **params: Any) -> None:
        begin = time.monotonic()
        bench.call(method, **params)
        figures[kind].append(time.monotonic() - begin)

    def theirs(kind: str, command: str) -> None:
        script = f"s=$(date +%s%N); {command} >/dev/null; e=$(date +%s%N); echo $((e-s))"
        figures[kind].append(int(bench.host.output(script, timeout=120).split()[-1]) / 1e9)

    for _ in range(2):
        ours("disk", "VBD.plug", device="xvdb", vbd=disk)
        ours("nic", "VIF.plug", device="1", vif=vif)
        bench.call("VBD.unplug", device="xvdb", force=True)
        bench.call("VIF.unplug", device="1", force=True)
        theirs("xl disk", f"xl block-attach {domid} phy:/dev/vdd,xvdf,w")
        theirs("xl nic", f"xl network-attach {domid} bridge={BRIDGE}")
        bench.host.run(f"xl block-detach --force {domid} xvdf; xl network-detach {domid} 1")
    best = {kind: min(values) for kind, values in figures.items()}
    print("plugging:", ", ".join(f"{kind} {value:.2f} s" for kind, value in best.items()))
    assert best["disk"] <= best["xl disk"]
    assert best["nic"] <= best["xl nic"]

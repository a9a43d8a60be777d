"""Devices of domains on real Xen, by the domain daemon's own calls, in a lab."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.lab import UNPROVEN, leftovers
from tests.system.xen_daemon import DaemonError, metadata
from tests.system.xen_guest import BRIDGE, VM, Bench
from tests.xenlab.lab import Host

pytestmark = [pytest.mark.system, pytest.mark.slow, UNPROVEN]


@pytest.fixture(scope="module")
def _bench(_xen_lab: Host) -> Iterator[Bench]:
    bench = Bench(_xen_lab)
    yield bench
    bench.stop()


@pytest.fixture
def bench(_bench: Bench) -> Iterator[Bench]:
    """The guest is ended after each test, and nothing of it may be left."""
    yield _bench
    for vm, state in _bench.states().items():
        if state != "Halted":
            _bench.daemon.call("VM.shutdown", id=vm, force=True)
        _bench.daemon.call("VM.remove", id=vm)
    assert leftovers(_bench.host) == []


def test_a_disk_from_a_file_is_seen_with_what_is_in_it(bench: Bench) -> None:
    bench.guest()
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
    bench.guest()
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
        bench.call("VM.shutdown", force=True)
    finally:
        bench.host.run("kill $(cat /run/nbd.pid)")


def test_a_disk_in_use_is_kept_until_it_is_forced(bench: Bench) -> None:
    bench.guest()
    disk = {"device": "xvdb", "backend": {"path": "/dev/vdc"}}
    bench.call("VBD.plug", device="xvdb", vbd=disk)
    bench.said("GUEST disk + xvdb=")
    bench.type("exec 9</dev/xvdb; echo it is in use by now | tr a-z A-Z")
    bench.said("IT IS IN USE BY NOW")
    with pytest.raises(DaemonError) as problem:
        bench.call("VBD.unplug", device="xvdb")
    assert problem.value.name == "Device_detach_rejected"
    bench.call("VBD.unplug", device="xvdb", force=True)
    assert bench.call("VM.stat")["vbds"]["xvdb"]["plugged"] is False


def test_a_network_device_is_seen_and_reached(bench: Bench) -> None:
    vif = {"device": "0", "mac": "00:16:3e:00:00:10", "bridge": BRIDGE}
    bench.guest(vifs=[vif])
    bench.daemon.until(
        "the guest answers",
        lambda: bench.host.run("ping -c 1 -W 1 10.9.8.2").returncode == 0,
    )
    second = vif | {"device": "1", "mac": "00:16:3e:00:00:11", "rate_kbps": 1000}
    bench.call("VIF.plug", device="1", vif=second)
    bench.said("GUEST nic + eth1=00:16:3e:00:00:11")
    assert bench.call("VM.stat")["vifs"]["1"]["plugged"] is True
    bench.call("VIF.unplug", device="1")
    bench.call("VIF.set_locking_mode", device="0", locking_mode="disabled")
    assert bench.call("VM.stat")["vifs"]["0"]["carrier"] is False


def test_a_bridge_that_is_not_there_leaves_nothing(bench: Bench) -> None:
    bench.guest()
    vif = {"device": "0", "mac": "00:16:3e:00:00:10", "bridge": "nosuch"}
    with pytest.raises(DaemonError):
        bench.call("VIF.plug", device="0", vif=vif)
    disk = {"device": "xvdb", "backend": {"path": "/root/absent"}}
    with pytest.raises(DaemonError) as problem:
        bench.call("VBD.plug", device="xvdb", vbd=disk)
    assert problem.value.name == "Hotplug_failed"
    stat = bench.call("VM.stat")
    assert not any(device["plugged"] for device in (*stat["vbds"].values(), *stat["vifs"].values()))
    assert "/device/v" not in bench.host.output("xenstore-ls -f /xenops")


def test_devices_are_found_again_by_a_new_daemon(bench: Bench) -> None:
    bench.guest()
    disk = {"device": "xvdb", "backend": {"path": "/dev/vdc"}}
    bench.call("VBD.plug", device="xvdb", vbd=disk)
    before = bench.call("VM.stat")["vbds"]
    bench.daemon.kill()
    bench.daemon.start()
    assert bench.call("VM.stat")["vbds"] == before
    bench.call("VBD.unplug", device="xvdb")


def hvm(name: str) -> dict[str, Any]:
    """Give a guest with emulated hardware that boots a sector, with an empty drive."""
    md: dict[str, Any] = metadata(VM, name, "HVM", memory_mib=64)
    md["vbds"] = [
        {"device": "xvda", "backend": {"path": "/root/hvm.img"}},
        {"device": "xvdd", "mode": "RO", "ty": "CDROM"},
    ]
    md["vm"]["hvm"] = {"serial": f"file:/root/{name}.serial"}
    return md


def booted(bench: Bench, name: str) -> None:
    bench.host.output(f"cp /lab/extra/guest/hvm.img /root/hvm.img; rm -f /root/{name}.serial")
    bench.daemon.call("VM.import_metadata", md=hvm(name))
    bench.call("VM.start")
    bench.daemon.until(
        "the boot sector runs",
        lambda: "HVM-GUEST-READY" in bench.host.run(f"cat /root/{name}.serial").stdout,
        240,
    )


def test_emulated_hardware(bench: Bench) -> None:
    booted(bench, "emulated")
    path = bench.call("CONSOLE.open", protocol="rfb")["path"]
    banner = bench.host.output(f"timeout 3 socat -u UNIX-CONNECT:{path} - | head -c 12 || true")
    assert banner.startswith("RFB 003.")
    bench.host.output("head -c 1M /dev/urandom >/root/cd.iso")
    medium = {"path": "/root/cd.iso"}
    for _ in range(2):
        bench.call("VBD.insert", device="xvdd", disk=medium)
        assert bench.call("VM.stat")["vbds"]["xvdd"]["media_present"] is True
        bench.call("VBD.eject", device="xvdd")
        assert bench.call("VM.stat")["vbds"]["xvdd"]["media_present"] is False
    bench.call("VM.shutdown", force=True)
    assert bench.daemon.state(VM) == "Halted"


def test_a_guest_whose_emulator_dies_has_crashed(bench: Bench) -> None:
    booted(bench, "orphan")
    domid = bench.daemon.domid(VM)
    bench.host.output(f"kill -9 $(xenstore-read /local/domain/{domid}/qemu-pid)")
    bench.daemon.until("the guest ends", lambda: bench.daemon.state(VM) == "Halted")
    assert bench.call("VM.stat")["last_shutdown"]["reason"] == "crash"


def test_an_emulator_that_does_not_start_is_named(bench: Bench) -> None:
    md = hvm("refused")
    md["vm"]["hvm"]["serial"] = "nonsense:"
    bench.host.output("cp /lab/extra/guest/hvm.img /root/hvm.img")
    bench.daemon.call("VM.import_metadata", md=md)
    with pytest.raises(DaemonError) as problem:
        bench.call("VM.start")
    assert problem.value.name == "Failed_to_start_emulator"
    assert bench.daemon.state(VM) == "Halted"


def test_plugging_takes_no_longer_than_with_xl(bench: Bench) -> None:
    """Disk and network device added to a running guest, next to xl, in turns."""
    bench.guest()
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

    for _ in range(3):
        ours("disk", "VBD.plug", device="xvdb", vbd=disk)
        ours("nic", "VIF.plug", device="1", vif=vif)
        bench.call("VBD.unplug", device="xvdb", force=True)
        bench.call("VIF.unplug", device="1", force=True)
        theirs("xl disk", f"xl block-attach {domid} phy:/dev/vdd,xvdf,w")
        theirs("xl nic", f"xl network-attach {domid} bridge={BRIDGE}")
        bench.host.run(f"xl block-detach --force {domid} xvdf; xl network-detach {domid} 0")
    best = {kind: min(values) for kind, values in figures.items()}
    print("plugging:", ", ".join(f"{kind} {value:.2f} s" for kind, value in best.items()))
    assert best["disk"] <= best["xl disk"]
    assert best["nic"] <= best["xl nic"]

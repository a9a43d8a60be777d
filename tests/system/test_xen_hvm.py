"""Guests with emulated hardware on real Xen: a boot sector under QEMU, in a lab."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.xen_daemon import DaemonError, metadata
from tests.system.xen_guest import VIF, VM, Bench, clean, screen
from tests.xenlab.lab import Host

pytestmark = [pytest.mark.system, pytest.mark.slow]

SERIAL = "/root/serial"


@pytest.fixture(scope="module")
def _bench(_xen_lab: Host) -> Iterator[Bench]:
    bench = Bench(_xen_lab)
    bench.host.output("cp /lab/extra/guest/hvm.img /root; head -c 1M /dev/urandom >/root/cd")
    yield bench
    bench.stop()


@pytest.fixture
def bench(_bench: Bench) -> Iterator[Bench]:
    """A guest that has booted from its first disk; it has an empty drive and a network device.

    A test that leaves it running leaves it to the next one, the last one ends it.
    """
    if _bench.state() != "Running":
        _bench.host.run(f"rm -f {SERIAL}")
        _bench.daemon.call("VM.import_metadata", md=hvm())
        _bench.call("VM.start")
        ready(_bench)
    yield _bench
    if _bench.state() != "Running":
        clean(_bench)


def hvm(**more: Any) -> dict[str, Any]:
    """Give a guest that boots a sector and talks on its serial port."""
    md: dict[str, Any] = metadata(VM, "sector", "HVM", memory_mib=64, **more)
    md["vm"]["hvm"] = {"serial": f"file:{SERIAL}"}
    md["vbds"] = [
        {"device": "xvda", "backend": {"path": "/root/hvm.img"}},
        {"device": "xvdd", "mode": "RO", "ty": "CDROM"},
    ]
    return md | {"vifs": [VIF]}


def ready(bench: Bench) -> None:
    """Wait until the guest has booted, and forget that it has."""
    bench.daemon.wait_for_text(SERIAL, "HVM-GUEST-READY")
    bench.host.run(f": >{SERIAL}")


def test_its_screen_is_shown_and_its_media_change(bench: Bench) -> None:
    assert screen(bench).startswith("RFB 003.")
    domid = bench.daemon.domid(VM)
    assert f"tap{domid}.0" in bench.host.output("ip -o link show master guests0")
    for _ in range(2):
        bench.call("VBD.insert", device="xvdd", disk={"path": "/root/cd"})
        assert bench.call("VM.stat")["vbds"]["xvdd"]["media_present"] is True
        bench.call("VBD.eject", device="xvdd")
        assert bench.call("VM.stat")["vbds"]["xvdd"]["media_present"] is False
    with pytest.raises(DaemonError) as problem:
        bench.call("VBD.insert", device="xvdd", disk={"path": "/root/no-such-disc"})
    assert problem.value.name == "Hotplug_failed"
    assert bench.call("VM.stat")["vbds"]["xvdd"]["media_present"] is False


def test_it_is_found_again_by_a_new_daemon(bench: Bench) -> None:
    before = bench.call("VM.stat")
    bench.daemon.kill()
    bench.daemon.start()
    assert bench.call("VM.stat") == before
    bench.call("VBD.insert", device="xvdd", disk={"path": "/root/cd"})
    assert bench.call("VM.stat")["vbds"]["xvdd"]["media_present"] is True


def test_it_is_reset_as_a_new_domain(bench: Bench) -> None:
    before = bench.daemon.domid(VM)
    bench.call("VM.reboot", timeout_s=120)
    assert bench.daemon.state(VM) == "Running"
    assert bench.daemon.domid(VM) != before
    ready(bench)


def test_it_obeys_the_power_button(bench: Bench) -> None:
    bench.call("VM.shutdown", timeout_s=120)
    assert bench.daemon.state(VM) == "Halted"
    assert bench.call("VM.stat")["last_shutdown"]["reason"] == "poweroff"


def test_a_guest_whose_emulator_dies_has_crashed(bench: Bench) -> None:
    domid = bench.daemon.domid(VM)
    bench.host.output(f"kill -9 $(xenstore-read /local/domain/{domid}/qemu-pid)")
    bench.daemon.until("the guest ends", lambda: bench.daemon.state(VM) == "Halted")
    assert bench.call("VM.stat")["last_shutdown"]["reason"] == "crash"


def test_an_emulator_that_does_not_start_is_named(bench: Bench) -> None:
    bench.call("VM.shutdown", force=True)
    md = hvm()
    md["vm"]["hvm"]["serial"] = "nonsense:"
    bench.daemon.call("VM.import_metadata", md=md)
    with pytest.raises(DaemonError) as problem:
        bench.call("VM.start")
    assert problem.value.name == "Failed_to_start_emulator"
    assert "nonsense" in problem.value.params[-1]
    assert bench.daemon.state(VM) == "Halted"

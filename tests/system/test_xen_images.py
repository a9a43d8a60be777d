"""Memory of guests on real Xen: suspended, resumed, checkpointed, moved between hosts."""

import time
from collections.abc import Iterator

import pytest

from tests.system.lab import UNPROVEN, leftovers
from tests.system.xen_daemon import DaemonError, metadata
from tests.system.xen_guest import NAME, VIF, VM, Bench, clean, remember, remembered
from tests.xenlab.lab import Host

pytestmark = [pytest.mark.system, pytest.mark.slow]

IMAGE = {"path": "/root/suspend.image"}


@pytest.fixture(scope="module")
def _bench(_xen_lab: Host) -> Iterator[Bench]:
    bench = Bench(_xen_lab)
    yield bench
    bench.stop()


@pytest.fixture
def bench(_bench: Bench) -> Iterator[Bench]:
    _bench.host.output("truncate -s 400M /root/suspend.image")
    yield _bench
    clean(_bench)


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


@UNPROVEN
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

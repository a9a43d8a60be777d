"""Domains on real Xen by the domain daemon's own calls, in a lab."""

import time
from collections.abc import Iterator

import pytest

from tests.system.lab import _xen_lab as _xen_lab
from tests.system.lab import leftovers
from tests.system.xen_daemon import GUESTS, DaemonError, XenDaemon, metadata
from tests.xenlab.lab import Host

pytestmark = [pytest.mark.system, pytest.mark.slow]

VM = "7c1f1a52-0000-4000-8000-000000000001"
OTHER = "7c1f1a52-0000-4000-8000-000000000002"


@pytest.fixture(scope="module")
def _daemon(_xen_lab: Host) -> Iterator[XenDaemon]:
    daemon = XenDaemon(_xen_lab)
    yield daemon
    daemon.stop()


@pytest.fixture
def daemon(_daemon: XenDaemon) -> Iterator[XenDaemon]:
    """A daemon on real Xen; VMs that are left are ended, and nothing of them may be left."""
    yield _daemon
    for vm in _daemon.call("VM.list"):
        if vm["power_state"] != "Halted":
            _daemon.call("VM.shutdown", id=vm["id"], force=True)
        _daemon.call("VM.remove", id=vm["id"])
    assert leftovers(_daemon.host) == []
    keys = _daemon.host.output(
        "xenstore-ls -f /xenops 2>/dev/null; xenstore-ls -f /xapi 2>/dev/null; true"
    )
    assert [line for line in keys.splitlines() if "=" in line and "domain/" in line] == []


@pytest.mark.parametrize("ty", ["PV", "PVH"])
def test_a_guest_lives_from_start_to_clean_shutdown(daemon: XenDaemon, ty: str) -> None:
    name = f"life-{ty.lower()}"
    daemon.call("VM.import_metadata", md=metadata(VM, name, ty))
    daemon.call("VM.start", id=VM, paused=True)
    assert daemon.state(VM) == "Paused"
    daemon.call("VM.unpause", id=VM)
    daemon.wait_for_console(name, f"GUEST READY {name}")
    stat = daemon.call("VM.stat", id=VM)
    assert stat["power_state"] == "Running"
    assert stat["memory_actual"] in range(120 << 20, 140 << 20)
    daemon.call("VM.pause", id=VM)
    assert daemon.state(VM) == "Paused"
    daemon.call("VM.unpause", id=VM)
    daemon.call("VM.shutdown", id=VM, timeout_s=120)
    assert daemon.state(VM) == "Halted"


def test_a_guest_with_several_processors_uses_them(daemon: XenDaemon) -> None:
    md = metadata(VM, "smp", "PVH", vcpu_max=2, vcpus=2)
    daemon.call("VM.import_metadata", md=md)
    daemon.call("VM.start", id=VM)
    # Both processors share the machine's only one.
    daemon.wait_for_console("smp", "GUEST READY smp", 600)
    figures = daemon.call("VM.metrics")[VM]
    assert len(figures["cpu"]) == 2


def test_a_reboot_gives_a_new_domain_and_takes_new_metadata(daemon: XenDaemon) -> None:
    daemon.call("VM.import_metadata", md=metadata(VM, "again"))
    daemon.call("VM.start", id=VM)
    daemon.wait_for_console("again", "GUEST READY again")
    first = daemon.domid(VM)
    daemon.call("VM.import_metadata", md=metadata(VM, "again", memory_mib=160))
    daemon.call("VM.reboot", id=VM, timeout_s=120)
    second = daemon.domid(VM)
    assert first is not None and second is not None and second > first
    assert daemon.call("VM.stat", id=VM)["memory_target"] == 160 << 20
    daemon.call("VM.shutdown", id=VM, force=True)
    assert daemon.state(VM) == "Halted"


def test_a_guest_that_crashes_is_dealt_with(daemon: XenDaemon) -> None:
    daemon.call("VM.import_metadata", md=metadata(VM, "crash"))
    daemon.call("VM.start", id=VM)
    daemon.call("VM.run_guest", id=VM, action="crash")
    daemon.until("the crashed guest ends", lambda: daemon.state(VM) == "Halted")


def test_guests_run_on_when_the_daemon_is_killed(daemon: XenDaemon) -> None:
    daemon.call("VM.import_metadata", md=metadata(VM, "kept"))
    daemon.call("VM.start", id=VM)
    daemon.wait_for_console("kept", "GUEST READY kept")
    before = daemon.call("VM.stat", id=VM)
    daemon.kill()
    daemon.start()
    after = daemon.call("VM.stat", id=VM)
    moving = ("memory_actual",)
    assert {k: v for k, v in after.items() if k not in moving} == {
        k: v for k, v in before.items() if k not in moving
    }
    daemon.call("VM.shutdown", id=VM, timeout_s=120)


def test_a_start_cut_short_by_a_kill_leaves_nothing(daemon: XenDaemon) -> None:
    daemon.call("VM.import_metadata", md=metadata(VM, "half"))
    daemon.call("VM.start", id=VM, paused=True)
    domid = daemon.domid(VM)
    # As if the daemon had died before the last step of the start.
    daemon.kill()
    daemon.host.output(f"xenstore-write /local/domain/{domid}/action-request poweroff")
    daemon.start()
    daemon.until("the half-made domain ends", lambda: daemon.state(VM) == "Halted")


@pytest.mark.parametrize(
    ("kernel", "words"),
    [("/no/such/kernel", "no such file"), ("/root/rubbish", "xc_dom")],
    ids=["missing", "corrupt"],
)
def test_a_kernel_that_cannot_be_loaded_is_named(
    daemon: XenDaemon, kernel: str, words: str
) -> None:
    daemon.host.put("/root/rubbish", b"this is no kernel" * 1000)
    md = metadata(VM, "bad")
    md["vm"]["pv"]["kernel"] = kernel
    daemon.call("VM.import_metadata", md=md)
    with pytest.raises(DaemonError) as problem:
        daemon.call("VM.start", id=VM)
    assert problem.value.name == "Domain_not_built"
    assert words in str(problem.value.params)
    assert daemon.state(VM) == "Halted"


def test_a_guest_larger_than_the_host_is_refused(daemon: XenDaemon) -> None:
    daemon.call("VM.import_metadata", md=metadata(VM, "huge", memory_mib=64 * 1024))
    with pytest.raises(DaemonError) as problem:
        daemon.call("VM.start", id=VM)
    assert problem.value.name == "Cannot_free_this_much_memory"


def test_a_guest_that_takes_no_notice_is_reported(daemon: XenDaemon) -> None:
    md = metadata(VM, "deaf")
    md["vm"]["pv"]["ramdisk"] = None  # it waits for a root disk that never comes
    md["vm"]["pv"]["cmdline"] = "console=hvc0 rootwait root=/dev/nothing"
    daemon.call("VM.import_metadata", md=md)
    daemon.call("VM.start", id=VM)
    with pytest.raises(DaemonError) as problem:
        daemon.call("VM.shutdown", id=VM, timeout_s=0.05)
    assert problem.value.name in ("Failed_to_acknowledge_shutdown_request", "Failed_to_shutdown")
    assert daemon.state(VM) == "Running"


def test_what_the_host_is(daemon: XenDaemon) -> None:
    stat = daemon.call("HOST.stat")
    assert stat["hypervisor"]["version"].startswith("4.17")
    assert "hvm-3.0-x86_64" in stat["hypervisor"]["caps"]
    assert int(stat["cpu"]["cpu_count"]) >= 1
    assert stat["memory_total"] > stat["memory_free"] > 0
    assert "Xen" in daemon.call("HOST.get_console_data")
    daemon.call("HOST.send_debug_keys", keys="h")
    assert "pressed" in daemon.call("HOST.get_console_data")


def test_a_start_takes_no_longer_than_with_xl(daemon: XenDaemon) -> None:
    """Create-to-running of a guest without devices, next to ``xl create``, in turns."""
    daemon.call("VM.import_metadata", md=metadata(VM, "race"))
    config = (
        f'name="raced"\ntype="pv"\nkernel="{GUESTS}/vmlinux"\n'
        f'ramdisk="{GUESTS}/initramfs.gz"\nmemory=128\nvcpus=1\n'
    )
    daemon.host.put("/root/race.cfg", config.encode())
    ours, theirs = [], []
    for _ in range(3):
        begin = time.monotonic()
        daemon.call("VM.start", id=VM)
        ours.append(time.monotonic() - begin)
        daemon.call("VM.shutdown", id=VM, force=True)
        script = "s=$(date +%s%N); xl create -q /root/race.cfg; e=$(date +%s%N); echo $((e-s))"
        theirs.append(int(daemon.host.output(script, timeout=120).split()[-1]) / 1e9)
        daemon.host.output("xl destroy raced", timeout=120)
    print(f"create to running: ours {min(ours):.2f} s, xl {min(theirs):.2f} s")
    assert min(ours) <= min(theirs)

"""What every hypervisor backend does the same.

Each backend has a row in ``BACKENDS``: how to make it, and how to wait a while
with it.  Nothing here knows the backend's insides.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.unit.xenops.factories import MIB, UUID, begun, done, make_md, outcome
from tests.unit.xenops.xen.fake_xen import XenBench
from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.simulator_config import HostConfig
from xenops.backends.contract import Backend, Change, CreateRequest, ShutdownReason
from xenops.backends.simulator.backend import SimulatorBackend
from xenops.backends.simulator.config import GuestConfig, SimulatorSettings, XenopsSection
from xenops.metadata import Disk, VmMetadata


@dataclass
class Bench:
    """A backend under test; ``restart`` gives a new one on the same hypervisor."""

    backend: Backend
    advance: Callable[[float], None]
    restart: Callable[[], Backend]
    changes: list[Change]


def simulator(folder: Path) -> Bench:
    clock = Clock()
    clock.advance(1000)
    guest = GuestConfig(boot_delay_s=1.0, shutdown_delay_s=1.0, detach_refused=("xvdb",))
    settings = SimulatorSettings(HostConfig(memory_mib=2048), XenopsSection(guest=guest))

    def make() -> Backend:
        return SimulatorBackend(clock, folder, settings)

    bench = Bench(make(), clock.advance, make, [])
    bench.backend.listen(bench.changes.append)
    return bench


def xen(folder: Path) -> Bench:
    clock = Clock()
    clock.advance(1000)
    host = XenBench(folder, clock)

    def make() -> Backend:
        return host.backend()

    bench = Bench(make(), clock.advance, make, [])
    bench.backend.listen(bench.changes.append)
    return bench


BACKENDS = [pytest.param(simulator, id="simulator"), pytest.param(xen, id="xen")]
WITH_DEVICES = [pytest.param(simulator, id="simulator")]


@pytest.fixture(params=BACKENDS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A host whose domains have processors and memory."""
    bench = request.param(tmp_path)
    yield bench
    done(bench.backend.stop())


@pytest.fixture(params=WITH_DEVICES)
def full_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A host whose domains can have devices and be saved."""
    bench = request.param(tmp_path)
    yield bench
    done(bench.backend.stop())


def make_pv(**values: Any) -> VmMetadata:
    """Give a paravirtual VM: its guest needs neither drivers nor emulated hardware."""
    pv = {"direct": True, "kernel": __file__}
    return make_md(**({"ty": "PV", "pv": pv} | values))


def create(bench: Bench, md: VmMetadata | None = None) -> int:
    """Give a paused, empty domain of 300 MiB, overhead included."""
    return done(bench.backend.create(md or make_pv(), CreateRequest(300 * MIB, 300 * MIB)))


def running(bench: Bench, md: VmMetadata | None = None) -> int:
    """Give a running domain whose guest has booted."""
    md = md or make_pv()
    domid = create(bench, md)
    done(bench.backend.build(domid, md.vm))
    done(bench.backend.create_device_model(domid, md, restore=False))
    done(bench.backend.clear_action_request(domid))
    done(bench.backend.unpause(domid))
    bench.advance(2)
    return domid


def asked(bench: Bench, domid: int, request: Any) -> None:
    """Have a guest take notice of a request to stop."""
    noticed = begun(bench.backend.request_shutdown(domid, request, 60))
    bench.advance(0)
    assert outcome(noticed)


def test_a_new_domain_is_paused_and_not_survivable(bench: Bench) -> None:
    domid = create(bench)
    domain = bench.backend.find(UUID)
    assert domain is not None
    assert (domain.domid, domain.vm) == (domid, UUID)
    assert (domain.paused, domain.shutdown, domain.survivable) == (True, None, False)
    assert list(bench.backend.domains()) == [domain]


def test_domain_ids_grow_also_over_restarts(bench: Bench) -> None:
    first = create(bench)
    done(bench.backend.destroy(first))
    second = create(bench)
    done(bench.backend.destroy(second))
    bench.backend = bench.restart()
    assert first < second < create(bench)


def test_domains_are_found_again_by_a_new_daemon(full_bench: Bench) -> None:
    bench = full_bench
    md = make_md()
    domid = running(bench, md)
    done(bench.backend.vbd_plug(domid, md.vbds[0], ""))
    done(bench.backend.vif_plug(domid, md.vifs[0]))
    bench.backend.flush()
    before = (bench.backend.domains(), bench.backend.stat(domid), bench.backend.host_stat())
    bench.backend = bench.restart()
    after = (bench.backend.domains(), bench.backend.stat(domid), bench.backend.host_stat())
    assert after == before


def test_running_domains_are_found_again(bench: Bench) -> None:
    domid = running(bench)
    bench.backend.flush()
    before = (bench.backend.domains(), bench.backend.stat(domid), bench.backend.host_stat())
    bench.backend = bench.restart()
    after = (bench.backend.domains(), bench.backend.stat(domid), bench.backend.host_stat())
    assert after == before


def test_memory_is_taken_and_given_back(bench: Bench) -> None:
    free = bench.backend.host_stat().memory_free
    domid = create(bench)
    assert bench.backend.host_stat().memory_free == free - 300 * MIB
    done(bench.backend.destroy(domid))
    assert bench.backend.host_stat().memory_free == free


def test_a_domain_too_large_is_refused(bench: Bench) -> None:
    free = bench.backend.host_stat().memory_free
    request = CreateRequest(free + MIB, free + MIB)
    with pytest.raises(RpcError) as problem:
        done(bench.backend.create(make_pv(), request))
    assert problem.value.args == ("Cannot_free_this_much_memory", free + MIB, free)
    assert bench.backend.domains() == []


def test_pause_and_unpause(bench: Bench) -> None:
    domid = running(bench)
    for effect, paused in ((bench.backend.pause, True), (bench.backend.unpause, False)):
        done(effect(domid))
        domain = bench.backend.find(UUID)
        assert domain is not None and domain.paused is paused


def test_the_guest_agent_reports(bench: Bench) -> None:
    md = make_pv()
    domid = create(bench, md)
    assert not bench.backend.stat(domid).pv_drivers_detected
    done(bench.backend.destroy(domid))
    domid = running(bench, md)
    stat = bench.backend.stat(domid)
    assert {"data/os_name", "control/feature-shutdown"} <= set(stat.guest_agent)
    assert Change("vm", UUID) in bench.changes


def test_drivers_are_noticed_with_the_first_device(full_bench: Bench) -> None:
    md, domid = make_md(), running(full_bench)
    done(full_bench.backend.vif_plug(domid, md.vifs[0]))
    stat = full_bench.backend.stat(domid)
    assert stat.pv_drivers_detected
    assert "attr/vif/0/ipv4/0" in stat.guest_agent


@pytest.mark.parametrize(
    ("request_name", "reason"),
    [
        ("poweroff", ShutdownReason.POWEROFF),
        ("reboot", ShutdownReason.REBOOT),
        ("suspend", ShutdownReason.SUSPEND),
    ],
)
def test_a_guest_stops_when_asked(bench: Bench, request_name: str, reason: ShutdownReason) -> None:
    domid = running(bench)
    asked(bench, domid, request_name)
    waiting = begun(bench.backend.wait_shutdown(domid, 60))
    bench.advance(2)
    assert outcome(waiting) is reason
    domain = bench.backend.find(UUID)
    assert domain is not None and domain.shutdown is reason


def test_waiting_for_a_stop_ends_in_time(bench: Bench) -> None:
    domid = running(bench)
    waiting = begun(bench.backend.wait_shutdown(domid, 60))
    bench.advance(61)
    assert outcome(waiting) is None


def test_waiting_for_a_domain_that_is_destroyed_fails(bench: Bench) -> None:
    domid = running(bench)
    waiting = begun(bench.backend.wait_shutdown(domid, 60))
    done(bench.backend.destroy(domid))
    with pytest.raises(RpcError, match="Does_not_exist"):
        outcome(waiting)


def test_a_suspended_guest_can_go_on_in_place(bench: Bench) -> None:
    domid = running(bench)
    asked(bench, domid, "suspend")
    bench.advance(2)
    done(bench.backend.resume_fast(domid))
    domain = bench.backend.find(UUID)
    assert domain is not None and domain.shutdown is None


def test_memory_comes_back_from_an_image(full_bench: Bench, tmp_path: Path) -> None:
    bench = full_bench
    md, image = make_md(), str(tmp_path / "image")
    (tmp_path / "image").write_bytes(bytes(4096))
    domid = running(bench, md)
    asked(bench, domid, "suspend")
    bench.advance(2)
    saved = done(bench.backend.save(domid, image))
    assert saved.memory_bytes > 0
    done(bench.backend.destroy(domid))
    domid = create(bench, md)
    done(bench.backend.restore(domid, md.vm, image, {}))
    assert bench.backend.stat(domid).pv_drivers_detected


def test_what_is_no_image_is_refused(full_bench: Bench, tmp_path: Path) -> None:
    bench = full_bench
    domid = create(bench)
    (tmp_path / "image").write_bytes(b"not an image")
    for path in (tmp_path / "image", tmp_path / "absent"):
        with pytest.raises(RpcError, match="IO_error"):
            done(bench.backend.restore(domid, make_md().vm, str(path), {}))


def test_disks_come_and_go(full_bench: Bench) -> None:
    bench = full_bench
    md, domid = make_md(), running(bench)
    disk, drive = md.vbds
    done(bench.backend.vbd_plug(domid, disk, ""))
    done(bench.backend.vbd_plug(domid, drive, ""))
    vbds = bench.backend.stat(domid).vbds
    assert (vbds["xvda"].disk, vbds["xvdd"].media_present) == (disk.backend, False)
    with pytest.raises(RpcError, match="Device_is_connected"):
        done(bench.backend.vbd_plug(domid, disk, ""))
    medium = Disk(sr="iso", vdi="tools")
    done(bench.backend.vbd_insert(domid, "xvdd", medium, ""))
    assert done(bench.backend.vbd_eject(domid, "xvdd")) == medium
    elsewhere = Disk(sr="other", vdi="moved")
    done(bench.backend.vbd_moved(domid, "xvda", elsewhere))
    assert bench.backend.stat(domid).vbds["xvda"].disk == elsewhere
    assert done(bench.backend.vbd_unplug(domid, "xvda", force=False)) == elsewhere
    with pytest.raises(RpcError, match="Device_not_connected"):
        done(bench.backend.vbd_moved(domid, "xvda", elsewhere))
    with pytest.raises(RpcError, match="Device_not_connected"):
        done(bench.backend.vbd_unplug(domid, "xvda", force=False))
    assert done(bench.backend.vbd_unplug(domid, "xvda", force=True)) is None


def test_a_guest_may_refuse_to_let_a_disk_go(full_bench: Bench) -> None:
    bench = full_bench
    md = make_md(vbds=[{"device": "xvdb", "backend": {"path": "/b"}}])
    domid = running(bench, md)
    done(bench.backend.vbd_plug(domid, md.vbds[0], ""))
    with pytest.raises(RpcError, match="Device_detach_rejected"):
        done(bench.backend.vbd_unplug(domid, "xvdb", force=False))
    done(bench.backend.vbd_unplug(domid, "xvdb", force=True))
    assert bench.backend.stat(domid).vbds == {}


def test_destroying_twice_is_no_error(bench: Bench) -> None:
    domid = create(bench)
    done(bench.backend.destroy(domid))
    done(bench.backend.destroy(domid))
    done(bench.backend.destroy_device_model(domid))


def test_what_is_done_to_a_domain_that_is_gone_fails(bench: Bench) -> None:
    backend, vm = bench.backend, make_pv()
    for work in (
        backend.build(9, vm.vm),
        backend.unpause(9),
        backend.pause(9),
        backend.set_vcpus(9, 1),
        backend.wait_shutdown(9, 1),
    ):
        with pytest.raises(RpcError) as problem:
            done(work)
        assert problem.value.args == ("Does_not_exist", "domain", "9")


def test_counters_only_grow(full_bench: Bench) -> None:
    bench = full_bench
    md, domid = make_md(), running(bench)
    done(bench.backend.vbd_plug(domid, md.vbds[0], ""))
    done(bench.backend.vif_plug(domid, md.vifs[0]))
    before = bench.backend.metrics()[UUID]
    for _ in range(200):
        bench.advance(5)
        now = bench.backend.metrics()[UUID]
        assert now["cpu"][0] > before["cpu"][0]  # type: ignore[index]
        assert now["vifs"]["0"]["rx"] > before["vifs"]["0"]["rx"]  # type: ignore[index]
        assert now["vbds"]["xvda"]["write"] > before["vbds"]["xvda"]["write"]  # type: ignore[index]
        assert now["cpu"][0] - before["cpu"][0] <= 5.0  # type: ignore[index]
        before = now

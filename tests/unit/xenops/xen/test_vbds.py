"""Block devices coming and going, against drivers and a guest in memory."""

from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from tests.unit.xenops.factories import UUID, begun, done, outcome
from tests.unit.xenops.xen.device_bench import DOMID, HOME, DeviceBench
from xapi_py.base.rpc.errors import RpcError
from xenops.backends.contract import Change, VbdStat
from xenops.backends.xen.devices.vbd_layout import PluggedDisk
from xenops.backends.xen.devices.vbds import Vbds
from xenops.backends.xen.qemu_command import Drive
from xenops.metadata import Disk, Vbd
from xenops.qmp.client import QmpError

DISK = Disk(sr="s", vdi="v")
BACKEND = f"/local/domain/0/backend/vbd/{DOMID}/51712"
NBD = "nbd:unix:/run/d.sock:exportname=v"


class FakeServers:
    """QEMU as a server of disks: writes both sides as it does, follows the guest."""

    def __init__(self, bench: DeviceBench) -> None:
        self.bench = bench
        self.serving: dict[str, PluggedDisk] = {}
        self.lets_go = True
        self.refuse = ""

    async def recover(self, domid: int) -> None:
        return None

    async def serve(self, domid: int, disk: PluggedDisk, *, block: bool) -> None:
        if self.refuse:
            raise QmpError("device_add", "GenericError", self.refuse)
        self.serving[disk.device] = disk
        self.bench.server.put(f"/local/domain/0/backend/qdisk/{domid}/{disk.devid}/state", "2")
        self.bench.server.put(f"{HOME}/device/vbd/{disk.devid}/state", "1")

    async def withdraw(self, domid: int, disk: PluggedDisk) -> "Deferred[None] | None":
        gone: Deferred[None] = Deferred()
        if self.lets_go:
            del self.serving[disk.device]
            self.bench.server.drop(f"/local/domain/0/backend/qdisk/{domid}/{disk.devid}")
            gone.callback(None)
        return gone

    async def forget_data(self, domid: int, disk: PluggedDisk) -> None:
        return None

    async def stop(self, domid: int) -> None:
        self.serving.clear()

    def forget(self, domid: int) -> None:
        self.serving.clear()


class FakeDrives:
    def __init__(self) -> None:
        self.media: dict[str, str] = {}
        self.refuse = ""

    async def load(self, domid: int, drive: Drive) -> None:
        if self.refuse:
            raise QmpError("blockdev-insert-medium", "GenericError", self.refuse)
        self.media[drive.device] = drive.path

    async def unload(self, domid: int, device: str) -> None:
        del self.media[device]


class Bench(DeviceBench):
    def __init__(self, folder: Path, *, hvm: bool = False) -> None:
        super().__init__(folder, hvm=hvm)
        self.servers = FakeServers(self)
        self.cds = FakeDrives()
        self.vbds = self.fresh()

    def fresh(self) -> Vbds:
        """Give the devices of a daemon that has just started."""
        return Vbds(self.host, self.domains, self.kernel, self.servers, self.cds)  # type: ignore[arg-type]

    def plug(self, device: str = "xvda", path: str = "/dev/vg/a") -> None:
        done(self.vbds.plug(DOMID, Vbd(device, backend=DISK), path))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_disk_comes_and_goes_and_nothing_is_left(bench: Bench) -> None:
    bench.plug()
    assert bench.server.value(f"{BACKEND}/state") == "4"
    assert bench.server.value(f"{BACKEND}/physical-device") == "7:1"
    assert bench.vbds.connected(DOMID)
    assert bench.vbds.stat(DOMID) == {"xvda": VbdStat(True, True, DISK)}
    assert done(bench.vbds.unplug(DOMID, "xvda", force=False)) == DISK
    assert bench.leftovers() == []
    assert bench.vbds.stat(DOMID) == {}


def test_a_guest_that_does_not_run_yet_need_not_connect(bench: Bench) -> None:
    bench.drivers.guest = False
    bench.plug()
    assert bench.server.value(f"{BACKEND}/state") == "2"
    assert not bench.vbds.connected(DOMID)
    done(bench.vbds.unplug(DOMID, "xvda", force=False))
    assert bench.leftovers() == []


def test_a_file_gets_a_loop_device_for_as_long_as_it_is_plugged(bench: Bench) -> None:
    bench.plug(path="/sr/disk.img")
    assert bench.server.value(f"{BACKEND}/params") == "/dev/loop0"
    assert list(bench.kernel.loop_tags.values()) == ["xenops:7:xvda"]
    done(bench.vbds.unplug(DOMID, "xvda", force=False))
    assert bench.kernel.loop_tags == {}


def test_a_disk_that_cannot_be_opened_leaves_nothing(bench: Bench) -> None:
    bench.kernel.refuse = "Input/output error"
    with pytest.raises(RpcError) as problem:
        bench.plug(path="/sr/disk.img")
    assert problem.value.args == ("Hotplug_failed", "VBD", "xvda", "Input/output error")
    assert (bench.leftovers(), bench.kernel.loop_tags) == ([], {})


def test_a_driver_that_refuses_leaves_nothing(bench: Bench) -> None:
    bench.drivers.broken = "-22 creating vbd structure"
    with pytest.raises(RpcError, match="creating vbd structure"):
        bench.plug(path="/sr/disk.img")
    bench.server.drop("/local/domain/0/error")  # the driver's own note
    assert (bench.leftovers(), bench.kernel.loop_tags) == ([], {})
    assert bench.vbds.stat(DOMID) == {}


def test_a_driver_that_does_nothing_is_given_up_in_time(bench: Bench) -> None:
    bench.drivers.deaf = True
    plugging = begun(bench.vbds.plug(DOMID, Vbd("xvda", backend=DISK), "/dev/vg/a"))
    bench.clock.advance(301)
    with pytest.raises(RpcError, match="does not take it"):
        outcome(plugging)
    assert bench.leftovers() == []


def test_a_cancelled_plug_leaves_nothing(bench: Bench) -> None:
    bench.drivers.deaf = True
    plugging = begun(bench.vbds.plug(DOMID, Vbd("xvda", backend=DISK), "/sr/disk.img"))
    plugging.addErrback(lambda failure: None).cancel()
    assert (bench.leftovers(), bench.kernel.loop_tags) == ([], {})


def test_a_guest_may_refuse_and_be_forced(bench: Bench) -> None:
    bench.plug()
    bench.drivers.refuses = "16 Device in use; refusing to close"
    with pytest.raises(RpcError) as problem:
        done(bench.vbds.unplug(DOMID, "xvda", force=False))
    assert problem.value.args[:3] == ("Device_detach_rejected", "VBD", "xvda")
    assert "Device in use" in problem.value.args[3]
    assert bench.vbds.stat(DOMID) != {}
    assert done(bench.vbds.unplug(DOMID, "xvda", force=True)) == DISK
    assert bench.leftovers() == []


def test_a_guest_that_refused_can_be_asked_again(bench: Bench) -> None:
    bench.plug()
    bench.drivers.refuses = "16 in use"
    with pytest.raises(RpcError):
        done(bench.vbds.unplug(DOMID, "xvda", force=False))
    bench.drivers.refuses = ""
    assert done(bench.vbds.unplug(DOMID, "xvda", force=False)) == DISK


def test_a_guest_that_says_nothing_is_waited_for_no_longer_than_that(bench: Bench) -> None:
    bench.plug()
    bench.drivers.silent = True
    unplugging = begun(bench.vbds.unplug(DOMID, "xvda", force=False))
    bench.clock.advance(299)
    assert not unplugging.called
    bench.clock.advance(2)
    with pytest.raises(RpcError, match="does not answer"):
        outcome(unplugging)


def test_what_is_plugged_is_not_plugged_again(bench: Bench) -> None:
    bench.plug()
    with pytest.raises(RpcError, match="Device_is_connected"):
        bench.plug()
    with pytest.raises(RpcError, match="Device_not_connected"):
        done(bench.vbds.unplug(DOMID, "xvdb", force=False))
    assert done(bench.vbds.unplug(DOMID, "xvdb", force=True)) is None


def test_a_domain_that_is_gone_gets_no_devices(bench: Bench) -> None:
    with pytest.raises(RpcError, match="Does_not_exist"):
        done(bench.vbds.plug(9, Vbd("xvda", backend=DISK), "/dev/vg/a"))
    bench.server.drop(HOME)
    with pytest.raises(RpcError, match="Does_not_exist"):
        bench.plug()


def test_a_new_daemon_knows_what_the_old_one_plugged(bench: Bench) -> None:
    bench.plug()
    bench.plug("xvdb", "/sr/disk.img")
    again = bench.fresh()
    assert again.stat(DOMID) == {}
    done(again.recover(DOMID))
    assert again.stat(DOMID) == bench.vbds.stat(DOMID)
    assert again.connected(DOMID)
    done(again.unplug(DOMID, "xvdb", force=False))
    assert bench.kernel.loop_tags == {}


def test_a_disk_that_moved_has_its_new_name_and_its_old_path(bench: Bench) -> None:
    bench.plug()
    done(bench.vbds.moved(DOMID, "xvda", Disk("other", "moved")))
    again = bench.fresh()
    done(again.recover(DOMID))
    for vbds in (bench.vbds, again):
        assert vbds.stat(DOMID)["xvda"].disk == Disk("other", "moved")


def test_the_guest_cannot_hide_a_device_from_us(bench: Bench) -> None:
    bench.plug()
    bench.server.drop(f"{HOME}/device")
    again = bench.fresh()
    done(again.recover(DOMID))
    assert set(again.stat(DOMID)) == {"xvda"}
    done(again.unplug(DOMID, "xvda", force=True))
    assert bench.leftovers() == []


def test_nothing_of_a_dead_domain_is_left(bench: Bench) -> None:
    bench.plug()
    bench.plug("xvdb", "/sr/disk.img")
    bench.plug("xvdc", NBD)
    bench.kernel.loop_tags["/dev/loop9"] = "xenops:7:of a plug cut short"
    done(bench.vbds.remove_all(DOMID))
    assert (bench.leftovers(), bench.kernel.loop_tags) == ([], {})
    assert bench.vbds.stat(DOMID) == {}
    done(bench.fresh().remove_all(DOMID))


def test_a_backend_driver_that_holds_on_is_waited_for(bench: Bench) -> None:
    bench.plug(path="/sr/disk.img")
    bench.kernel.held.add(("vbd", DOMID, 51712))
    unplugging = begun(bench.vbds.unplug(DOMID, "xvda", force=True))
    bench.clock.advance(1)
    assert not unplugging.called and bench.kernel.loop_tags
    bench.kernel.held.clear()
    bench.clock.advance(1)
    assert outcome(unplugging) == DISK
    assert bench.kernel.loop_tags == {}


def test_a_change_by_the_guest_is_announced(bench: Bench) -> None:
    bench.plug()
    bench.host.changes.clear()
    bench.server.put(f"{BACKEND}/state", "5")
    assert bench.host.changes == [Change("vbd", UUID, "xvda")]
    assert not bench.vbds.connected(DOMID)


def test_a_disk_that_qemu_serves(bench: Bench) -> None:
    bench.plug(path=NBD)
    assert bench.servers.serving["xvda"].path == NBD
    extra = f"/local/domain/0/backend/qdisk/{DOMID}/51712/polling-duration"
    assert bench.server.value(extra) == "8000"
    done(bench.vbds.unplug(DOMID, "xvda", force=False))
    assert bench.servers.serving == {}
    assert bench.leftovers() == [f"{HOME}/device/vbd/51712/state"] or bench.leftovers() == []


def test_what_qemu_refuses_leaves_nothing(bench: Bench) -> None:
    bench.servers.refuse = "Failed to connect"
    with pytest.raises(RpcError, match="Failed to connect"):
        bench.plug(path=NBD)
    assert bench.leftovers() == []


def test_a_guest_may_refuse_to_let_a_disk_of_qemus_go(bench: Bench) -> None:
    bench.plug(path=NBD)
    bench.servers.lets_go = False
    unplugging = begun(bench.vbds.unplug(DOMID, "xvda", force=False))
    bench.server.put(f"{HOME}/error/device/vbd/51712/error", "16 in use")
    with pytest.raises(RpcError, match="16 in use"):
        outcome(unplugging)
    forced = begun(bench.vbds.unplug(DOMID, "xvda", force=True))
    bench.clock.advance(11)
    assert outcome(forced) == DISK


def test_a_cd_of_an_emulated_pc_is_changed_in_its_drive(tmp_path: Path) -> None:
    bench = Bench(tmp_path, hvm=True)
    done(bench.vbds.plug(DOMID, Vbd("xvdd", "RO", "CDROM"), ""))
    assert bench.vbds.stat(DOMID) == {"xvdd": VbdStat(True, False, None)}
    assert done(bench.vbds.drives(DOMID)) == [Drive("xvdd", "CDROM", "RO")]
    with pytest.raises(RpcError, match="Media_not_present"):
        done(bench.vbds.eject(DOMID, "xvdd"))
    done(bench.vbds.insert(DOMID, "xvdd", DISK, "/a.iso"))
    assert bench.cds.media == {"xvdd": "/a.iso"}
    assert bench.vbds.stat(DOMID)["xvdd"].disk == DISK
    with pytest.raises(RpcError, match="Media_present"):
        done(bench.vbds.insert(DOMID, "xvdd", DISK, "/a.iso"))
    again = bench.fresh()
    done(again.recover(DOMID))
    assert again.stat(DOMID) == bench.vbds.stat(DOMID)
    assert done(bench.vbds.eject(DOMID, "xvdd")) == DISK
    assert (bench.cds.media, bench.vbds.stat(DOMID)["xvdd"].disk) == ({}, None)
    done(bench.vbds.unplug(DOMID, "xvdd", force=True))
    assert bench.leftovers() == []


def test_a_medium_the_drive_refuses_is_not_in_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, hvm=True)
    done(bench.vbds.plug(DOMID, Vbd("xvdd", "RO", "CDROM"), ""))
    bench.cds.refuse = "Could not open"
    with pytest.raises(RpcError, match="Could not open"):
        done(bench.vbds.insert(DOMID, "xvdd", DISK, "/a.iso"))
    assert bench.vbds.stat(DOMID)["xvdd"].disk is None


def test_a_cd_of_a_paravirtual_guest_comes_with_its_drive(bench: Bench) -> None:
    done(bench.vbds.insert(DOMID, "xvdd", DISK, "/a.iso"))
    assert bench.vbds.stat(DOMID) == {"xvdd": VbdStat(True, True, DISK)}
    assert bench.server.value(f"/local/domain/0/backend/vbd/{DOMID}/51760/mode") == "r"
    assert done(bench.vbds.eject(DOMID, "xvdd")) == DISK
    assert (bench.vbds.stat(DOMID), bench.leftovers()) == ({}, [])

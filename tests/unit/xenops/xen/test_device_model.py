"""The emulator of a guest's hardware: its start, its end, its drives."""

from pathlib import Path

import pytest

from tests.unit.xenops.factories import UUID, begun, done, make_md, outcome
from tests.unit.xenops.xen.device_bench import DOMID, HOME, DeviceBench
from tests.unit.xenops.xen.fake_qemu import FakeQemu, FakeQemus
from xapi_py.base.rpc.errors import RpcError
from xenops.backends.contract import Change
from xenops.backends.xen import qemu
from xenops.backends.xen.devices.vbd_layout import PluggedDisk
from xenops.backends.xen.disk_servers import DiskServers
from xenops.backends.xen.hardware import Hardware
from xenops.backends.xen.qemu_command import Drive
from xenops.metadata import Vbd
from xenops.qmp.client import QmpError, QmpLost
from xenops.qmp.codec import Event

NBD = "nbd:unix:/run/d.sock:exportname=v"


class Bench(DeviceBench):
    def __init__(self, folder: Path, qemus: FakeQemus) -> None:
        super().__init__(folder, hvm=True)
        self.qemus = qemus
        self.hardware = self.fresh()

    def fresh(self) -> Hardware:
        """Give the hardware of a daemon that has just started."""
        return Hardware(self.host, self.domains, self.network, self.kernel)

    def start(self) -> FakeQemu:
        """Give the emulator of a guest with a drive and a network device."""
        md = make_md()
        done(self.hardware.vbds.plug(DOMID, Vbd("xvdd", "RO", "CDROM"), ""))
        done(self.hardware.vifs.plug(DOMID, md.vifs[0]))
        done(self.hardware.model.start(DOMID, md, restore=False))
        return self.qemus.started[-1]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    qemus = FakeQemus()
    monkeypatch.setattr(qemu, "start", qemus.start)
    monkeypatch.setattr(qemu, "adopt", qemus.adopt)
    return Bench(tmp_path, qemus)


def test_it_runs_once_its_networks_are_connected(bench: Bench) -> None:
    running = bench.start()
    assert running.qmp.names() == ["query-chardev", "cont"]
    assert bench.network.bridges["tap7.0"] == "xenbr0"
    assert bench.server.value(f"{HOME}/qemu-pid") == "4711"
    assert "ide-cd,id=ide1-1,bus=ide.1,unit=1" in running.arguments
    done(bench.hardware.model.stop(DOMID))
    assert not running.running
    assert bench.server.value(f"{HOME}/qemu-pid") is None


def test_the_terminal_of_its_serial_port_is_told(bench: Bench) -> None:
    chardev = {"label": "serial0", "filename": "pty:/dev/pts/7"}
    bench.qemus.prepare = lambda made: made.qmp.answers.update({"query-chardev": [chardev]})
    bench.start()
    assert bench.server.value(f"{HOME}/serial/0/tty") == "/dev/pts/7"


def test_one_that_does_not_start_is_named_and_leaves_nothing(bench: Bench) -> None:
    bench.qemus.refuse = "could not open disk image"
    with pytest.raises(RpcError) as problem:
        bench.start()
    assert problem.value.args[0] == "Failed_to_start_emulator"
    assert "could not open disk image" in problem.value.args[3]
    bench.qemus.refuse = ""
    bench.qemus.prepare = lambda made: made.qmp.refuse.update({"cont": "no"})
    with pytest.raises(RpcError, match="Failed_to_start_emulator"):
        done(bench.hardware.model.start(DOMID, make_md(), restore=False))
    assert not bench.qemus.started[-1].running
    assert bench.server.value(f"{HOME}/qemu-pid") is None


def test_a_bridge_that_is_gone_stops_it_again(bench: Bench) -> None:
    md = make_md()
    done(bench.hardware.vifs.plug(DOMID, md.vifs[0]))
    bench.network.refuse = True
    with pytest.raises(RpcError, match="Unimplemented"):
        done(bench.hardware.model.start(DOMID, md, restore=False))
    assert not bench.qemus.started[-1].running


def test_a_guest_whose_emulator_dies_is_stopped_as_crashed(bench: Bench) -> None:
    running = bench.start()
    bench.host.changes.clear()
    running.process.on_end("signal:9")
    assert bench.host.xc.stopped == [(DOMID, 3)]
    assert bench.server.value(f"{HOME}/qemu-pid-signal") == "signal:9"
    assert Change("vm", UUID) in bench.host.changes
    assert not bench.hardware.model.has(DOMID)


def test_a_new_daemon_finds_it_or_its_end(bench: Bench) -> None:
    running = bench.start()
    again = bench.fresh()
    done(again.model.recover(DOMID))
    assert again.model.has(DOMID)
    running.running = False
    last = bench.fresh()
    done(last.model.recover(DOMID))
    assert bench.host.xc.stopped == [(DOMID, 3)]


def test_a_restored_one_is_waited_for(bench: Bench) -> None:
    bench.hardware.model.state_path(DOMID).write_bytes(b"state")
    starting = begun(bench.hardware.model.start(DOMID, make_md(vifs=[]), restore=True))
    assert not starting.called
    bench.qemus.started[-1].qmp.on_event(Event("RESUME"))
    assert outcome(starting) is None
    assert not bench.hardware.model.state_path(DOMID).exists()


def test_one_that_cannot_read_its_state_has_failed(bench: Bench) -> None:
    bench.hardware.model.state_path(DOMID).write_bytes(b"rubbish")
    starting = begun(bench.hardware.model.start(DOMID, make_md(vifs=[]), restore=True))
    bench.qemus.started[-1].process.on_end("exit:1")
    with pytest.raises(RpcError, match="Failed_to_start_emulator"):
        outcome(starting)
    assert bench.host.xc.stopped == []


def test_media_are_changed_through_the_tray(bench: Bench) -> None:
    running = bench.start()
    running.qmp.names()
    done(bench.hardware.model.load(DOMID, Drive("xvdd", "CDROM", "RO", "/a.iso")))
    assert running.qmp.names() == [
        "blockdev-add", "blockdev-open-tray", "blockdev-insert-medium", "blockdev-close-tray",
    ]  # fmt: skip
    done(bench.hardware.model.unload(DOMID, "xvdd"))
    assert running.qmp.names() == [
        "blockdev-open-tray", "blockdev-remove-medium", "blockdev-close-tray", "blockdev-del",
    ]  # fmt: skip


def test_a_medium_that_is_refused_leaves_no_open_file(bench: Bench) -> None:
    running = bench.start()
    running.qmp.refuse["blockdev-insert-medium"] = "no"
    running.qmp.names()
    with pytest.raises(QmpError):
        done(bench.hardware.model.load(DOMID, Drive("xvdd", "CDROM", "RO", "/a.iso")))
    assert running.qmp.names()[-1] == "blockdev-del"
    with pytest.raises(QmpLost):
        done(bench.hardware.model.unload(9, "xvdd"))


def test_its_state_is_saved_and_it_goes_on(bench: Bench) -> None:
    running = bench.start()
    running.qmp.names()
    assert done(bench.hardware.model.save_state(DOMID)) == bench.hardware.model.state_path(DOMID)
    done(bench.hardware.model.resumed(DOMID))
    assert running.qmp.names() == ["stop", "xen-save-devices-state", "cont"]
    assert done(bench.hardware.model.save_state(9)) is None


def test_the_clock_of_the_guest_is_remembered(bench: Bench) -> None:
    running = bench.start()
    bench.server.put(f"/vm/{UUID}/rtc/timeoffset", "-60")
    running.qmp.on_event(Event("RTC_CHANGE", {"offset": 3600}))
    assert bench.server.value(f"/vm/{UUID}/rtc/timeoffset") == "3540"


def test_processors_are_plugged_into_the_board(bench: Bench) -> None:
    running = bench.start()
    slots = [{"type": "cpu", "props": {"core": n}} for n in (2, 1)]
    slots.append({"type": "cpu", "props": {"core": 0}, "qom-path": "/machine/cpu"})
    running.qmp.answers["query-hotpluggable-cpus"] = slots
    running.qmp.calls.clear()
    done(bench.hardware.model.set_vcpus(DOMID, 2))
    assert running.qmp.calls[1:] == [("device_add", {"driver": "cpu", "id": "cpu-1", "core": 1})]


DISK = PluggedDisk("xvdb", 51728, "Disk", "RW", "qdisk", NBD, sr="s", vdi="v")


def test_one_process_serves_all_disks_of_a_domain(bench: Bench) -> None:
    servers = DiskServers(bench.host)
    done(servers.serve(DOMID, DISK, block=False))
    done(servers.serve(DOMID, DISK, block=False))
    (running,) = bench.qemus.started
    assert running.qmp.names() == ["blockdev-add", "device_add"] * 2
    again = DiskServers(bench.host)
    done(again.recover(DOMID))
    gone = done(again.withdraw(DOMID, DISK))
    assert gone is not None and not gone.called
    running.qmp.on_event(Event("DEVICE_DELETED", {"device": "xen-disk-51728"}))
    assert gone.called
    done(again.stop(DOMID))
    assert not running.running


def test_a_disk_that_is_refused_leaves_no_open_data(bench: Bench) -> None:
    bench.qemus.prepare = lambda made: made.qmp.refuse.update({"device_add": "no media"})
    with pytest.raises(QmpError):
        done(DiskServers(bench.host).serve(DOMID, DISK, block=False))
    assert bench.qemus.started[0].qmp.names()[-1] == "blockdev-del"


def test_a_server_that_dies_has_let_all_disks_go(bench: Bench) -> None:
    servers = DiskServers(bench.host)
    done(servers.serve(DOMID, DISK, block=False))
    gone = done(servers.withdraw(DOMID, DISK))
    bench.qemus.started[0].process.on_end("signal:11")
    assert gone is not None and gone.called
    assert done(servers.withdraw(DOMID, DISK)) is None

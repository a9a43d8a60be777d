"""Volume SRs on a real kernel; ``test_lab_storage_block.py`` runs this inside the lab.

Drivers run in the test's process, as in the unit tests, on real LVM and real disks.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from sm.contract import VdiSpec
from sm.files.mounts import System
from sm.volumes.lvm import PREFIX
from tests.system.block_servers import (
    IQN,
    ME,
    PASSWORD,
    PORTALS,
    TARGET_PASSWORD,
    TARGET_USER,
    USER,
    adapter,
    fcoe,
    path_cut,
    sh,
    target,
    until,
)
from tests.unit.sm.files.file_host import MIB, FileHost, code, run, wait
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.errors import RpcError

DISK = "/dev/vdc"


class RealHost(FileHost):
    """A host with one volume SR on real devices."""

    def __init__(self, folder: Path, sr_type: str = "lvm", **config: str) -> None:
        super().__init__(folder, sr_type, system=System(), host="host")
        self.config = config or {"device": DISK}

    def start(self, config: dict[str, str] | None = None, **sm_config: str) -> Any:
        names = ("name", "text", 0)
        wait(self.driver.create(self.sr_uuid, self.config, sm_config, *names))
        return self.attach()

    def attach(self, config: dict[str, str] | None = None, sr: str = "") -> Any:
        return super().attach(config or self.config, sr)

    @property
    def group(self) -> str:
        return PREFIX + self.sr_uuid

    def show(self, vdi: str, *, writable: bool) -> str:
        """A file with the disk's content."""
        return str(wait(self.sr.vdi_path(vdi, writable)))

    def write(self, vdi: str, offset: int, length: int, pattern: int) -> None:
        path = self.show(vdi, writable=True)
        run("qemu-io", "-f", "raw", "-c", f"write -P {pattern} {offset} {length}", path)
        wait(self.sr.vdi_note_written(vdi, [], False))

    def holds(self, vdi: str, *pieces: tuple[int, int, int]) -> None:
        """Check pieces (offset, length, pattern) of a disk."""
        reads = [w for o, n, p in pieces for w in ("-c", f"read -P {p} {o} {n}")]
        done = subprocess.run(
            ["qemu-io", "-r", "-f", "raw", *reads, self.show(vdi, writable=False)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and "failed" not in done.stdout, done.stdout + done.stderr
        wait(self.sr.vdi_note_written(vdi, [], False))

    def live_holds(self, vdi: str, *pieces: tuple[int, int, int]) -> None:
        reads = [w for o, n, p in pieces for w in ("-c", f"read -P {p} {o} {n}")]
        params = wait(self.sr.vdi_attach(vdi, True)).params
        where = f"nbd+unix:///{vdi}?socket={params.split(':')[2]}"
        done = subprocess.run(
            ["qemu-io", "-f", "raw", *reads, where], capture_output=True, text=True
        )
        assert done.returncode == 0 and "failed" not in done.stdout, done.stdout + done.stderr

    def volumes(self) -> dict[str, tuple[int, bool]]:
        """Sizes in MiB, and whether they are active, as LVM says."""
        # A LUN that was used as a multipath device before is one no longer.
        seen = "devices { multipath_component_detection=0 }"
        command = ["lvs", "--config", seen, "--reportformat", "json", "--units", "m", "--nosuffix"]
        command += ["-o", "lv_name,lv_size,lv_attr", self.group]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        (report,) = json.loads(text)["report"]
        return {
            r["lv_name"]: (round(float(r["lv_size"])), r["lv_attr"][4] == "a") for r in report["lv"]
        }

    def active(self) -> set[str]:
        return {name for name, (_, active) in self.volumes().items() if active}


def stop(host: RealHost) -> None:
    """Take the SR away with all it holds."""
    for vdi in host.vdis():
        wait(host.sr.vdi_deactivate(vdi))
    for vdi in [v for v, record in host.vdis().items() if record.managed]:
        wait(host.sr.vdi_destroy(vdi))
    wait(host.sr.destroy())
    wait(host.sr.detach())
    assert host.group not in sh("vgs", "-o", "vg_name")


def activate(host: RealHost, vdi: str) -> None:
    wait(host.sr.vdi_attach(vdi, True))
    wait(host.sr.vdi_activate(vdi, True))


def journey(host: RealHost) -> str:
    """The life of a disk on a new SR, with its data looked at all the way; gives the disk."""
    host.start()
    vdi = host.make(64 * MIB).uuid
    host.write(vdi, 0, MIB, 1)
    snapshot = wait(host.sr.vdi_snapshot(vdi, VdiSpec())).uuid
    assert host.active() == {"MGT"}
    activate(host, vdi)
    host.write_live(vdi, MIB, MIB, 2)
    second = wait(host.sr.vdi_snapshot(vdi, VdiSpec())).uuid
    host.write_live(vdi, 0, MIB, 3)
    host.holds(snapshot, (0, MIB, 1), (MIB, MIB, 0))
    host.holds(second, (0, MIB, 1), (MIB, MIB, 2))
    wait(host.sr.vdi_destroy(second))
    wait(host.sr.collect_garbage())
    host.live_holds(vdi, (0, MIB, 3), (MIB, MIB, 2))
    clone = wait(host.sr.vdi_clone(snapshot, VdiSpec())).uuid
    wait(host.sr.vdi_deactivate(vdi))
    wait(host.sr.vdi_resize(vdi, 128 * MIB))
    host.write(vdi, 127 * MIB, MIB, 4)
    wait(host.sr.vdi_destroy(snapshot))
    wait(host.sr.collect_garbage())
    host.holds(clone, (0, MIB, 1), (MIB, MIB, 0))
    wait(host.sr.vdi_destroy(clone))
    wait(host.sr.collect_garbage())
    pieces = (0, MIB, 3), (MIB, MIB, 2), (2 * MIB, 4 * MIB, 0), (127 * MIB, MIB, 4)
    host.holds(vdi, *pieces)
    assert len(host.vdis()) == 1 and len(host.volumes()) == 2
    wait(host.sr.detach())
    host.attach()
    host.holds(vdi, *pieces)
    return vdi


def short_journey(host: RealHost) -> str:
    """A new SR with a disk, a snapshot of it while it is written to, merged again, and all kept."""
    host.start()
    vdi = host.make(16 * MIB).uuid
    activate(host, vdi)
    host.write_live(vdi, 0, MIB, 1)
    snapshot = wait(host.sr.vdi_snapshot(vdi, VdiSpec())).uuid
    host.write_live(vdi, 0, MIB, 3)
    host.holds(snapshot, (0, MIB, 1), (MIB, MIB, 0))
    wait(host.sr.vdi_destroy(snapshot))
    wait(host.sr.vdi_deactivate(vdi))
    wait(host.sr.collect_garbage())
    wait(host.sr.detach())
    host.attach()
    activate(host, vdi)
    host.live_holds(vdi, (0, MIB, 3), (MIB, 15 * MIB, 0))
    assert len(host.vdis()) == 1 and len(host.volumes()) == 2
    return vdi


def test_local(tmp_path: Path) -> None:
    host = RealHost(tmp_path)
    journey(host)
    assert host.sr_uuid in wait(host.driver.probe(host.config, {}))
    again = host.driver.create(new_uuid(), host.config, {}, "", "", 0)
    assert code(again) == "SR_DEVICE_IN_USE"
    wait(host.sr.detach())
    assert host.active() == set()
    host.attach()
    stop(host)


def test_full_thick_group_says_44(tmp_path: Path) -> None:
    host = RealHost(tmp_path)
    host.start()
    assert code(host.sr.vdi_create(VdiSpec(virtual_size=20000 * MIB))) == "SR_BACKEND_FAILURE_44"
    vdi = host.make(256 * MIB).uuid
    activate(host, vdi)
    host.write_live(vdi, 0, 256 * MIB, 5)
    host.make(7700 * MIB)
    assert code(host.sr.vdi_snapshot(vdi, VdiSpec())) == "SR_BACKEND_FAILURE_44"
    host.live_holds(vdi, (0, 256 * MIB, 5))
    stop(host)


def texts(document: str, path: str) -> list[str]:
    return [e.text or "" for e in etree.fromstring(document.encode()).findall(path)]


def failing(host: RealHost, method: str = "create", **change: str) -> tuple[str, str]:
    """Error number and document of a call that must fail."""
    config = {**host.config, **change}
    with pytest.raises(RpcError) as problem:
        if method == "probe":
            wait(host.driver.probe(config, {}))
        else:
            wait(host.driver.create(new_uuid(), config, {}, "", "", 0))
    code, *_, document = problem.value.params
    return str(code).rpartition("_")[2], str(document)


def test_iscsi_with_chap_and_two_paths(tmp_path: Path) -> None:
    host = RealHost(tmp_path, "lvmoiscsi", target=PORTALS, localIQN=ME)
    with target():
        assert failing(host)[0] == "96"
        assert failing(host, targetIQN=IQN)[0] == "68"
        assert failing(host, targetIQN=IQN, chapuser=USER, chappassword="wrong")[0] == "68"
        host.config |= {"targetIQN": IQN, "chapuser": USER, "chappassword": PASSWORD}
        host.config |= {
            "incoming_chapuser": TARGET_USER,
            "incoming_chappassword": TARGET_PASSWORD,
        }
        number, document = failing(host)
        assert number == "107"
        host.config |= {"SCSIid": texts(document, "LUN/SCSIid")[0], "multipathing": "true"}
        daemon = subprocess.Popen(["multipathd", "-d"], stderr=subprocess.DEVNULL)
        try:
            vdi = short_journey(host)
            device = f"/dev/mapper/{host.config['SCSIid']}"
            assert device in sh("pvs", "-o", "pv_name")
            assert sh("multipath", "-ll").count("active ready running") == 2
            with path_cut():
                host.write_live(vdi, 4 * MIB, 8 * MIB, 7)
                host.live_holds(vdi, (0, MIB, 3), (4 * MIB, 8 * MIB, 7))
                wait(host.sr.vdi_snapshot(vdi, VdiSpec()))
            host.live_holds(vdi, (0, MIB, 3), (4 * MIB, 8 * MIB, 7))
            stop(host)
        finally:
            daemon.terminate()
            daemon.wait()
        assert "No active sessions" in sh("iscsiadm", "-m", "session", check=False) or not sh(
            "iscsiadm", "-m", "session", check=False
        )


def test_adapter(tmp_path: Path) -> None:
    host = RealHost(tmp_path, "lvmohba", SCSIid="")
    with adapter():
        number, document = failing(host, "probe")
        assert number == "107" and texts(document, "BlockDevice/hba") == ["scsi_debug"]
        assert texts(document, "BlockDevice/size") == [str(512 * MIB)]
        host.config = {"SCSIid": texts(document, "BlockDevice/SCSIid")[0]}
        short_journey(host)
        assert texts(failing(host, "probe", SCSIid="")[1], "BlockDevice/path") == []
        stop(host)


def test_fcoe(tmp_path: Path) -> None:
    host = RealHost(tmp_path, "lvmofcoe", SCSIid="")
    with fcoe():
        until(lambda: "BlockDevice" in failing(host, "probe")[1], 90.0)
        _, document = failing(host, "probe")
        assert texts(document, "BlockDevice/eth") == ["eth1"]
        assert "eth1" in document and len(texts(document, "Adapter/fc_host/port_name")) == 2
        host.config = {"SCSIid": texts(document, "BlockDevice/SCSIid")[0]}
        short_journey(host)
        stop(host)

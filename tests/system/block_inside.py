"""Volume SRs on a real kernel; ``test_lab_storage_block.py`` runs this inside the lab.

Drivers run in the test's process, as in the unit tests, on real LVM and real disks.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sm.contract import VdiSpec
from sm.files.mounts import System
from sm.volumes.lvm import PREFIX
from tests.unit.sm.files.file_host import MIB, FileHost, code, run, wait

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

    def show(self, vdi: str) -> str:
        """A file with the disk's content."""
        return str(wait(self.sr.vdi_path(vdi, True)))

    def write(self, vdi: str, offset: int, length: int, pattern: int) -> None:
        run("qemu-io", "-f", "raw", "-c", f"write -P {pattern} {offset} {length}", self.show(vdi))
        wait(self.sr.vdi_note_written(vdi, [], False))

    def holds(self, vdi: str, *pieces: tuple[int, int, int]) -> None:
        """Check pieces (offset, length, pattern) of a disk."""
        reads = [w for o, n, p in pieces for w in ("-c", f"read -P {p} {o} {n}")]
        done = subprocess.run(
            ["qemu-io", "-r", "-f", "raw", *reads, self.show(vdi)], capture_output=True, text=True
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
        command = ["lvs", "--reportformat", "json", "--units", "m", "--nosuffix"]
        command += ["-o", "lv_name,lv_size,lv_attr", self.group]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        (report,) = json.loads(text)["report"]
        return {
            r["lv_name"]: (round(float(r["lv_size"])), r["lv_attr"][4] == "a") for r in report["lv"]
        }

    def active(self) -> set[str]:
        return {name for name, (_, active) in self.volumes().items() if active}


@pytest.fixture(params=["lvm"])
def host(tmp_path: Path) -> Iterator[RealHost]:
    host = RealHost(tmp_path)
    host.start()
    yield host
    for vdi in host.vdis():
        wait(host.sr.vdi_deactivate(vdi))
    wait(host.sr.detach())
    subprocess.run(["vgremove", "-ff", "-y", host.group], check=True, capture_output=True)
    subprocess.run(["pvremove", "-y", DISK], check=True, capture_output=True)


def test_tree_keeps_its_data_through_everything(host: RealHost) -> None:
    vdi = host.make(64 * MIB).uuid
    host.write(vdi, 0, MIB, 1)
    snapshot = wait(host.sr.vdi_snapshot(vdi, VdiSpec())).uuid
    assert host.active() == {"MGT"}
    wait(host.sr.vdi_attach(vdi, True))
    wait(host.sr.vdi_activate(vdi, True))
    host.write_live(vdi, MIB, MIB, 2)
    second = wait(host.sr.vdi_snapshot(vdi, VdiSpec())).uuid
    host.write_live(vdi, 0, MIB, 3)
    host.holds(snapshot, (0, MIB, 1), (MIB, MIB, 0))
    host.holds(second, (0, MIB, 1), (MIB, MIB, 2))
    host.live_holds(vdi, (0, MIB, 3), (MIB, MIB, 2))
    wait(host.sr.vdi_destroy(second))
    wait(host.sr.collect_garbage())
    host.live_holds(vdi, (0, MIB, 3), (MIB, MIB, 2))
    clone = wait(host.sr.vdi_clone(snapshot, VdiSpec())).uuid
    wait(host.sr.vdi_deactivate(vdi))
    wait(host.sr.vdi_resize(vdi, 128 * MIB))
    host.write(vdi, 127 * MIB, MIB, 4)
    wait(host.sr.vdi_destroy(snapshot))
    wait(host.sr.collect_garbage())
    host.holds(vdi, (0, MIB, 3), (MIB, MIB, 2), (2 * MIB, 100 * MIB, 0), (127 * MIB, MIB, 4))
    host.holds(clone, (0, MIB, 1), (MIB, MIB, 0))
    wait(host.sr.vdi_destroy(clone))
    wait(host.sr.collect_garbage())
    host.holds(vdi, (0, MIB, 3), (MIB, MIB, 2), (127 * MIB, MIB, 4))
    assert len(host.vdis()) == 1 and len(host.volumes()) == 2
    wait(host.sr.detach())
    assert host.active() == set()
    host.attach()
    host.holds(vdi, (0, MIB, 3), (MIB, MIB, 2), (127 * MIB, MIB, 4))


def test_full_thick_group_says_44(host: RealHost) -> None:
    assert code(host.sr.vdi_create(VdiSpec(virtual_size=20000 * MIB))) == "SR_BACKEND_FAILURE_44"
    host.make(7000 * MIB)
    vdi = host.make(256 * MIB).uuid
    wait(host.sr.vdi_attach(vdi, True))
    wait(host.sr.vdi_activate(vdi, True))
    host.write_live(vdi, 0, 256 * MIB, 5)
    host.make(400 * MIB)
    assert code(host.sr.vdi_snapshot(vdi, VdiSpec())) == "SR_BACKEND_FAILURE_44"
    host.live_holds(vdi, (0, 256 * MIB, 5))

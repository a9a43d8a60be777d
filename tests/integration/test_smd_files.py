"""The storage daemon with real file SRs: processes, kills, hangs, copies."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sm.files.record_log import RecordLog
from tests.integration.daemon_process import ConnectionGone, DaemonProcess
from xapi_py.base.rpc.errors import RpcError

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        shutil.which("qemu-storage-daemon") is None,
        reason="qemu-storage-daemon is missing (Debian: qemu-system-common, qemu-utils)",
    ),
]
needs_fuse = pytest.mark.skipif(
    not os.access("/dev/fuse", os.W_OK), reason="/dev/fuse cannot be used here"
)
MIB = 1024**2


def backends_of(folder: Path) -> list[int]:
    """Processes of disk backends below a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().split(b"\0")
            if b"storage-daemon" in words[0] and str(folder).encode() in b" ".join(words):
                found.append(int(entry.parent.name))
    return found


@pytest.fixture
def smd(tmp_path: Path) -> Iterator[DaemonProcess]:
    settings = {"profile": "newest", "gc_delay_s": 60.0, "real": ["file", "iso"]}
    daemon = DaemonProcess("sm", tmp_path, {"sm": {**settings, "driver_timeout_s": 4.0}})
    yield daemon
    if daemon.process.poll() is None:
        daemon.stop()
    for number in backends_of(tmp_path / "sm-1"):
        os.kill(number, signal.SIGKILL)
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[1].startswith(str(tmp_path)):
            subprocess.run(["umount", "-l", line.split()[1]], check=True)


@pytest.fixture
def sr(smd: DaemonProcess, tmp_path: Path) -> str:
    (tmp_path / "disks").mkdir()
    return make_sr(smd, tmp_path / "disks")


def make_sr(smd: DaemonProcess, folder: Path) -> str:
    sr, config = str(uuid.uuid4()), {"location": str(folder)}
    smd.call("SR.create", sr=sr, type="file", device_config=config)
    smd.call("SR.attach", sr=sr, type="file", device_config=config)
    return sr


def make(smd: DaemonProcess, sr: str, size: int = 64 * MIB, **info: object) -> str:
    record = smd.call("VDI.create", sr=sr, vdi_info={"virtual_size": size, **info})
    return str(record["uuid"])


def image_of(folder: Path, sr: str, smd: DaemonProcess, vdi: str) -> Path:
    """The image of a disk, as the metadata say."""
    log = RecordLog(folder / sr / "metadata")
    node = log.records[f"vdi/{vdi}"]["node"]
    log.close()
    return folder / sr / "nodes" / f"{node}.qcow2"


def content(smd: DaemonProcess, folder: Path, sr: str, vdi: str, size: int) -> bytes:
    """What a disk holds, read by qemu-img from its chain."""
    target = folder / "content.raw"
    image = image_of(folder, sr, smd, vdi)
    command = ["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", str(image), str(target)]
    subprocess.run(command, check=True)
    data = target.read_bytes()
    target.unlink()
    assert len(data) >= size
    return data


@needs_fuse
def test_copy_within_and_across_srs_and_kinds(smd: DaemonProcess, sr: str, tmp_path: Path) -> None:
    vdi = make(smd, sr)
    path = smd.call("VDI.path", sr=sr, vdi=vdi, read_write=True)
    pattern = random.Random(1).randbytes(3 * MIB)
    with open(path, "r+b") as file:
        file.seek(5 * MIB)
        file.write(pattern)
    written = smd.call("VDI.note_written", sr=sr, vdi=vdi, extents=[[5 * MIB, 3 * MIB]])
    assert written["physical_utilisation"] >= 3 * MIB
    (tmp_path / "more").mkdir()
    others = [sr, make_sr(smd, tmp_path / "more")]
    for other, folder in zip(others, (tmp_path / "disks", tmp_path / "more"), strict=True):
        copy = smd.call("VDI.copy", sr=sr, vdi=vdi, dest_sr=other)["uuid"]
        found = content(smd, folder, other, copy, 64 * MIB)
        assert found[5 * MIB : 8 * MIB] == pattern and not found[: 5 * MIB].strip(b"\0")
    nfs, config = str(uuid.uuid4()), {"server": "192.0.2.20", "serverpath": "/export/vms"}
    smd.call("SR.create", sr=nfs, type="nfs", device_config=config)
    smd.call("SR.attach", sr=nfs, type="nfs", device_config=config)
    simulated = smd.call("VDI.copy", sr=sr, vdi=vdi, dest_sr=nfs)["uuid"]
    back = smd.call("VDI.copy", sr=nfs, vdi=simulated, dest_sr=sr)["uuid"]
    assert content(smd, tmp_path / "disks", sr, back, 64 * MIB)[5 * MIB : 8 * MIB] == pattern


def test_backend_survives_a_kill_of_the_daemon(smd: DaemonProcess, sr: str, tmp_path: Path) -> None:
    vdi = make(smd, sr)
    key = {"sr": sr, "vdi": vdi, "dp": "vbd/1/xvda"}
    answer = smd.call("VDI.attach2", **key, vm="1", read_write=True)
    smd.call("VDI.activate3", **key)
    params = dict(answer["implementations"])["XenDisk"]["params"]
    socket_path = params.split(":")[2]
    (backend,) = backends_of(tmp_path / "sm-1")
    smd.kill()
    smd.start()
    assert backends_of(tmp_path / "sm-1") == [backend]
    snapshot = smd.call("VDI.snapshot", sr=sr, vdi=vdi, vdi_info={})["uuid"]
    write = ["-c", "write -P 7 0 64k", "-c", "flush", f"nbd+unix:///{vdi}?socket={socket_path}"]
    subprocess.run(["qemu-io", "-f", "raw", *write], check=True, capture_output=True)
    smd.call("VDI.deactivate", **key)
    smd.call("VDI.detach", **key)
    assert backends_of(tmp_path / "sm-1") == []
    assert content(smd, tmp_path / "disks", sr, vdi, 64 * MIB)[:65536] == b"\7" * 65536
    assert not content(smd, tmp_path / "disks", sr, snapshot, 64 * MIB).strip(b"\0")


def test_killed_driver_costs_one_call(smd: DaemonProcess, sr: str) -> None:
    vdi = make(smd, sr)
    smd.answer("DEBUG.inject_fault", method="VDI.snapshot", kind="crash_before_commit")
    with pytest.raises(RpcError) as problem:
        smd.call("VDI.snapshot", sr=sr, vdi=vdi, vdi_info={})
    assert problem.value.params[0] == "SR_BACKEND_FAILURE_47"
    assert [v["uuid"] for v in smd.call("SR.scan", sr=sr)["vdis"]] == [vdi]
    smd.call("VDI.snapshot", sr=sr, vdi=vdi, vdi_info={})


def test_driver_that_hangs_blocks_no_other_sr(smd: DaemonProcess, sr: str, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (stuck,) = workers_of(smd.process.pid)
    other = make_sr(smd, tmp_path / "more")
    vdi = make(smd, sr)
    os.kill(stuck, signal.SIGSTOP)
    waiting = smd.connect()
    smd.send(waiting, "SR.scan", sr=sr)
    begin = time.monotonic()
    make(smd, other)
    assert time.monotonic() - begin < 2
    assert b"SR_BACKEND_FAILURE_47" in waiting.recv(4096)
    waiting.close()
    assert [v["uuid"] for v in smd.call("SR.scan", sr=sr)["vdis"]] == [vdi]
    assert stuck not in workers_of(smd.process.pid)


def workers_of(pid: int) -> list[int]:
    """The processes that serve a daemon's SRs."""
    (spawner,) = children_of(pid)
    return children_of(spawner)


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return sorted(int(word) for word in text.split())


def test_answered_operations_survive_kills_under_load(
    smd: DaemonProcess, sr: str, tmp_path: Path
) -> None:
    root = make(smd, sr)
    answered = {root}
    for number in range(3):
        victims = [smd.process.pid, *workers_of(smd.process.pid)]
        killer = threading.Timer(0.3 + 0.1 * number, kill_all, [victims])
        killer.start()
        try:
            for _ in range(10000):
                vdi = str(uuid.uuid4())
                smd.call("VDI.clone", sr=sr, vdi=root, vdi_info={"uuid": vdi})
                answered.add(vdi)
        except ConnectionGone:
            pass
        killer.join()
        smd.wait()
        smd.start()
        found = {v["uuid"]: v for v in smd.call("SR.scan", sr=sr)["vdis"]}
        managed = {u for u, v in found.items() if v["managed"]}
        assert answered <= managed and len(managed - answered) <= 1
        assert all(not v["parent"] or v["parent"] in found for v in found.values())
        images = {p.stem for p in (tmp_path / "disks" / sr / "nodes").iterdir()}
        assert len(images) == len(found)
        answered = managed


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

"""Cost of file SRs next to qemu-img: ``python -m tests.bench.bench_sm_files``."""

import os
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.integration.daemon_process import DaemonProcess

GIB = 1024**3
MIB = 1024**2
DISKS = 1000
ROUNDS = 40


def milliseconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000


def median(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    return statistics.median(milliseconds(work) for _ in range(rounds))


def qemu_create(folder: Path, *backing: str) -> None:
    target = folder / f"{uuid.uuid4()}.qcow2"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(target)]
    subprocess.run([*command, *([] if backing else ["40G"])], check=True)


def bench(folder: Path) -> None:
    disks = folder / "disks"
    disks.mkdir()
    smd = DaemonProcess("sm", folder, {"sm": {"profile": "newest", "real": ["file"]}})
    try:
        sr, config = str(uuid.uuid4()), {"location": str(disks)}
        smd.call("SR.create", sr=sr, type="file", device_config=config)
        smd.call("SR.attach", sr=sr, type="file", device_config=config)

        def create() -> str:
            info = {"virtual_size": 40 * GIB}
            return str(smd.call("VDI.create", sr=sr, vdi_info=info)["uuid"])

        root = create()
        plain = folder / "plain.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(plain), "40G"], check=True)
        reference = median(lambda: qemu_create(folder))
        overlay = median(lambda: qemu_create(folder, "-b", str(plain), "-F", "qcow2"))
        print(f"qemu-img create {reference:.1f} ms, with backing file {overlay:.1f} ms")
        print(f"VDI.create {median(create):.1f} ms")
        for call in ("VDI.clone", "VDI.snapshot"):
            cost = median(lambda call=call: smd.call(call, sr=sr, vdi=root, vdi_info={}))  # type: ignore[misc]
            print(f"{call} {cost:.1f} ms")
        while len(list((disks / sr / "nodes").iterdir())) < DISKS:
            create()
        scan = median(lambda: smd.call("SR.scan", sr=sr), 5)
        smd.kill()
        smd.start()
        cold = milliseconds(lambda: smd.call("SR.scan", sr=sr))
        print(f"SR.scan of {DISKS} disks {scan:.0f} ms, first after a restart {cold:.0f} ms")
        copy(smd, sr, disks, folder)
    finally:
        smd.stop()


def copy(smd: DaemonProcess, sr: str, disks: Path, folder: Path) -> None:
    """Copy 1 GiB of data."""
    vdi = smd.call("VDI.create", sr=sr, vdi_info={"virtual_size": 4 * GIB})["uuid"]
    with open(smd.call("VDI.path", sr=sr, vdi=vdi, read_write=True), "r+b") as file:
        for _ in range(64):
            file.write(os.urandom(16 * MIB))
    smd.call("VDI.note_written", sr=sr, vdi=vdi, extents=[[0, GIB]])
    source = max((disks / sr / "nodes").iterdir(), key=lambda p: p.stat().st_blocks)
    target = folder / "copy.qcow2"

    def convert() -> None:
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(source), str(target)], check=True)
        with open(target, "rb+") as file:
            os.fsync(file.fileno())
        target.unlink()

    def ours() -> None:
        made = smd.call("VDI.copy", sr=sr, vdi=vdi, dest_sr=sr)["uuid"]
        smd.call("VDI.destroy", sr=sr, vdi=made)

    convert()
    theirs, mine = (median(work, 3) for work in (convert, ours))
    print(f"1 GiB: qemu-img convert {theirs:.0f} ms, VDI.copy {mine:.0f} ms: {theirs / mine:.2f}x")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        bench(Path(made))

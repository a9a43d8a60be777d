"""Disks over HTTP next to qemu-img: ``python -m tests.bench.bench_disk_images [MIB [ROUNDS]]``.

Each round runs ``qemu-img convert`` and every transfer in turn, so that other work on the machine
hits both.  Processor time is that of the server alone.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.integration.disk_client import MIB, DiskClient, end_backends
from tests.integration.running_pool import running


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def cpu(process: int) -> float:
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def bench(folder: Path, size: int, rounds: int) -> None:
    settings, image = folder / "pool.yaml", folder / "image.raw"
    settings.write_text("sm: {real: [file], gc_delay_s: 600}\n")
    with image.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    found: dict[str, list[float]] = {}
    with running("--profile", "newest", "--simulator", str(settings)) as pool:
        pool.start()
        with pool.host().session() as session:
            client = DiskClient(pool, session, folder)
            sr = client.file_sr("bench")
            vdi = client.vdi(sr, size)
            for _ in range(rounds):
                measure(client, vdi, image, found)
            end_backends(pool.state)
    reference = statistics.median(found["qemu-img convert to raw"])
    for name, values in found.items():
        middle = statistics.median(values)
        if name.endswith("processor time"):
            print(f"{name:40} {middle * 1024 * MIB / size:6.2f} s for each GiB")
        else:
            ratio = reference / middle
            print(f"{name:40} {size / MIB / middle:6.0f} MiB/s  {ratio:5.2f} of qemu-img")


def measure(client: DiskClient, vdi: str, image: Path, found: dict[str, list[float]]) -> None:
    process, target = client.pool.daemon("xapi"), client.folder / "target"

    def note(name: str, work: Callable[[], object]) -> None:
        target.unlink(missing_ok=True)
        before = cpu(process)
        found.setdefault(name, []).append(seconds(work))
        used = cpu(process) - before
        if not name.startswith("qemu-img"):
            found.setdefault(f"{name}, processor time", []).append(used)

    note("import raw", lambda: client.fill(vdi, image))
    convert = ["qemu-img", "convert", "-U", "-O", "raw"]
    nodes = client.folder.glob("bench/*/nodes/*.qcow2")
    newest = str(max(nodes, key=lambda path: path.stat().st_size))
    command = [*convert, "-f", "qcow2", newest, str(target)]
    note("qemu-img convert to raw", lambda: subprocess.run(command, check=True))
    for form in ("raw", "vhd", "qcow2", "tar"):
        query = {"vdi": vdi, "format": form}
        note(f"export {form}", partial(client.get, "/export_raw_vdi", target, **query))
    other = client.file_sr("other")
    note("VDI.copy", lambda: client.api.VDI.destroy(client.api.VDI.copy(vdi, other)))


if __name__ == "__main__":
    wanted = [int(word) for word in sys.argv[1:]]
    with tempfile.TemporaryDirectory(prefix="bd-") as name:
        bench(Path(name), (wanted[0] if wanted else 1024) * MIB, wanted[1] if wanted[1:] else 3)

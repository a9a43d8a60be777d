"""Disks over HTTP next to qemu-img: ``python -m tests.bench.bench_disk_images [MIB [ROUNDS]]``.

Right before each transfer ``qemu-img convert`` does the same work on the same files, so that
other work on the machine hits both; ratios are those of neighbours.  Processor time is the
server's alone.
"""

import fcntl
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
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
    rows = Rows(size)
    with running("--profile", "newest", "--simulator", str(settings)) as pool:
        pool.start()
        with pool.host().session() as session:
            client = DiskClient(pool, session, folder)
            vdi = client.vdi(client.file_sr("bench"), size)
            for _ in range(rounds):
                measure(client, vdi, image, rows)
            end_backends(pool.state)
    rows.show()


def download(client: DiskClient, target: Path, query: Mapping[str, str]) -> None:
    """Have a disk exported to a file, with as little work for the client as there can be."""
    address = (client.endpoint.address, client.endpoint.http)
    with socket.create_connection(address) as connection, target.open("wb") as file:
        path = client.path("/export_raw_vdi", **query)
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, start = connection.recv(65536).partition(b"\r\n\r\n")
        assert b" 200 " in head.partition(b"\r\n")[0], head
        file.write(start)
        file.flush()
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, MIB)
        while count := os.splice(connection.fileno(), writing, MIB):
            while count:
                count -= os.splice(reading, file.fileno(), count)
        os.close(reading)
        os.close(writing)


class Rows:
    """Seconds of a reference, of ours right after it, and of the server's processor."""

    def __init__(self, size: int) -> None:
        self._gib = size / 1024 / MIB
        self._found: dict[str, list[tuple[float, float, float]]] = {}

    def note(self, name: str, reference: float, ours: float, processor: float) -> None:
        self._found.setdefault(name, []).append((reference, ours, processor))

    def show(self) -> None:
        for name, rounds in self._found.items():
            ratio = statistics.median(reference / ours for reference, ours, _ in rounds)
            theirs, mine, used = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(
                f"{name:34} {1024 * self._gib / mine:6.0f} MiB/s, qemu-img"
                f" {1024 * self._gib / theirs:6.0f}, ratio {ratio:5.2f},"
                f" processor {used / self._gib:5.2f} s for each GiB"
            )


def measure(client: DiskClient, vdi: str, image: Path, rows: Rows) -> None:
    """One round; each of our transfers comes right after the ``qemu-img`` it is compared with."""
    process, target = client.pool.daemon("xapi"), client.folder / "target"

    def convert(source: Path, form: str, to: str, *, durable: bool = False) -> float:
        command = ["qemu-img", "convert", "-U", "-f", form, "-O", to, str(source), str(target)]

        def work() -> None:
            subprocess.run(command, check=True)
            if durable:
                with target.open("rb+") as file:
                    os.fsync(file.fileno())

        taken = seconds(work)
        target.unlink()
        return taken

    def note(name: str, reference: float, work: Callable[[], object]) -> None:
        before = cpu(process)
        ours = seconds(work)
        rows.note(name, reference, ours, cpu(process) - before)
        target.unlink(missing_ok=True)

    theirs = convert(image, "raw", "qcow2", durable=True)
    note("import raw (to qcow2, durable)", theirs, lambda: client.fill(vdi, image))
    nodes = client.folder.glob("bench/*/nodes/*.qcow2")
    newest = max(nodes, key=lambda path: path.stat().st_size)
    for form in ("raw", "vhd", "qcow2", "tar"):
        query = {"vdi": vdi, "format": form}
        work = partial(download, client, target, query)
        note(f"export {form} (to raw)", convert(newest, "qcow2", "raw"), work)
    other, copies = client.file_sr("other"), list[str]()
    theirs = convert(newest, "qcow2", "qcow2", durable=True)
    note(
        "VDI.copy (to qcow2, durable)",
        theirs,
        lambda: copies.append(client.api.VDI.copy(vdi, other)),
    )
    client.api.VDI.destroy(copies[0])


if __name__ == "__main__":
    wanted = [int(word) for word in sys.argv[1:]]
    with tempfile.TemporaryDirectory(prefix="bd-") as name:
        bench(Path(name), (wanted[0] if wanted else 1024) * MIB, wanted[1] if wanted[1:] else 3)

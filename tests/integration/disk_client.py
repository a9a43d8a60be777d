"""A pool with real and simulated disks, and what its disks hold, by the tools of QEMU."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import XenAPI

from tests.integration.running_pool import Endpoint, RunningPool, eventually, running

MIB = 1 << 20
UNKNOWN = str(1 << 50)
needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-storage-daemon") is None,
    reason="qemu-storage-daemon is missing (Debian: qemu-system-common, qemu-utils)",
)


def end_backends(folder: Path) -> None:
    """End the disk backends that a test's storage daemon left running."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes()
            if b"storage-daemon" in words and str(folder).encode() in words:
                os.kill(int(entry.parent.name), signal.SIGKILL)


@contextlib.contextmanager
def pool_with_files(gc_delay_s: int = 60) -> Iterator[RunningPool]:
    """Run a pool whose file SRs hold real images."""
    with tempfile.TemporaryDirectory(prefix="df-") as folder:
        settings = Path(folder, "pool.yaml")
        settings.write_text(f"sm: {{real: [file], gc_delay_s: {gc_delay_s}}}\n")
        with running("--profile", "newest", "--simulator", str(settings)) as found:
            yield found.start()
            end_backends(found.state)


class DiskClient:
    """A session, the raw HTTP of one pool, and an SR on real files in ``folder``."""

    def __init__(self, pool: RunningPool, session: XenAPI.Session, folder: Path) -> None:
        self.pool, self.endpoint = pool, pool.host()
        self.session, self.api, self.folder = session, session.xenapi, folder

    # -- objects

    def file_sr(self, name: str) -> str:
        """Make an SR on files, or find the one of that name."""
        found = self.api.SR.get_by_name_label(name)
        if found:
            return str(found[0])
        location = self.folder / name
        location.mkdir()
        (host,) = self.api.host.get_all()
        return str(
            self.api.SR.create(
                *(host, {"location": str(location)}, "0", name, "", "file", "user", False, {})
            )
        )

    def simulated_sr(self) -> str:
        (pool,) = self.api.pool.get_all()
        return str(self.api.pool.get_default_SR(pool))

    def vdi(self, sr: str, size: int, **fields: Any) -> str:
        record = {
            **{"name_label": "data", "name_description": "", "SR": sr, "virtual_size": str(size)},
            **{"type": "user", "sharable": False, "read_only": False, "other_config": {}},
            "sm_config": {},
        }
        return str(self.api.VDI.create(record | fields))

    # -- transfers

    def path(self, path: str, **query: str) -> str:
        whole = {"session_id": self.session.handle, **query}
        return f"{path}?{urllib.parse.urlencode(whole)}"

    def get(self, path: str, target: Path | None = None, **query: str) -> Mapping[str, str]:
        """Download to a file; gives the headers of the answer."""
        connection = http.client.HTTPConnection(self.endpoint.address, self.endpoint.http)
        connection.request("GET", self.path(path, **query))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        with open(target or os.devnull, "wb") as file:
            while data := answer.read(MIB):
                if data.strip(b"\0") or len(data) != MIB:
                    file.write(data)
                else:
                    file.seek(len(data), os.SEEK_CUR)
            if target is not None:
                file.truncate()
        connection.close()
        return dict(answer.headers)

    def refusal(self, path: str, **query: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.endpoint.address, self.endpoint.http)
        connection.request("GET", self.path(path, **query))
        answer = connection.getresponse()
        return answer.status, answer.read()

    def begin_put(self, path: str, length: str | None, **query: str) -> tuple[socket.socket, bytes]:
        """Send the head of an upload and give the answer's head."""
        address = (self.endpoint.address, self.endpoint.http)
        connection = socket.create_connection(address, timeout=60)
        head = f"PUT {self.path(path, **query)} HTTP/1.0\r\nHost: x\r\n"
        head += "" if length is None else f"Content-Length: {length}\r\n"
        connection.sendall(head.encode() + b"\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer and (more := connection.recv(4096)):
            answer += more
        return connection, answer

    def put(self, path: str, source: Path | bytes, length: str | None = "", **query: str) -> str:
        """Upload a file under a task of our own and give the task when it has ended."""
        task = str(self.api.task.create("upload", ""))
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        length = str(size) if length == "" else length
        connection, answer = self.begin_put(path, length, task_id=task, **query)
        if b" 200 " in answer.partition(b"\r\n")[0]:
            with contextlib.suppress(OSError):
                if isinstance(source, bytes):
                    connection.sendall(source)
                else:
                    with source.open("rb") as file:
                        connection.sendfile(file)
                if length == UNKNOWN:
                    connection.recv(1)  # such clients wait for the server's end
        connection.close()
        self.wait(task)
        return task

    def wait(self, task: str) -> None:
        running = ("pending", "cancelling")
        eventually(lambda: self.api.task.get_status(task) not in running, "the task ends", 120)

    def ok(self, task: str) -> str:
        assert self.api.task.get_status(task) == "success", self.api.task.get_error_info(task)
        assert self.api.task.get_progress(task) == 1.0
        return str(self.api.task.get_result(task))

    def error(self, task: str) -> list[str]:
        assert self.api.task.get_status(task) in ("failure", "cancelled")
        return list(self.api.task.get_error_info(task))

    def fill(self, vdi: str, image: Path) -> None:
        """Write a raw image over a disk."""
        self.ok(self.put("/import_raw_vdi", image, vdi=vdi))

    def new_disk(self, sr: str, image: Path) -> str:
        vdi = self.vdi(sr, image.stat().st_size)
        self.fill(vdi, image)
        return vdi

    def holds(self, vdi: str, image: Path) -> bool:
        """Whether a disk's raw export equals a raw image."""
        target = self.folder / "content"
        self.get("/export_raw_vdi", target, vdi=vdi)
        same = same_content(target, "raw", image)
        target.unlink()
        return same


def same_content(image: Path, form: str, raw: Path) -> bool:
    """Whether an image holds what a raw one does."""
    command = ["qemu-img", "compare", "-q", "-f", form, "-F", "raw", str(image), str(raw)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode < 2, done.stderr
    return done.returncode == 0


def make_image(path: Path, size: int, pieces: Mapping[int, bytes]) -> Path:
    """Make a sparse raw image."""
    with path.open("wb") as file:
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
        file.truncate(size)
    return path


def clients(pool: RunningPool, endpoint: Endpoint, folder: Path) -> Iterator[DiskClient]:
    with endpoint.session() as session:
        yield DiskClient(pool, session, folder)

"""Copies of large disks: how far they are, and what cancelled and killed ones leave."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.disk_client import MIB, DiskClient, needs_qemu, pool_with_files
from tests.integration.running_pool import RunningPool, eventually

pytestmark = [pytest.mark.integration, needs_qemu]
SIZE = 768 * MIB
RUNNING = ("pending", "cancelling")


@pytest.fixture(scope="module")
def pool() -> Iterator[RunningPool]:
    with pool_with_files() as found:
        yield found


@pytest.fixture
def client(pool: RunningPool, tmp_path: Path) -> Iterator[DiskClient]:
    with pool.host().session() as session:
        yield DiskClient(pool, session, tmp_path)


@pytest.fixture
def full(client: DiskClient) -> str:
    """A disk full of data."""
    vdi = client.vdi(client.file_sr(f"from-{client.folder.name}"), SIZE)
    (image,) = client.folder.glob("from-*/*/nodes/*.qcow2")
    command = ["qemu-io", "-f", "qcow2", "-c", f"write -P 7 0 {SIZE // 2}"]
    command += ["-c", f"write -P 8 {SIZE // 2} {SIZE // 2}", str(image)]
    subprocess.run(command, check=True, capture_output=True)
    return vdi


def images(client: DiskClient) -> list[Path]:
    return list(client.folder.glob("to-*/*/nodes/*"))


def begun(client: DiskClient, vdi: str) -> tuple[str, str]:
    """Begin a copy and wait until it is under way; gives the task and the SR."""
    other = client.file_sr(f"to-{client.folder.name}")
    task = client.api.Async.VDI.copy(vdi, other)
    eventually(lambda: images(client), "the copy begins")
    return task, other


def test_a_copy_tells_how_far_it_is(client: DiskClient, full: str) -> None:
    task, other = begun(client, full)
    seen = [0.0]
    while client.api.task.get_status(task) in RUNNING:
        seen.append(client.api.task.get_progress(task))
    assert seen == sorted(seen) and (len(set(seen)) > 1 or len(seen) < 5)
    (copy,) = client.api.SR.get_VDIs(other)
    assert client.ok(task) == f"<value>{copy}</value>"


def test_a_cancelled_copy_has_left_nothing_when_its_task_ends(
    client: DiskClient, full: str
) -> None:
    task, other = begun(client, full)
    client.api.task.cancel(task)
    client.wait(task)
    if client.api.task.get_status(task) == "cancelled":
        assert images(client) == [] and client.api.SR.get_VDIs(other) == []
    client.api.VDI.destroy(full)


def test_a_killed_daemon_leaves_no_part_of_a_copy(client: DiskClient, full: str) -> None:
    task, other = begun(client, full)
    client.pool.kill("smd")
    client.wait(task)
    if client.api.task.get_status(task) == "failure":
        client.api.SR.scan(other)
        assert client.api.SR.get_VDIs(other) == []
        eventually(lambda: images(client) == [], "the image is deleted")
    client.api.VDI.destroy(full)

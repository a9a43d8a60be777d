"""Garbage collection as tasks, who holds a disk, growing disks: on real images over the API."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import XenAPI

from tests.integration.disk_client import (
    MIB,
    DiskClient,
    clients,
    make_image,
    needs_qemu,
    pool_with_files,
)
from tests.integration.running_pool import RunningPool, eventually

pytestmark = [pytest.mark.integration, needs_qemu]
SIZE = 64 * MIB


@pytest.fixture(scope="module")
def pool() -> Iterator[RunningPool]:
    with pool_with_files(gc_delay_s=600) as found:
        yield found


@pytest.fixture
def client(pool: RunningPool, tmp_path: Path) -> Iterator[DiskClient]:
    yield from clients(pool, pool.host(), tmp_path)


def storage(client: DiskClient, function: str, **args: str) -> object:
    (host,) = client.api.host.get_all()
    return json.loads(client.api.host.call_plugin(host, "storage", function, args))


def test_collection_is_a_task_and_says_what_it_left(client: DiskClient, tmp_path: Path) -> None:
    sr = client.file_sr("garbage")
    vdi = client.new_disk(sr, make_image(tmp_path / "a", SIZE, {0: b"a" * 40 * MIB}))
    first, second = client.api.VDI.snapshot(vdi, {}), client.api.VDI.snapshot(vdi, {})
    client.api.VDI.destroy(first)
    client.api.VDI.destroy(second)
    uuid = client.api.SR.get_uuid(sr)
    report = storage(client, "collect-garbage", sr=uuid)
    assert isinstance(report, dict) and report["done"] and not report["running"]

    def tasks() -> list[str]:
        label = "Garbage Collection"
        records = client.api.task.get_all_records().values()
        return [
            t["name_description"]
            for t in records
            if t["name_label"] == label and t["status"] == "success"
        ]

    eventually(tasks, "a task tells of the collection")
    assert "merged: " in tasks()[0] and tasks()[0].startswith("garbage")
    assert client.holds(vdi, tmp_path / "a")
    assert len(client.api.SR.get_VDIs(sr)) <= 2


def test_holders_are_named(client: DiskClient, tmp_path: Path) -> None:
    vdi = client.new_disk(client.file_sr("held"), make_image(tmp_path / "a", SIZE, {0: b"a"}))
    assert storage(client, "vdi-holders", vdi=vdi) == []
    connection, _ = client.begin_put("/import_raw_vdi", str(SIZE), vdi=vdi)
    connection.sendall(b"x" * MIB)

    def whys() -> set[str]:
        found = storage(client, "vdi-holders", vdi=client.api.VDI.get_uuid(vdi))
        assert isinstance(found, list)
        return {entry["why"] for entry in found}

    eventually(lambda: whys() == {"copy", "data is being written to it"}, "the import shows")
    connection.close()
    eventually(lambda: not whys(), "the import is over")
    with pytest.raises(XenAPI.Failure, match="XENAPI_MISSING_PLUGIN"):
        storage(client, "no-such-function")


def test_real_disks_may_be_large_and_grow(client: DiskClient) -> None:
    sr = client.file_sr("growing")
    (sm,) = [r for r in client.api.SM.get_all_records().values() if r["type"] == "file"]
    assert {"LARGE_VDI", "VDI_RESIZE_ONLINE"} <= set(sm["features"])
    assert sm["supported_image_formats"] == ["qcow2", "raw"]
    vdi = client.vdi(sr, 3 << 40)
    client.api.VDI.resize_online(vdi, str(4 << 40))
    assert int(client.api.VDI.get_virtual_size(vdi)) == 4 << 40
    with contextlib.suppress(XenAPI.Failure):
        client.api.VDI.resize(vdi, str(1 << 40))
    assert int(client.api.VDI.get_virtual_size(vdi)) == 4 << 40


def test_copies_stay_sparse_and_can_be_cancelled(client: DiskClient, tmp_path: Path) -> None:
    sr, other = client.file_sr("from"), client.file_sr("to")
    image = make_image(tmp_path / "a", 1 << 28, {k << 25: bytes([k + 1]) * MIB for k in range(8)})
    vdi = client.new_disk(sr, image)
    for target in (sr, other):
        copy = client.api.VDI.copy(vdi, target)
        assert client.holds(copy, image)
        assert int(client.api.VDI.get_physical_utilisation(copy)) < 12 * MIB
    before = client.api.SR.get_VDIs(other)
    task = client.api.Async.VDI.copy(vdi, other)
    with contextlib.suppress(XenAPI.Failure):
        client.api.task.cancel(task)
    client.wait(task)
    if client.api.task.get_status(task) == "cancelled":
        assert client.api.SR.get_VDIs(other) == before
    eventually(lambda: not copying(client.folder), "nothing copies any more")


def copying(folder: Path) -> bool:
    """Whether a program still writes a copy below a folder."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes()
            if words.startswith(b"qemu-img\0convert") and str(folder).encode() in words:
                return True
    return False

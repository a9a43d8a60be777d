"""Disks as raw, VHD, qcow2 and tar files over HTTP, on real images and on simulated ones."""

import base64
import functools
import hashlib
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.disk_client import (
    MIB,
    UNKNOWN,
    DiskClient,
    clients,
    make_image,
    needs_qemu,
    pool_with_files,
    same_content,
)
from tests.integration.running_pool import RunningPool, eventually
from tests.unit.api.vm.pool import vm_record

pytestmark = [pytest.mark.integration, needs_qemu]
SIZE = 40 * MIB
RANDOM = random.Random(5)
PIECES = {
    0: b"start",
    3 * MIB + 4096: RANDOM.randbytes(2 * MIB),
    11 * MIB - 512: RANDOM.randbytes(1024),
    SIZE - 7: b"the end",
}
FORMATS = ("raw", "vhd", "qcow2", "tar")
QEMU_NAMES = {"raw": "raw", "vhd": "vpc", "qcow2": "qcow2"}


@pytest.fixture(scope="module")
def pool() -> Iterator[RunningPool]:
    with pool_with_files() as found:
        yield found


@pytest.fixture
def client(pool: RunningPool, tmp_path: Path) -> Iterator[DiskClient]:
    yield from clients(pool, pool.host(), tmp_path)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_image(tmp_path / "image.raw", SIZE, PIECES)


@pytest.fixture(params=["real", "simulated"])
def sr(request: pytest.FixtureRequest, client: DiskClient) -> str:
    if request.param == "simulated":
        return client.simulated_sr()
    return client.file_sr(f"disks {client.folder.name}")


@pytest.mark.parametrize("form", FORMATS)
def test_exports_hold_the_disk_and_imports_bring_it_back(
    client: DiskClient, sr: str, image: Path, tmp_path: Path, form: str
) -> None:
    vdi = client.new_disk(sr, image)
    target = tmp_path / f"export.{form}"
    task = client.api.task.create("export", "")
    headers = client.get("/export_raw_vdi", target, vdi=vdi, format=form, task_id=task)
    client.wait(task)
    client.ok(task)
    uuid = client.api.VDI.get_uuid(vdi)
    assert headers["Content-Disposition"] == f'attachment; filename="{uuid}.{form}"'
    if form in QEMU_NAMES:
        assert int(headers["Content-Length"]) == target.stat().st_size
        assert same_content(target, QEMU_NAMES[form], image)
    if form in ("vhd", "qcow2", "tar"):
        assert target.stat().st_size < SIZE / 2
    for length in (str(target.stat().st_size), None, UNKNOWN):
        copy = client.vdi(sr, SIZE)
        client.fill(copy, make_image(tmp_path / "old.raw", SIZE, {20 * MIB: b"old" * 9999}))
        task = client.put("/import_raw_vdi", target, length, vdi=copy, format=form)
        assert client.ok(task) == f"<value>{copy}</value>"
        assert client.holds(copy, image), length
        client.api.VDI.destroy(copy)


@pytest.mark.parametrize("form", ["vhd", "qcow2"])
def test_differences_to_a_base_restore_it_step_by_step(
    client: DiskClient, sr: str, image: Path, tmp_path: Path, form: str
) -> None:
    vdi = client.new_disk(sr, image)
    first = client.api.VDI.snapshot(vdi, {})
    base_uuid = client.api.VDI.get_uuid(first)
    newer = make_image(tmp_path / "newer.raw", SIZE, {**PIECES, 0: bytes(5), 30 * MIB: b"new" * 99})
    client.fill(vdi, newer) if sr == client.simulated_sr() else _amend(client, vdi)
    full, step = tmp_path / "full", tmp_path / "step"
    client.get("/export_raw_vdi", full, vdi=first, format=form)
    client.get("/export_raw_vdi", step, vdi=vdi, format=form, base=base_uuid)
    assert step.stat().st_size < full.stat().st_size
    copy = client.vdi(sr, SIZE)
    client.ok(client.put("/import_raw_vdi", full, vdi=copy, format=form))
    assert client.holds(copy, image)
    client.ok(client.put("/import_raw_vdi", step, vdi=copy, format=form))
    assert client.holds(copy, newer)


def _amend(client: DiskClient, vdi: str) -> None:
    """Change parts of a disk by framed chunks."""
    frames = b""
    for offset, data in ((0, bytes(512)), (30 * MIB, (b"new" * 99).ljust(512, b"\0"))):
        frames += offset.to_bytes(8, "little") + len(data).to_bytes(4, "little") + data
    client.ok(client.put("/import_raw_vdi", frames + bytes(12), vdi=vdi, chunked="true"))


def test_images_of_qemu_are_taken(client: DiskClient, image: Path, tmp_path: Path) -> None:
    sr = client.file_sr("foreign")
    for number, (form, options) in enumerate(
        (("qcow2", ["-c"]), ("qcow2", ["-o", "cluster_size=4k,compat=0.10"]), ("vpc", []))
    ):
        foreign = tmp_path / f"foreign{number}"
        command = ["qemu-img", "convert", "-f", "raw", "-O", form, *options, str(image)]
        subprocess.run([*command, str(foreign)], check=True)
        name = "vhd" if form == "vpc" else form
        vdi = client.vdi(sr, SIZE + 2 * MIB)
        client.ok(client.put("/import_raw_vdi", foreign, vdi=vdi, format=name))
        assert client.holds(vdi, image) or form == "vpc"
        task = client.put("/import_raw_vdi", foreign, sr_id=sr, format=name)
        made = client.ok(task)[len("<value>") : -len("</value>")]
        assert int(client.api.VDI.get_virtual_size(made)) >= SIZE


@pytest.mark.parametrize("form", FORMATS)
def test_bad_images_leave_a_real_disk_as_it_was(
    client: DiskClient, image: Path, tmp_path: Path, form: str
) -> None:
    sr = client.file_sr("careful")
    vdi = client.new_disk(sr, image)
    source = client.new_disk(sr, make_image(tmp_path / "b", SIZE, {5 * MIB: PIECES[0] * 99999}))
    export = tmp_path / "export"
    client.get("/export_raw_vdi", export, vdi=source, format=form)
    whole = export.read_bytes()
    task = client.put(
        "/import_raw_vdi", whole[: len(whole) * 3 // 4], str(len(whole)), vdi=vdi, format=form
    )
    assert client.error(task)[0] == "VDI_IO_ERROR"
    bad = bytearray(whole)
    bad[600] ^= 255
    if form in ("vhd", "tar"):
        expected = {"vhd": "VDI_IO_ERROR", "tar": "IMPORT_ERROR_SOME_CHECKSUMS_FAILED"}[form]
        task = client.put("/import_raw_vdi", bytes(bad), vdi=vdi, format=form)
        assert client.error(task)[0] == expected
    if form != "raw":
        task = client.put("/import_raw_vdi", b"nonsense" * 9999, vdi=vdi, format=form)
        assert client.error(task)[0] == "VDI_IO_ERROR"
    small = client.vdi(sr, SIZE // 2)
    task = client.put("/import_raw_vdi", whole, vdi=small, format=form)
    assert client.error(task)[0] == "VDI_IO_ERROR"
    assert client.holds(vdi, image)
    assert client.api.VDI.get_current_operations(vdi) == {}
    client.api.VDI.destroy(vdi)


def test_cancelled_and_abandoned_imports_change_nothing(
    client: DiskClient, image: Path, tmp_path: Path
) -> None:
    vdi = client.new_disk(client.file_sr("cancelled"), image)
    for cancel in (True, False):
        task = client.api.task.create("upload", "")
        connection, _ = client.begin_put("/import_raw_vdi", str(SIZE), vdi=vdi, task_id=task)
        connection.sendall(b"x" * 4 * MIB)
        progress = functools.partial(client.api.task.get_progress, task)
        eventually(progress, "the import makes progress")
        if cancel:
            client.api.task.cancel(task)
        connection.close()
        client.wait(task)
        assert client.error(task)[0] == ("TASK_CANCELLED" if cancel else "VDI_IO_ERROR")
        eventually(lambda: not client.api.VDI.get_current_operations(vdi), "the import ends")
        assert client.holds(vdi, image)


def test_export_can_be_cancelled_and_then_the_disk_is_free(client: DiskClient, image: Path) -> None:
    vdi = client.new_disk(client.file_sr("left"), image)
    big = client.vdi(client.api.VDI.get_SR(vdi), 1 << 34)
    task = client.api.task.create("export", "")
    address = (client.endpoint.address, client.endpoint.http)
    with socket.create_connection(address) as connection:
        path = client.path("/export_raw_vdi", vdi=big, task_id=task)
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        connection.recv(65536)
        client.api.task.cancel(task)
        client.wait(task)
    assert client.error(task)[0] == "TASK_CANCELLED"
    eventually(lambda: not client.api.VDI.get_current_operations(big), "the export ends")
    client.api.VDI.destroy(big)
    client.api.VDI.destroy(vdi)


def test_sixteen_tebibytes_travel_sparsely(client: DiskClient, tmp_path: Path) -> None:
    sr, size = client.file_sr("huge"), 16 << 40
    vdi = client.vdi(sr, size)
    frames = b""
    for offset in (0, 9 << 40, size - 512):
        data = (offset + 1).to_bytes(8, "little") * 64
        frames += offset.to_bytes(8, "little") + len(data).to_bytes(4, "little") + data
    client.ok(client.put("/import_raw_vdi", frames + bytes(12), vdi=vdi, chunked="true"))
    status, text = client.refusal("/export_raw_vdi", vdi=vdi, format="vhd")
    assert status == 500 and b"VDI_TOO_LARGE" in text
    for form in ("qcow2", "tar"):
        target = tmp_path / f"huge.{form}"
        client.get("/export_raw_vdi", target, vdi=vdi, format=form)
        assert target.stat().st_size < 8 * MIB
        copy = client.vdi(sr, size)
        client.ok(client.put("/import_raw_vdi", target, vdi=copy, format=form))
        again = tmp_path / f"again.{form}"
        client.get("/export_raw_vdi", again, vdi=copy, format="qcow2")
        command = ["qemu-img", "map", "--output=json", "-f", "qcow2", str(again)]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert found.count('"data": true') == 3
        assert int(client.api.VDI.get_physical_utilisation(copy)) < 8 * MIB
        client.api.VDI.destroy(copy)


def test_changed_blocks_are_those_that_an_import_changed(client: DiskClient, image: Path) -> None:
    vdi = client.new_disk(client.file_sr("tracked"), image)
    client.api.VDI.enable_cbt(vdi)
    first = client.api.VDI.snapshot(vdi, {})
    _amend(client, vdi)
    second = client.api.VDI.snapshot(vdi, {})
    bits = base64.b64decode(client.api.VDI.list_changed_blocks(first, second))
    blocks = [n for n in range(len(bits) * 8) if bits[n // 8] & 128 >> n % 8]
    assert blocks == [0, 30 * MIB // 65536]
    assert len(bits) == SIZE // 65536 // 8


def test_a_vm_with_real_disks_goes_out_and_comes_back(
    client: DiskClient, sr: str, image: Path, tmp_path: Path
) -> None:
    vdi = client.new_disk(sr, image)
    vm = client.api.VM.create(vm_record(name_label="exported"))
    client.api.VBD.create(
        {
            **{"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW"},
            **{"type": "Disk", "unpluggable": True, "empty": False, "other_config": {}},
            **{"qos_algorithm_type": "", "qos_algorithm_params": {}},
        }
    )
    archive = tmp_path / "vm.xva"
    client.get("/export", archive, uuid=client.api.VM.get_uuid(vm))
    task = client.put("/import", archive, sr_id=sr)
    result = client.ok(task)
    (copy,) = [v for v in client.api.VM.get_all() if v in result]
    (vbd,) = client.api.VM.get_VBDs(copy)
    assert client.holds(client.api.VBD.get_VDI(vbd), image)
    before = len(client.api.VDI.get_all())
    cut = archive.read_bytes()[: archive.stat().st_size * 2 // 3]
    task = client.put("/import", cut, str(archive.stat().st_size), sr_id=sr)
    assert client.error(task)[0] == "IMPORT_ERROR_PREMATURE_EOF"
    assert len(client.api.VDI.get_all()) == before


def test_checksums_are_those_of_the_content(client: DiskClient, sr: str, image: Path) -> None:
    vdi = client.new_disk(sr, image)
    digest = hashlib.md5(image.read_bytes(), usedforsecurity=False).hexdigest()
    assert client.api.VDI.checksum(vdi) == digest

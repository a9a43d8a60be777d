"""qcow2 headers, empty images and bitmaps: against qemu-img, and against damage."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sm.images import qcow2

GIB = 1024**3
needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is missing")


def reader(data: bytes) -> qcow2.Pread:
    return lambda offset, length: data[offset : offset + length]


def write_image(path: Path, size: int, *backing: str) -> None:
    path.write_bytes(qcow2.empty_image(size, *backing))
    with path.open("r+b") as file:
        file.truncate(qcow2.file_bytes(size))


def qemu(*arguments: object) -> str:
    done = subprocess.run(
        ["qemu-img", *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return done.stdout


@given(
    st.integers(0, qcow2.MAX_BYTES), st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
)
@settings(max_examples=50)
def test_header_of_an_empty_image_is_read_back(size: int, name: str) -> None:
    image = qcow2.empty_image(size, name, "qcow2" if name else "")
    header = qcow2.read_header(reader(image))
    assert (header.virtual_size, header.backing_file) == (size, name)
    assert header.backing_format == ("qcow2" if name else "")
    assert qcow2.is_empty(header, reader(image))


@given(st.integers(0, 511), st.integers(0, 255))
@settings(max_examples=150)
def test_damaged_headers_are_refused_or_harmless(position: int, value: int) -> None:
    image = bytearray(qcow2.empty_image(40 * GIB, "base.qcow2", "qcow2"))
    image[position] = value
    try:
        header = qcow2.read_header(reader(bytes(image)))
        qcow2.is_empty(header, reader(bytes(image)))
        for bitmap in qcow2.stored_bitmaps(header, reader(bytes(image))):
            qcow2.read_bitmap(header, bitmap, reader(bytes(image)))
    except qcow2.Qcow2Error:
        pass


@given(st.binary(max_size=200))
def test_noise_is_no_image(noise: bytes) -> None:
    with pytest.raises(qcow2.Qcow2Error):
        qcow2.read_header(reader(noise))


@needs_qemu
@pytest.mark.parametrize("size", [0, 512, 2 * 1024**2, 40 * GIB, 16 * 1024 * GIB, 64 * 1024 * GIB])
def test_qemu_accepts_an_empty_image(tmp_path: Path, size: int) -> None:
    write_image(tmp_path / "a.qcow2", size)
    found = json.loads(qemu("info", "--output=json", tmp_path / "a.qcow2"))
    assert found["virtual-size"] == size
    qemu("check", "-f", "qcow2", tmp_path / "a.qcow2")


@needs_qemu
def test_overlay_shows_its_backing_file_and_takes_data(tmp_path: Path) -> None:
    write_image(tmp_path / "base.qcow2", GIB)
    write_image(tmp_path / "top.qcow2", 2 * GIB, "base.qcow2", "qcow2")
    subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", "write -P 7 1G 1M", tmp_path / "top.qcow2"],
        check=True,
        capture_output=True,
    )
    qemu("check", "-f", "qcow2", tmp_path / "top.qcow2")
    data = (tmp_path / "top.qcow2").read_bytes()
    header = qcow2.read_header(reader(data))
    assert (header.backing_file, header.backing_format) == ("base.qcow2", "qcow2")
    assert not qcow2.is_empty(header, reader(data))


@needs_qemu
def test_bitmaps_are_those_qemu_wrote(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    write_image(path, GIB)
    qemu("bitmap", "--add", "-g", "64K", "-f", "qcow2", path, "cbt")
    blocks = sorted(random.Random(5).sample(range(GIB >> 16), 40))
    commands = [part for b in blocks for part in ("-c", f"write {b << 16} 4k")]
    subprocess.run(["qemu-io", "-f", "qcow2", *commands, path], check=True, capture_output=True)
    data = path.read_bytes()
    header = qcow2.read_header(reader(data))
    (bitmap,) = qcow2.stored_bitmaps(header, reader(data))
    assert (bitmap.name, bitmap.granularity, bitmap.in_use) == ("cbt", 65536, False)
    bits = qcow2.read_bitmap(header, bitmap, reader(data))
    found = [i for i in range(len(bits) * 8) if bits[i >> 3] & (0x80 >> (i & 7))]
    assert found == blocks

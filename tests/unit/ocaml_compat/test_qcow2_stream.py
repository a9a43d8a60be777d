"""qcow2 streams: our own round trips, images of QEMU, damage."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocaml_compat.qcow2_stream import CLUSTER, Qcow2Reader, Qcow2StreamError, Qcow2Writer

MIB = 1 << 20
needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="qemu-img is missing (Debian: qemu-utils)"
)


def written(image: bytes, extents: list[tuple[int, int]], backing: str = "") -> bytes:
    writer = Qcow2Writer(len(image), extents, backing)
    parts = list(writer.head())
    for offset, length in writer.data_extents:
        data = image[offset : offset + length]
        parts.append(data + bytes(-len(data) % CLUSTER))
    found = b"".join(parts)
    assert len(found) == writer.total_bytes
    return found


def read(stream: bytes, size: int, step: int = 70000) -> bytes:
    reader, image = Qcow2Reader(), bytearray(size)
    pieces: list[tuple[int, bytes]] = []
    try:
        for at in range(0, len(stream), step):
            pieces += reader.feed(stream[at : at + step])
        pieces += reader.finish()
    finally:
        reader.close()
    assert reader.size == size
    for offset, data in pieces:
        image[offset : offset + len(data)] = data
    return bytes(image)


def sample(size: int, count: int, seed: int = 1) -> tuple[bytes, list[tuple[int, int]]]:
    rng, image = random.Random(seed), bytearray(size)
    extents = sorted((rng.randrange(size - 70000), rng.randrange(1, 70000)) for _ in range(count))
    for offset, length in extents:
        image[offset : offset + length] = rng.randbytes(length)
    return bytes(image), extents


@settings(max_examples=25, deadline=None)
@given(st.integers(200, 3000), st.integers(0, 9), st.integers(0, 999), st.integers(1000, 200000))
def test_what_was_written_is_read(sectors: int, count: int, seed: int, step: int) -> None:
    image, extents = sample(sectors * 512, count, seed)
    assert read(written(image, extents), len(image), step) == image


def test_large_disks_need_little() -> None:
    size = 16 << 40
    writer = Qcow2Writer(size, [(0, 1), (9 << 40, 1), (size - 1, 1)])
    assert writer.total_bytes < MIB
    assert list(writer.data_extents)[1:] == [(9 << 40, CLUSTER), (size - CLUSTER, CLUSTER)]


@needs_qemu
def test_qemu_takes_what_was_written(tmp_path: Path) -> None:
    image, extents = sample(600 * MIB + 512, 40)
    (tmp_path / "raw").write_bytes(image)
    (tmp_path / "qcow2").write_bytes(written(image, extents))
    subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", tmp_path / "qcow2"], check=True)
    compare = ["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw"]
    subprocess.run([*compare, tmp_path / "qcow2", tmp_path / "raw"], check=True)


@needs_qemu
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-c"],
        ["-c", "-o", "compression_type=zstd"],
        ["-o", "cluster_size=4k,compat=0.10"],
        ["-o", "cluster_size=2M"],
        ["-W", "-m", "8"],
    ],
)
def test_images_of_qemu_are_read(tmp_path: Path, options: list[str]) -> None:
    image, _ = sample(90 * MIB + 1024, 60)
    (tmp_path / "raw").write_bytes(image)
    command = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options]
    subprocess.run([*command, tmp_path / "raw", tmp_path / "qcow2"], check=True)
    assert read((tmp_path / "qcow2").read_bytes(), len(image)) == image


@needs_qemu
def test_images_with_a_history_are_read(tmp_path: Path) -> None:
    image, size = tmp_path / "i", 640 * MIB
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, str(size)], check=True)
    first = ["write -P 3 600M 1M", "write -P 4 0 70k", "write -z 4096 4096", "discard 600M 512k"]
    commands = [word for line in first for word in ("-c", line)]
    subprocess.run(["qemu-io", "-f", "qcow2", *commands, image], check=True, capture_output=True)
    subprocess.run(["qemu-img", "snapshot", "-c", "old", image], check=True)
    command = ["qemu-io", "-f", "qcow2", "-c", "write -P 9 600M 1M", image]
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run(["qemu-img", "convert", "-O", "raw", image, tmp_path / "raw"], check=True)
    assert read(image.read_bytes(), size) == (tmp_path / "raw").read_bytes()


def test_cut_and_foreign_streams_are_refused() -> None:
    image, extents = sample(3 * MIB, 20)
    stream = written(image, extents)
    for length in (0, 50, 600, CLUSTER, 5 * CLUSTER, len(stream) - CLUSTER):
        with pytest.raises(Qcow2StreamError):
            read(stream[:length], len(image))
    with pytest.raises(Qcow2StreamError):
        read(b"nonsense" * CLUSTER, len(image))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5 * CLUSTER - 1), st.integers(1, 255))
def test_damaged_tables_fail_cleanly(position: int, flip: int) -> None:
    image, extents = sample(1 * MIB, 6)
    stream = bytearray(written(image, extents))
    stream[position] ^= flip
    reader = Qcow2Reader()
    try:
        for at in range(0, len(stream), CLUSTER):
            for offset, data in reader.feed(bytes(stream[at : at + CLUSTER])):
                assert offset + len(data) <= reader.size
        reader.finish()
    except Qcow2StreamError:
        pass
    finally:
        reader.close()


def test_backing_files_are_named_and_their_zeros_given() -> None:
    image, extents = sample(1 * MIB, 3)
    reader = Qcow2Reader()
    reader.feed(written(image, extents, "base.qcow2"))
    assert reader.backing_file == "base.qcow2"
    reader.close()

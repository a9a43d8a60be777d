"""VHD streams: round trips, damage, and what qemu-img makes of them."""

import contextlib
import json
import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ocaml_compat import vhd
from ocaml_compat.vhd import BLOCK_BYTES, SECTOR, DiskType, VhdError
from ocaml_compat.vhd_stream import (
    Parent,
    VhdReader,
    VhdWriter,
    pack_bitmap,
    split_extents,
    unpack_bitmap,
)

UUID = bytes(range(16))
MIB = 1024**2
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is missing")


def written(disk: bytes, extents: list[tuple[int, int]], parent: Parent | None = None) -> bytes:
    writer = VhdWriter(len(disk), extents, UUID, parent=parent)
    pieces = [writer.head]
    for block in writer.blocks:
        start = block.index * BLOCK_BYTES
        pieces += writer.block(block, disk[start : start + BLOCK_BYTES])
    stream = b"".join([*pieces, writer.tail])
    assert len(stream) == writer.total_bytes
    return stream


def read(stream: bytes, step: int = 100_000) -> tuple[VhdReader, dict[int, bytes]]:
    reader, found = VhdReader(), {}
    for start in range(0, len(stream), step):
        found.update(reader.feed(stream[start : start + step]))
    reader.finish()
    return reader, found


def disk_of(size: int, pieces: dict[int, bytes]) -> bytes:
    disk = bytearray(size)
    for offset, data in pieces.items():
        disk[offset : offset + len(data)] = data
    return bytes(disk[:size])


def make_disk(size: int, extents: list[tuple[int, int]], seed: int = 1) -> bytes:
    pieces = {o: random.Random(seed + o).randbytes(n) for o, n in extents}
    return disk_of(size, pieces)


EXTENTS = st.lists(
    st.tuples(st.integers(0, 7 * MIB // SECTOR), st.integers(1, 300)), max_size=8
).map(lambda found: sorted((a * SECTOR, n * SECTOR) for a, n in found))


@given(EXTENTS, st.integers(500, 400_000), st.booleans())
@settings(max_examples=25, phases=NO_SHRINKING)
def test_data_comes_back_at_its_place(
    extents: list[tuple[int, int]], step: int, differencing: bool
) -> None:
    size = 7 * MIB + 3 * SECTOR
    extents = [(o, min(n, size - o)) for o, n in extents if o < size]
    disk = make_disk(size, extents)
    parent = Parent(bytes(16), "base.vhd", 1_700_000_000) if differencing else None
    reader, found = read(written(disk, extents, parent), step)
    assert disk_of(size, found) == disk
    assert reader.footer is not None and reader.footer.current_size == size
    if differencing:
        assert reader.header is not None and reader.header.parent_name == "base.vhd"
        touched = {s for o, n in extents for s in range(o // SECTOR, (o + n) // SECTOR)}
        present = {s for o, d in found.items() for s in range(o // SECTOR, (o + len(d)) // SECTOR)}
        assert present == touched


@given(st.lists(st.tuples(st.integers(0, 4095), st.integers(1, 100)), max_size=9))
def test_bitmap_holds_its_runs(pairs: list[tuple[int, int]]) -> None:
    extents = sorted((a * SECTOR, min(n, 4096 - a) * SECTOR) for a, n in pairs)
    blocks = list(split_extents(extents, BLOCK_BYTES, whole_pages=False))
    runs = blocks[0].runs if blocks else ()
    assert tuple(unpack_bitmap(pack_bitmap(runs), 4096)) == runs


def test_differencing_disk_names_its_parent_for_other_readers() -> None:
    stream = written(bytes(2 * MIB), [], Parent(UUID, "päpa.vhd"))
    header = vhd.parse_header(stream[SECTOR : SECTOR + 1024])
    (locator,) = header.locators
    assert (locator.platform, header.parent_uuid) == (b"MacX", UUID)
    assert stream[locator.offset : locator.offset + locator.length] == "file://./päpa.vhd".encode()


def test_fixed_disk_is_read_as_it_comes() -> None:
    disk = make_disk(MIB, [(4096, 8192)])
    footer = vhd.Footer(DiskType.FIXED, MIB, UUID).pack()
    reader, found = read(disk + footer, 777)
    assert disk_of(MIB, found) == disk
    assert reader.footer is not None and reader.header is None


def test_cut_streams_are_noticed() -> None:
    stream = written(make_disk(5 * MIB, [(0, 4096), (4 * MIB, 512)]), [(0, 4096), (4 * MIB, 512)])
    for length in (0, 511, 512, 1600, 4096, 10_000, len(stream) // 2, len(stream) - 1):
        with pytest.raises(VhdError):
            read(stream[:length])


def test_every_flipped_bit_in_footer_and_header_is_found() -> None:
    stream = written(bytes(4 * MIB), [])
    for position in range(SECTOR + 1024):
        damaged = bytearray(stream)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(VhdError):
            read(bytes(damaged))


@given(st.binary(max_size=5000), st.integers(50, 2000))
@settings(max_examples=50)
def test_noise_never_does_more_than_refuse(noise: bytes, step: int) -> None:
    for front in (b"", written(bytes(2 * MIB), [])[: SECTOR + 1024]):
        with contextlib.suppress(VhdError):
            read(front + noise, step)


def test_tables_that_point_anywhere_are_refused() -> None:
    stream = bytearray(written(make_disk(4 * MIB, [(0, 512)]), [(0, 512)]))
    for value in (0, 1, 3, 0xFFFFFFF0):
        damaged = stream.copy()
        struct.pack_into(">I", damaged, 3 * SECTOR, value)
        with pytest.raises(VhdError):
            read(bytes(damaged))


@pytest.mark.parametrize("size_gib", [1, 40, 127, 2040])
def test_sizes_survive(size_gib: int) -> None:
    writer = VhdWriter(size_gib * 1024**3, [], UUID)
    reader = VhdReader()
    reader.feed(writer.head + writer.tail)
    reader.finish()
    assert reader.footer is not None and reader.footer.current_size == size_gib * 1024**3


@needs_qemu
def test_qemu_reads_what_we_write(tmp_path: Path) -> None:
    extents = [(0, 4096), (3 * MIB, 70 * 1024), (39 * MIB, MIB)]
    disk = make_disk(40 * MIB, extents)
    (tmp_path / "a.vhd").write_bytes(written(disk, extents))
    (tmp_path / "a.raw").write_bytes(disk)
    compare = ["qemu-img", "compare", "-f", "vpc", "-F", "raw", "a.vhd", "a.raw"]
    subprocess.run(compare, cwd=tmp_path, check=True, capture_output=True)
    info = subprocess.check_output(
        ["qemu-img", "info", "-f", "vpc", "--output=json", "a.vhd"], cwd=tmp_path
    )
    assert json.loads(info)["virtual-size"] == len(disk)


@needs_qemu
@pytest.mark.parametrize("subformat", ["dynamic", "fixed"])
def test_we_read_what_qemu_writes(tmp_path: Path, subformat: str) -> None:
    disk = make_disk(9 * MIB, [(512, 5000), (8 * MIB + 512, 1000)])
    (tmp_path / "a.raw").write_bytes(disk)
    options = f"subformat={subformat},force_size=on"
    command = ["qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", options, "a.raw", "a.vhd"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    _, found = read((tmp_path / "a.vhd").read_bytes())
    assert disk_of(len(disk), found) == disk

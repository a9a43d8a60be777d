"""Disks read from their image files: the same as QEMU reads, and never while somebody writes."""

import random
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from sm.images import qcow2
from tests.unit.sm.files.file_host import needs_qemu, run
from xapi_py.api.image_source import ImageSource, UnreadableImage
from xapi_py.base.image_locks import kept_from_writers, lock_against_writers

pytestmark = needs_qemu
MIB = 1 << 20
GIB = 1 << 30


def described(path: Path, size: int) -> Mapping[str, object]:
    if path.suffix == ".raw":
        return {"path": str(path), "size": size} | dict.fromkeys(
            ("cluster_bits", "l1_offset", "l1_entries"), 0
        )
    with path.open("rb") as file:

        def pread(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        header = qcow2.read_header(pread)
    members = {n: getattr(header, n) for n in ("cluster_bits", "l1_offset", "l1_entries")}
    return {"path": str(path), "size": header.virtual_size, **members}


def overlay(folder: Path, name: str, size: int, below: Path | None) -> Path:
    path = folder / f"{name}.qcow2"
    backing = ("-b", below, "-F", below.suffix[1:]) if below else ()
    run("qemu-img", "create", "-q", "-f", "qcow2", *backing, path, size)
    return path


def change(path: Path, *commands: str) -> None:
    form = path.suffix[1:]
    run("qemu-io", "-f", form, *(w for c in commands for w in ("-c", c)), path)


def content_by_qemu(path: Path, folder: Path) -> bytes:
    target = folder / "content"
    run("qemu-img", "convert", "-f", path.suffix[1:], "-O", "raw", path, target)
    return target.read_bytes()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bottom", ["raw", "qcow2"])
def test_chains_hold_what_qemu_says(tmp_path: Path, seed: int, bottom: str) -> None:
    chance, size = random.Random(seed), 9 * MIB + 512
    chain = [tmp_path / f"base.{bottom}"]
    run("qemu-img", "create", "-q", "-f", bottom, chain[0], size - MIB)
    for level in range(4):
        for _ in range(6):
            at = chance.randrange(0, size - 2 * MIB, 512)
            length = chance.randrange(512, MIB, 512)
            kind = chance.choice([f"write -P {level + 1}", f"write -P {level + 9}", "write -z"])
            change(chain[0], f"{kind} {at} {length}")
        if level < 3:
            chain.insert(0, overlay(tmp_path, f"level{level}", size, chain[0]))
    expected = content_by_qemu(chain[0], tmp_path)
    source = ImageSource([described(path, size - MIB) for path in chain])
    assert source.size == size
    assert source.read_many([(0, size)])[0] == expected
    places = [(chance.randrange(size - 70000), chance.randrange(70000)) for _ in range(50)]
    assert source.read_many(places) == [expected[at : at + length] for at, length in places]
    told = bytearray(size)
    last = -1
    for at, length in source.extents(0, size):
        assert at > last
        last = at + length
        told[at:last] = expected[at:last]
    assert told == expected
    assert list(source.changed(0, size, 0)) == []
    above = dict(source.changed(0, size, 4 if bottom == "qcow2" else 3))
    assert all(
        any(at <= o < at + n for at, n in above.items()) for o, _ in source.changed(0, size, 1)
    )
    source.close()


def test_a_huge_disk_is_looked_through_at_once(tmp_path: Path) -> None:
    size = 16 << 40
    base = overlay(tmp_path, "base", size, None)
    change(base, f"write -P 1 {5 << 40} 64k")
    top = overlay(tmp_path, "top", size, base)
    change(top, f"write -P 2 {size - MIB} 64k")
    source = ImageSource([described(top, size), described(base, size)])
    assert list(source.extents(0, size)) == [(5 << 40, 65536), (size - MIB, 65536)]
    assert list(source.changed(0, size, 1)) == [(size - MIB, 65536)]
    assert source.read_many([(size - MIB, 1), ((5 << 40) + 1, 1), (0, 1)]) == [b"\2", b"\1", b"\0"]
    source.close()


def test_what_only_qemu_reads_is_refused(tmp_path: Path) -> None:
    plain = tmp_path / "plain.raw"
    plain.write_bytes(bytes(range(256)) * 1024)
    packed = tmp_path / "packed.qcow2"
    run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", plain, packed)
    source = ImageSource([described(packed, 0)])
    with pytest.raises(UnreadableImage):
        source.read_many([(0, 512)])
    source.close()
    with pytest.raises(UnreadableImage):
        ImageSource([described(plain, 256 * 1024)])


def test_readers_and_writers_keep_each_other_away(tmp_path: Path) -> None:
    image = overlay(tmp_path, "image", MIB, None)
    change(image, "write -P 1 0 64k")
    source = ImageSource([described(image, MIB)])
    assert kept_from_writers(str(image))
    write = ["qemu-io", "-f", "qcow2", "-c", "write -P 2 0 64k", str(image)]
    done = subprocess.run(write, capture_output=True, text=True)
    assert done.returncode and 'Failed to get "write" lock' in done.stderr + done.stdout
    source.close()
    assert not kept_from_writers(str(image))
    writer = subprocess.Popen(
        ["qemu-io", "-f", "qcow2", str(image)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert writer.stdin is not None and writer.stdout is not None
    writer.stdin.write(b"write -P 2 0 64k\n")
    while b"ops" not in writer.stdout.readline():
        pass
    with pytest.raises(OSError, match="busy"):
        ImageSource([described(image, MIB)])
    writer.communicate()


def test_a_missing_file_is_kept_from_nobody(tmp_path: Path) -> None:
    assert not kept_from_writers(str(tmp_path / "none"))
    with (tmp_path / "some").open("w+b") as file:
        lock_against_writers(file.fileno())
        assert kept_from_writers(str(tmp_path / "some"))

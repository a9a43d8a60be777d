"""What a lab machine is put together from: archives, kernels, the boot sector, cached entries."""

import lzma
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.xenlab import boot_sector, cache, cpio, kernel


def bzimage(payload: bytes, setup_sectors: int = 4) -> bytes:
    start = (setup_sectors + 1) * 512
    image = bytearray(start + 16 + len(payload))
    image[0x1F1] = setup_sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 16, len(payload))
    image[start + 16 :] = payload
    return bytes(image)


def test_the_elf_kernel_is_taken_out_of_a_bzimage():
    elf = b"\x7fELF" + bytes(100)
    assert kernel.uncompressed(bzimage(lzma.compress(elf))) == elf


@pytest.mark.parametrize("image", [bytes(2048), bzimage(lzma.compress(b"something else"))])
def test_what_holds_no_elf_kernel_is_refused(image: bytes):
    with pytest.raises(ValueError):
        kernel.uncompressed(image)


def test_modules_are_loaded_after_what_they_need_and_once():
    found = kernel.parse_dependencies(
        "kernel/a/virtio_net.ko: kernel/b/failover.ko.xz kernel/a/virtio.ko\n"
        "kernel/a/virtio-blk.ko: kernel/a/virtio.ko\n"
        "kernel/a/virtio.ko:\n"
    )
    assert kernel.load_order(found, ["virtio_blk", "virtio-net", "built_in"]) == [
        "kernel/a/virtio.ko",
        "kernel/a/virtio-blk.ko",
        "kernel/b/failover.ko.xz",
        "kernel/a/virtio_net.ko",
    ]


@pytest.mark.skipif(not shutil.which("cpio"), reason="cpio is not installed")
def test_archives_are_what_cpio_reads(tmp_path: Path):
    packed = cpio.archive(
        {
            "init": cpio.File(b"#!/bin/sh\n", 0o755),
            "a/b/c": cpio.File(b"odd"),
            "bin/sh": cpio.Link("busybox"),
        }
    )
    words = ["cpio", "--extract", "--make-directories", "--nonmatching", "--quiet", "dev/console"]
    subprocess.run(words, input=packed, cwd=tmp_path, check=True, timeout=20)
    assert (tmp_path / "a/b/c").read_bytes() == b"odd"
    assert (tmp_path / "init").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "bin/sh").readlink() == Path("busybox")


def test_the_boot_sector_fits_and_ends_with_its_mark():
    disk = boot_sector.disk()
    assert len(disk) == boot_sector.DISK_BYTES
    assert disk[510:512] == b"\x55\xaa" and not any(disk[512:])
    assert boot_sector.MESSAGE in disk[:510]


def test_jumps_and_addresses_are_filled_in():
    program = [b"\xeb", ("short", "on"), "back", b"\x90", "on", b"\xeb", ("short", "back")]
    assert boot_sector.assemble(program, 0x7C00) == b"\xeb\x01\x90\xeb\xfd"
    assert boot_sector.assemble([b"\xbe", ("address", "here"), "here"], 0x7C00) == b"\xbe\x03\x7c"


def test_an_entry_is_made_once_and_only_when_it_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []

    def make(folder: Path) -> None:
        (folder / "part").write_text("x")
        made.append(folder)
        if len(made) == 1:
            raise RuntimeError("first attempt")

    with pytest.raises(RuntimeError):
        cache.entry("kind", "k", make)
    assert [path.name for path in cache.root().iterdir()] == [".lock-kind-k"]
    assert cache.entry("kind", "k", make) == cache.entry("kind", "k", make)
    assert len(made) == 2
    assert cache.prune(days=-1) == ["kind-k"]


def test_keys_follow_content_of_files(tmp_path: Path):
    file = tmp_path / "f"
    file.write_text("1")
    first = cache.key("a", file)
    file.write_text("2")
    assert cache.key("a", file) != first != cache.key("b", file)

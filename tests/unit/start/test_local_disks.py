from pathlib import Path

import pytest

from xapi_py.start.local_disks import LocalDisks, noted


def test_without_a_word_of_the_installer_no_disk_is_touched(tmp_path: Path) -> None:
    assert noted("lvm", tmp_path / "none") is None


@pytest.mark.parametrize(
    "text, disks",
    [
        ("PARTITIONS='/dev/sda3'\n", LocalDisks(("/dev/sda3",), "lvm")),
        ("TYPE=ext\nPARTITIONS=/dev/vdc # spare\n", LocalDisks(("/dev/vdc",), "ext")),
        ('# both\nPARTITIONS="/dev/sdb /dev/sdc"\n', LocalDisks(("/dev/sdb", "/dev/sdc"), "lvm")),
    ],
)
def test_the_named_disks_become_the_local_storage(
    tmp_path: Path, text: str, disks: LocalDisks
) -> None:
    (file := tmp_path / "default-storage.conf").write_text(text)
    assert noted("lvm", file) == disks


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PARTITIONS=''\n",
        "PARTITIONS='/dev/sda\n",
        "PARTITIONS=sda3\n",
        "PARTITIONS=/dev/sda3\nTYPE=nfs\n",
        "export PARTITIONS=/dev/sda3\n",
        "PARTITIONS=\x00\n",
    ],
)
def test_what_cannot_be_understood_touches_no_disk(tmp_path: Path, text: str) -> None:
    (file := tmp_path / "default-storage.conf").write_text(text)
    assert noted("lvm", file) is None


def test_bytes_that_are_no_text_touch_no_disk(tmp_path: Path) -> None:
    (file := tmp_path / "default-storage.conf").write_bytes(b"PARTITIONS=/dev/\xff\n")
    assert noted("lvm", file) is None

"""Linux as devices of guests need it: loop devices and interfaces, the real ones."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from xenops.backends.xen.kernel import Linux

pytestmark = pytest.mark.system

NAME = "xotest0"
TAG = f"xenops-test-{os.getpid()}:"


@pytest.fixture
def linux() -> Iterator[Linux]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    kernel = Linux()
    yield kernel
    for device in kernel.loops(TAG):
        kernel.detach_loop(device)


def test_a_loop_device_over_a_file(linux: Linux, tmp_path: Path) -> None:
    if not Path("/dev/loop-control").exists():
        pytest.skip("needs loop devices")
    path = tmp_path / "disk"
    path.write_bytes(b"content".ljust(1 << 20, b"\0"))
    device = linux.attach_loop(str(path), True, f"{TAG}xvda")
    assert linux.loops(TAG) == [device]
    assert linux.loops(f"{TAG}xvdb") == []
    assert linux.is_block_device(device) and not linux.is_block_device(str(path))
    assert linux.open_disk(device, True).startswith("7:")
    assert Path(device).read_bytes()[:7] == b"content"
    linux.detach_loop(device)
    linux.detach_loop(device)
    assert linux.loops(TAG) == []


def test_a_disk_that_may_only_be_read(linux: Linux, tmp_path: Path) -> None:
    if not Path("/dev/loop-control").exists():
        pytest.skip("needs loop devices")
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    device = linux.attach_loop(str(tmp_path / "disk"), False, f"{TAG}xvda")
    assert Path(f"/sys/block/{Path(device).name}/ro").read_text() == "1\n"
    assert linux.open_disk(device, False).startswith("7:")


def test_what_is_no_disk(linux: Linux, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="not a block device"):
        linux.open_disk(str(tmp_path / "file"), False)
    with pytest.raises(FileNotFoundError):
        linux.attach_loop(str(tmp_path / "absent"), False, TAG)
    assert not linux.is_block_device(str(tmp_path / "absent"))
    assert not linux.has_backend("vbd", 7, 51712)


def test_our_end_of_a_network_device(linux: Linux) -> None:
    def ip(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["ip", *words], capture_output=True, text=True, check=False)

    made = ip("tuntap", "add", NAME, "mode", "tap")
    if made.returncode:
        pytest.skip(f"needs tap devices: {made.stderr}")
    try:
        linux.set_up_interface(NAME, "fe:ff:ff:ff:ff:ff", {"tx": False, "sg": False, "ufo": True})
        shown = ip("link", "show", NAME).stdout
        assert "fe:ff:ff:ff:ff:ff" in shown and "NOARP" in shown
    finally:
        ip("tuntap", "del", NAME, "mode", "tap")
    with pytest.raises(OSError, match="No such device"):
        linux.set_up_interface(NAME, "fe:ff:ff:ff:ff:ff", {})

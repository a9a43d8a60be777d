"""What QEMU's tools say, as errors of the storage interface."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sm.files import qemu
from xapi_py.base.rpc.errors import RpcError

needs_qemu_img = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="qemu-img is missing (Debian: qemu-utils)"
)


@pytest.mark.parametrize(
    "text, code",
    [
        ("qemu-img: error while writing: No space left on device", "SR_BACKEND_FAILURE_44"),
        ("qemu-img: Disk quota exceeded", "SR_BACKEND_FAILURE_44"),
        ('qemu-img: Failed to get "write" lock\nIs another process using it?', "VDI_IN_USE"),
        ("read failed: Input/output error", "SR_BACKEND_FAILURE_200"),
        ("Could not open backing file: ... No such file or directory", "SR_BACKEND_FAILURE_46"),
        ("Backing file creates an infinite loop", "SR_BACKEND_FAILURE_46"),
        ("Image is not in qcow2 format", "SR_BACKEND_FAILURE_46"),
        ("qcow2: Image is corrupt; cannot be opened read/write", "SR_BACKEND_FAILURE_46"),
        ("Something nobody has seen", "SR_BACKEND_FAILURE_202"),
        ("", "SR_BACKEND_FAILURE_202"),
    ],
)
def test_texts_have_their_numbers(text: str, code: str) -> None:
    assert qemu.failure(text).params[0] == code


@needs_qemu_img
def test_real_texts_have_their_numbers(tmp_path: Path) -> None:
    image = tmp_path / "a.qcow2"
    image.write_bytes(b"no image at all" * 100)
    with pytest.raises(RpcError) as damaged:
        qemu.resize(image, "qcow2", 1 << 20)
    with pytest.raises(RpcError) as missing:
        qemu.resize(tmp_path / "none", "qcow2", 1 << 20)
    codes = {str(problem.value.params[0]) for problem in (damaged, missing)}
    assert codes == {"SR_BACKEND_FAILURE_46"}


@needs_qemu_img
def test_what_a_killed_writer_left_is_freed(tmp_path: Path) -> None:
    image = tmp_path / "a.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "8M"], check=True)
    write = ["qemu-io", "-f", "qcow2", "-c", "write 0 1M", "-c", "sigraise 9", str(image)]
    subprocess.run(write, capture_output=True, check=False)
    qemu.reclaim(image)
    found = subprocess.run(["qemu-img", "check", "-f", "qcow2", image], capture_output=True)
    assert found.returncode == 0, found.stdout


def test_checking_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    qemu.reclaim(tmp_path / "none.qcow2")

"""What a boot loader may tell us to boot."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.xenops.factories import UUID, make_md
from xapi_py.base.rpc.errors import RpcError
from xenops.backends.xen.bootloader import _parsed
from xenops.metadata import VmConfig


def pv(**options: object) -> VmConfig:
    return make_md(ty="PV", pv=options).vm


def test_kernel_ramdisk_and_arguments_are_put_together(tmp_path: Path) -> None:
    kernel, ramdisk = tmp_path / "kernel", tmp_path / "ramdisk"
    vm = pv(extra_args="quiet", legacy_args="old")
    output = f"kernel {kernel}\nramdisk {ramdisk}\nargs root=/dev/xvda1 ro\n\n"
    found = _parsed(vm, output, tmp_path)
    assert (found.kernel, found.ramdisk) == (str(kernel), str(ramdisk))
    assert found.cmdline == "root=/dev/xvda1 ro old quiet"


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "no kernel"),
        ("args x\n", "no kernel"),
        ("kernel /etc/shadow\n", "malicious guest"),
        ("kernel {folder}/../secret\n", "malicious guest"),
        ("kernel {folder}/deeper/kernel\n", "malicious guest"),
        ("kernel {folder}/k\nramdisk /dev/sda\n", "malicious guest"),
        ("kernel {folder}/k\nkernel {folder}/l\n", "said"),
        ("evil {folder}/k\n", "said"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, output: str, words: str) -> None:
    with pytest.raises(RpcError, match=words) as problem:
        _parsed(pv(), output.format(folder=tmp_path), tmp_path)
    assert problem.value.args[:2] == ("Bootloader_error", UUID)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kernel").symlink_to("/etc/passwd")
    with pytest.raises(RpcError, match="malicious guest"):
        _parsed(pv(), f"kernel {tmp_path}/kernel\n", tmp_path)


@given(st.text(max_size=200))
def test_nothing_a_guest_says_names_a_file_elsewhere(output: str) -> None:
    folder = Path("/nowhere/boot")
    try:
        found = _parsed(pv(), output, folder)
    except (RpcError, ValueError):
        return
    assert Path(found.kernel).parent == folder

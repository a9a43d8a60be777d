"""Virtual functions of cards, on a tree of files as the kernel shows it."""

import os
from pathlib import Path

import pytest

from xapi_py.base.rpc.errors import RpcError
from xcp_networkd.linux import hardware
from xcp_networkd.linux.functions import VirtualFunctions


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """The folder of eth1, which can show eleven functions."""
    folder = tmp_path / "class/net/eth1/device"
    folder.mkdir(parents=True)
    (folder / "sriov_totalvfs").write_text("11\n")
    (folder / "sriov_numvfs").write_text("0\n")
    return folder


def test_functions_are_shown_all_and_hidden_all(tmp_path: Path, card: Path) -> None:
    functions = VirtualFunctions(tmp_path)
    functions.show("eth1")
    assert ((card / "sriov_numvfs").read_text(), functions.shown("eth1")) == ("11", True)
    functions.hide("eth1")
    assert ((card / "sriov_numvfs").read_text(), functions.shown("eth1")) == ("0", False)


def test_number_somebody_else_chose_stays(tmp_path: Path, card: Path) -> None:
    (card / "sriov_numvfs").write_text("3\n")
    VirtualFunctions(tmp_path).show("eth1")
    assert (card / "sriov_numvfs").read_text() == "3\n"


def test_functions_come_in_the_order_of_the_card(tmp_path: Path, card: Path) -> None:
    for number in range(11):
        (card / f"virtfn{number}").symlink_to(f"../0000:03:1{number // 8}.{number % 8}")
    found = VirtualFunctions(tmp_path).addresses("eth1")
    assert found == tuple(f"0000:03:1{n // 8}.{n % 8}" for n in range(11))


def test_card_without_functions_is_named(tmp_path: Path, card: Path) -> None:
    functions = VirtualFunctions(tmp_path)
    assert (functions.capabilities("eth1"), functions.capabilities("eth0")) == (("sriov",), ())
    with pytest.raises(RpcError, match="eth0 has no virtual functions"):
        functions.show("eth0")
    assert (functions.shown("eth0"), functions.addresses("eth0")) == (False, ())


def test_refusal_of_the_driver_is_told(tmp_path: Path, card: Path) -> None:
    os.remove(card / "sriov_numvfs")
    (card / "sriov_numvfs").mkdir()
    with pytest.raises(RpcError, match="eth1: 11 virtual functions: Is a directory"):
        VirtualFunctions(tmp_path).show("eth1")


def test_function_is_told_from_a_card(tmp_path: Path) -> None:
    (tmp_path / "0000:03:10.0").mkdir()
    (tmp_path / "0000:03:10.0/physfn").symlink_to("../0000:03:00.0")
    (tmp_path / "0000:03:00.0").mkdir()
    found = [hardware.is_virtual_function(p, tmp_path) for p in ("0000:03:10.0", "0000:03:00.0")]
    assert found == [True, False]
    assert not hardware.is_virtual_function("virtio3", tmp_path)

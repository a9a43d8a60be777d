"""Device names and ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xapi_py.base import disk_names as names
from xapi_py.base.disk_names import DiskPosition


@pytest.mark.parametrize(
    ("position", "number"),
    [
        (DiskPosition("xvd", 0), 51712),
        (DiskPosition("xvd", 1), 51728),
        (DiskPosition("xvd", 15), 51952),
        (DiskPosition("xvd", 16), 268439552),
        (DiskPosition("hd", 0), 768),
        (DiskPosition("hd", 1), 832),
        (DiskPosition("hd", 2), 5632),
        (DiskPosition("hd", 3), 5696),
        (DiskPosition("fd", 0), 51968),
    ],
)
def test_known_device_ids(position: DiskPosition, number: int) -> None:
    assert names.device_id(position) == number
    assert names.from_device_id(number) == position


@given(st.integers(0, names.MAX_DISK), st.integers(0, 15))
def test_xen_ids_survive_the_round_trip(disk: int, part: int) -> None:
    position = DiskPosition("xvd", disk, part)
    assert names.from_device_id(names.device_id(position)) == position


@given(st.integers(0, 10**6))
def test_letters_survive_the_round_trip(number: int) -> None:
    assert names.from_letters(names.letters(number)) == number


@pytest.mark.parametrize(("number", "text"), [(0, "a"), (25, "z"), (26, "aa"), (701, "zz")])
def test_letters(number: int, text: str) -> None:
    assert names.letters(number) == text


@pytest.mark.parametrize(
    ("text", "hvm", "shown"),
    [
        ("0", True, "xvda"),
        ("3", True, "xvdd"),
        ("4", False, "xvde"),
        ("xvdb1", False, "xvdb1"),
        ("hdc", True, "xvdc"),
        ("sda", True, "sda"),
        ("d2p1", False, "xvdc1"),
        ("fd0", True, "fda"),
    ],
)
def test_userdevice_gives_guest_name(text: str, hvm: bool, shown: str) -> None:
    position = names.parse_device(text, hvm)
    assert position is not None
    assert names.linux_name(position) == shown


@pytest.mark.parametrize("text", ["", "-1", "x", "xvd", "xvdA", "1.5", "autodetect", "0x3", "١"])
def test_nonsense_is_no_device(text: str) -> None:
    assert names.parse_device(text, True) is None


def test_low_numbers_are_ide_for_hvm_only() -> None:
    assert names.parse_device("3", True) == DiskPosition("hd", 3)
    assert names.parse_device("3", False) == DiskPosition("xvd", 3)
    assert names.parse_device("4", True) == DiskPosition("xvd", 4)


def test_every_disk_of_every_bus_has_an_id_of_its_own() -> None:
    """All that a userdevice can name: 0..254 on both buses, and what XenStore can hold."""
    positions = [DiskPosition("xvd", n, p) for n in range(300) for p in range(16)]
    positions += [DiskPosition("hd", n, p) for n in range(20) for p in range(64)]
    positions += [DiskPosition("sd", n, p) for n in range(16) for p in range(16)]
    positions += [DiskPosition("fd", n) for n in range(2)]
    ids = [names.device_id(position) for position in positions]
    assert len(set(ids)) == len(ids)
    assert [names.from_device_id(number) for number in ids] == positions


@pytest.mark.parametrize(
    "position",
    [
        DiskPosition("hd", 20),
        DiskPosition("sd", 16),
        DiskPosition("fd", 2),
        DiskPosition("xvd", 1 << 20),
        DiskPosition("xvd", 0, 256),
        DiskPosition("hd", 0, 64),
    ],
)
def test_what_no_id_can_hold_is_refused(position: DiskPosition) -> None:
    with pytest.raises(ValueError, match="no device id"):
        names.device_id(position)

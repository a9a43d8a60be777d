from pathlib import Path

from xcp_networkd.linux import hardware

LIST = """\
# a list
8086  Intel Corporation
\t1000  Another card
\t10fb  82599ES 10-Gigabit SFI/SFP+ Network Connection
10ec  Realtek
\t10fb  Not this one
"""


def test_card_is_described_by_slot_vendor_and_product(tmp_path: Path) -> None:
    (tmp_path / "pci.ids").write_text(LIST)
    card = tmp_path / "0000:03:00.1"
    card.mkdir()
    (card / "vendor").write_text("0x8086\n")
    (card / "device").write_text("0x10fb\n")
    assert hardware.describe("0000:03:00.1", tmp_path, (tmp_path / "pci.ids",)) == (
        "0000:03:00.1",
        "Intel Corporation",
        "82599ES 10-Gigabit SFI/SFP+ Network Connection",
    )


def test_unknown_numbers_stay_numbers(tmp_path: Path) -> None:
    (tmp_path / "pci.ids").write_text(LIST)
    lists = (tmp_path / "pci.ids", tmp_path / "absent")
    assert hardware.names("8086", "ffff", lists) == ("Intel Corporation", "ffff")
    assert hardware.names("beef", "0001", lists) == ("beef", "0001")


def test_device_without_slot_has_no_description() -> None:
    assert hardware.describe("") == ("", "", "")

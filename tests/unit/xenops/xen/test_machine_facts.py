"""PCI devices, kernel and start of a machine, from files as a Debian control domain has them."""

from pathlib import Path

import pytest

from xenops.backends.contract import PciDevice
from xenops.backends.xen import machine_facts

IDS = """\
# comment
1af4  Red Hat, Inc.
\t1000  Virtio network device
\t\t1af4 0001  QEMU adapter
\t1001  Virtio block device
8086  Intel Corporation
\t10fb  82599ES 10-Gigabit SFI/SFP+ Network Connection
\t\t103c 17d3  Ethernet 10Gb 2-port 560SFP+ Adapter
\t29c0  82G33/G31/P35/P31 Express DRAM Controller
103c  Hewlett-Packard Company
C 02  Network controller
\t00  Ethernet controller
C 03  Display controller
\t00  VGA compatible controller
\t\t00  VGA controller
"""
CARD = PciDevice("0000:03:00.0", "0200", "8086", "10fb", "103c", "17d3")


def test_devices_get_the_names_of_all_their_numbers():
    (card,) = machine_facts.named([CARD], IDS.splitlines())
    assert (card.class_name, card.vendor_name) == ("Ethernet controller", "Intel Corporation")
    assert card.device_name == "82599ES 10-Gigabit SFI/SFP+ Network Connection"
    assert card.subsystem_vendor_name == "Hewlett-Packard Company"
    assert card.subsystem_device_name == "Ethernet 10Gb 2-port 560SFP+ Adapter"


def test_unknown_numbers_have_the_name_of_their_wider_class_or_none():
    device = PciDevice("0000:00:01.0", "0380", "ffff", "0001")
    (found,) = machine_facts.named([device], IDS.splitlines())
    assert (found.class_name, found.vendor_name, found.device_name) == (
        "Display controller",
        "",
        "",
    )


def test_a_machine_is_read_from_its_files(tmp_path: Path):
    folder = tmp_path / "sys/bus/pci/devices/0000:00:02.0"
    folder.mkdir(parents=True)
    numbers = {"class": "0x020000", "vendor": "0x1af4", "device": "0x1000"}
    numbers |= {"subsystem_vendor": "0x1af4", "subsystem_device": "0x0001"}
    for name, text in numbers.items():
        (folder / name).write_text(text + "\n")
    (folder / "driver").symlink_to("../../../bus/pci/drivers/virtio-pci")
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/stat").write_text("cpu  1 2 3\nbtime 1790000000\n")
    (tmp_path / "proc/sys/kernel/osrelease").write_text("6.1.0-50-amd64\n")
    (tmp_path / "usr/share/misc").mkdir(parents=True)
    (tmp_path / "usr/share/misc/pci.ids").write_text(IDS)
    found = machine_facts.read(tmp_path)
    assert (found.boot_time, found.kernel) == (1790000000, "6.1.0-50-amd64")
    (card,) = found.pcis
    assert (card.address, card.class_id, card.driver) == ("0000:00:02.0", "0200", "virtio-pci")
    assert card.subsystem_device_name == "QEMU adapter"


@pytest.mark.parametrize("text", ["", "btime\n", "btime x\n", "cpu 1\n"])
def test_a_start_nobody_tells_is_zero(text: str):
    assert machine_facts.parse_boot_time(text) == 0


def test_a_machine_that_tells_nothing_has_no_facts(tmp_path: Path):
    assert machine_facts.read(tmp_path) == machine_facts.MachineFacts()

"""The command lines QEMU is started with."""

import orjson
import pytest

from tests.unit.xenops.factories import MIB, make_md
from xenops.backends.xen import qemu_command
from xenops.backends.xen.qemu_command import Drive
from xenops.metadata import VmMetadata


def line(md: VmMetadata, *drives: Drive, restore: bool = False) -> list[str]:
    return qemu_command.machine(7, md, drives, vnc="/run/vnc", restore=restore)


def option(words: list[str], name: str) -> list[str]:
    return [words[i + 1] for i, word in enumerate(words) if word == name]


def test_the_hardware_of_a_guest() -> None:
    md = make_md(name="a, b", memory_mib=(256, 256, 256), vcpus=1, vcpu_max=2)
    words = line(md)
    assert option(words, "-xen-domid") == ["7"]
    assert option(words, "-name") == ["a,, b"]
    assert option(words, "-m") == ["size=252M"]
    assert option(words, "-smp") == ["1,maxcpus=2"]
    assert option(words, "-vnc") == ["unix:/run/vnc"]
    assert option(words, "-boot") == ["order=cd"]
    assert "cirrus-vga,vgamem_mb=4" in option(words, "-device")
    assert "-S" in words and "-incoming" not in words
    assert md.vm.memory_static_max == 256 * MIB


def test_a_restored_guest_reads_its_hardware_from_a_file() -> None:
    assert option(line(make_md(), restore=True), "-incoming") == ["fd:4"]


@pytest.mark.parametrize(
    ("order", "used"), [("", "cd"), ("n", "n"), ("DCN", "dcn"), ("x", "cd"), ("cc", "c")]
)
def test_boot_orders(order: str, used: str) -> None:
    assert option(line(make_md(hvm={"boot_order": order})), "-boot") == [f"order={used}"]


def test_drives_are_on_ide_by_their_place() -> None:
    words = line(
        make_md(),
        Drive("xvda", "Disk", "RW", "/dev/vg/a", block=True),
        Drive("xvdb", "Disk", "RO", "/dev/vg/b", block=True),
        Drive("xvdd", "CDROM", "RO"),
        Drive("xvde", "Disk", "RW", "/dev/vg/e", block=True),
    )
    devices = option(words, "-device")
    assert "ide-hd,id=ide0-0,bus=ide.0,unit=0,drive=ide0-0-medium,bios-chs-trans=lba" in devices
    assert "ide-cd,id=ide1-1,bus=ide.1,unit=1" in devices
    (data,) = option(words, "-blockdev")
    assert orjson.loads(data)["file"]["filename"] == "/dev/vg/a"
    assert sum(device.startswith("ide-") for device in devices) == 2


def test_a_cd_is_never_written_to() -> None:
    words = line(make_md(), Drive("xvdd", "CDROM", "RW", "/a.iso"))
    assert orjson.loads(option(words, "-blockdev")[0])["read-only"] is True


def test_at_most_eight_network_cards_in_the_order_of_their_numbers() -> None:
    vifs = [
        {"device": str(n), "mac": f"02:00:00:00:00:{n:02x}", "bridge": "b"}
        for n in reversed(range(10))
    ]
    words = line(make_md(vifs=vifs, platformdata={"nic_type": "e1000"}))
    cards = [d for d in option(words, "-device") if d.startswith("e1000")]
    assert [card.split("netdev=")[1].split(",")[0] for card in cards] == [
        f"tap7.{n}" for n in range(8)
    ]
    assert option(line(make_md(vifs=[])), "-net") == ["none"]


def test_settings_of_the_platform() -> None:
    plain = make_md(platformdata={"usb": "false", "parallel": "/dev/sda"}, hvm={"acpi": False})
    words = line(plain)
    assert "-usb" not in words and "-no-acpi" in words
    assert option(words, "-parallel") == ["null"]
    tablet = line(make_md(platformdata={"usb_tablet": "0"}))
    assert "-usb" in tablet and "usb-tablet,port=2" not in tablet
    assert option(line(make_md(hvm={"serial": None})), "-serial") == ["null"]
    video = make_md(hvm={"video": "Standard_VGA", "video_mib": 9})
    assert "VGA,vgamem_mb=16" in option(line(video), "-device")


def test_a_server_of_disks_has_no_guest_of_its_own() -> None:
    words = qemu_command.disk_server(7, "disks-7")
    assert "-xen-attach" in words
    assert option(words, "-machine") == ["xenpv"]
    assert option(words, "-chardev") == ["socket,id=qmp,fd=3,server=on,wait=off"]

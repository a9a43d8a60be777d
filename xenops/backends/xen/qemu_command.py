"""QEMU's command lines; pure.

For guests with emulated hardware the options are those of Xen's own
toolstack, which Debian's QEMU is built for; device names and the order of the
hardware follow the reference toolstack, so that guests find what they know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from xapi_py.base.disk_names import IDE
from xenops.backends.xen.devices import vbd_layout, vif_layout
from xenops.metadata import VmMetadata

QMP_FD: Final = 3
RESTORE_FD: Final = 4
MAX_NICS: Final = 8
MAX_BELOW_4G: Final = 0xF000_0000
NIC_MODELS: Final = ("rtl8139", "e1000", "ne2k_pci", "pcnet", "virtio-net-pci")


@dataclass(frozen=True, slots=True)
class Drive:
    """A drive on IDE: its data, nothing for an empty one."""

    device: str
    ty: str
    mode: str
    path: str = ""
    block: bool = False


def drive_id(device: str) -> str:
    """Name a drive by its place: ``ide1-cd0`` is the first of the second channel.

    Errors: Does_not_exist for what is not on IDE.
    """
    number = ide_number(device)
    return f"ide{number // 2}-{number % 2}"


def ide_number(device: str) -> int:
    """Give a drive's place among the four of IDE, or -1."""
    where = vbd_layout.position(device, hvm=True)
    return where.disk if where.bus == IDE and not where.partition else -1


def medium_node(device: str) -> str:
    """Name the data of a drive."""
    return f"{drive_id(device)}-medium"


def emulated(drives: Sequence[Drive]) -> list[Drive]:
    """Choose what QEMU emulates: four drives, and no read-only hard disk."""
    return [
        drive
        for drive in drives
        if 0 <= ide_number(drive.device) < vbd_layout.IDE_DISKS
        and drive.ty != "Floppy"
        and (drive.ty == "CDROM" or drive.mode == "RW")
    ]


def machine(
    domid: int, md: VmMetadata, drives: Sequence[Drive], *, vnc: str, restore: bool
) -> list[str]:
    """Give the command line, without the program, of a guest's emulated hardware.

    QMP is served on the listening socket ``QMP_FD``; the guest's hardware
    stands still until ``cont``.  With ``restore`` its state is read from
    ``RESTORE_FD``.
    """
    vm = md.vm
    platform = vm.platformdata
    # What the guest sees as video memory is not its ordinary memory.
    memory_mib = vm.memory_static_max // (1 << 20) - vm.hvm.video_mib
    line = [
        *("-xen-domid", f"{domid}", "-name", _comma(vm.name or vm.id), "-no-shutdown"),
        *("-nodefaults", "-no-user-config", "-S"),
        *_qmp(),
        *("-machine", f"xenfv,max-ram-below-4g={MAX_BELOW_4G},suppress-vmdesc=on"),
        *("-m", f"size={memory_mib}M"),
        *("-smp", f"{vm.vcpus},maxcpus={vm.vcpu_max}"),
        *("-boot", f"order={_boot_order(vm.hvm.boot_order)}"),
        *("-display", "none", "-vnc", f"unix:{vnc}"),
        *(("-k", vm.hvm.keymap) if vm.hvm.keymap else ()),
        *(() if vm.hvm.acpi else ("-no-acpi",)),
        *_video(md),
        *("-serial", vm.hvm.serial or "null"),
        *("-parallel", _parallel(platform.get("parallel", ""))),
        *_usb(platform),
        *(word for drive in emulated(drives) for word in _drive(drive)),
        *_nics(domid, md),
    ]
    return [*line, "-incoming", f"fd:{RESTORE_FD}"] if restore else line


def disk_server(domid: int, name: str) -> list[str]:
    """Give the command line of a process that serves paravirtual disks to a domain."""
    return [
        *("-xen-domid", f"{domid}", "-xen-attach", "-name", _comma(name), "-no-shutdown"),
        *("-nodefaults", "-no-user-config", "-machine", "xenpv", "-m", "size=1M"),
        *("-display", "none", *_qmp()),
    ]


def _qmp() -> list[str]:
    listening = f"socket,id=qmp,fd={QMP_FD},server=on,wait=off"
    return ["-chardev", listening, "-mon", "chardev=qmp,mode=control", "-monitor", "null"]


def _comma(text: str) -> str:
    """Double commas, which otherwise begin another option."""
    return text.replace(",", ",,")


def _boot_order(order: str) -> str:
    """Keep what QEMU knows; an empty order makes it fail."""
    known = "".join(c for c in dict.fromkeys(order.lower()) if c in "acdn")
    return known or "cd"


def _video(md: VmMetadata) -> list[str]:
    size_mib = max(4, md.vm.hvm.video_mib)
    standard = md.vm.hvm.video.lower().startswith("std") or md.vm.hvm.video == "Standard_VGA"
    card = "VGA" if standard else "cirrus-vga"
    return ["-device", f"{card},vgamem_mb={1 << (size_mib - 1).bit_length()}"]


def _parallel(text: str) -> str:
    return text if text.startswith("/dev/parport") else "null"


def _usb(platform: Mapping[str, str]) -> list[str]:
    off = ("false", "0")
    if platform.get("usb", "true").lower() in off:
        return []
    tablet = platform.get("usb_tablet", "true").lower() not in off
    return ["-usb", *(("-device", "usb-tablet,port=2") if tablet else ())]


def _drive(drive: Drive) -> list[str]:
    number = ide_number(drive.device)
    kind = "ide-cd" if drive.ty == "CDROM" else "ide-hd"
    device = f"{kind},id={drive_id(drive.device)},bus=ide.{number // 2},unit={number % 2}"
    if not drive.path:
        return ["-device", device]
    name = medium_node(drive.device)
    writable = drive.mode == "RW" and drive.ty != "CDROM"
    data = vbd_layout.data_node(name, drive.path, writable=writable, block=drive.block)
    chs = ",bios-chs-trans=lba" if kind == "ide-hd" else ""
    return ["-blockdev", orjson.dumps(data).decode(), "-device", f"{device},drive={name}{chs}"]


def _nics(domid: int, md: VmMetadata) -> list[str]:
    model = md.vm.platformdata.get("nic_type", "")
    model = model if model in NIC_MODELS else NIC_MODELS[0]
    vifs = sorted(md.vifs, key=lambda vif: vif_layout.devid(vif.device))[:MAX_NICS]
    line: list[str] = []
    for vif in vifs:
        devid = vif_layout.devid(vif.device)
        name = vif_layout.tap(domid, devid)
        line += ["-netdev", f"tap,id={name},ifname={name},script=no,downscript=no"]
        line += ["-device", f"{model},netdev={name},mac={vif.mac},romfile="]
    return line or ["-net", "none"]

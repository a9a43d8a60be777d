"""Block devices in xenstore and for QEMU; pure.

Sources: Xen's blkif.h and the vbd-interface document; the reference
toolstack's keys (XENOPS, section 8).
"""

import re
import stat
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson

from xapi_py.base.config import build
from xapi_py.base.disk_names import (
    IDE,
    XEN,
    DiskPosition,
    device_id,
    from_device_id,
    letters,
    parse_device,
)
from xenops import errors
from xenops.backends.xen.devices.nodes import Node, Place, device_nodes, mirror_nodes
from xenops.metadata import Disk, Vbd

_NBD: Final = re.compile(r"nbd:unix:(?P<socket>[^:]+)(?::exportname=(?P<export>.*))?")
IDE_DISKS: Final = 4
DEVICE_TYPES: Final = {"Disk": "disk", "CDROM": "cdrom", "Floppy": "floppy"}
POLLING: Final = {"polling-duration": (8000, 1 << 31), "polling-idle-threshold": (50, 100)}
"""Keys of the fast data path: default and highest value."""


class Served(StrEnum):
    """Who serves a disk to the guest."""

    KERNEL = "vbd"
    """Linux' blkback, from a block device or a file below a loop device."""

    QEMU = "qdisk"
    """A QEMU process, from what only QEMU can read."""

    EMULATED = "cdrom"
    """Only the emulated drive: a CD of a guest with emulated hardware."""


@dataclass(frozen=True, slots=True)
class NbdExport:
    """A disk's data behind a unix socket."""

    socket: str
    export: str


def nbd_export(path: str) -> NbdExport | None:
    """Read ``nbd:unix:SOCKET:exportname=NAME``; None for anything else."""
    match = _NBD.fullmatch(path)
    return None if match is None else NbdExport(match["socket"], match["export"] or "")


def position(device: str, *, hvm: bool) -> DiskPosition:
    """Tell where a device sits: the first four of an emulated PC are on IDE.

    Errors: Does_not_exist for what is no device name.
    """
    found = parse_device(device, hvm)
    if found is None:
        raise errors.does_not_exist("VBD", device)
    if hvm and found.bus == XEN and found.disk < IDE_DISKS and not found.partition:
        return DiskPosition(IDE, found.disk)
    return found


def devid(device: str, *, hvm: bool) -> int:
    """Give the number of a device in xenstore.  Errors: Does_not_exist."""
    try:
        return device_id(position(device, hvm=hvm))
    except ValueError as error:
        raise errors.does_not_exist("VBD", device) from error


def served_by(vbd: Vbd, path: str, *, hvm: bool) -> Served:
    """Choose who serves a disk whose data is at ``path``."""
    if hvm and vbd.ty != "Disk":
        return Served.EMULATED
    if vbd.extra_backend_keys.get("backend-kind") == Served.QEMU or nbd_export(path):
        return Served.QEMU
    return Served.KERNEL


@dataclass(frozen=True, slots=True)
class PluggedDisk:
    """What we remember of a plugged disk; it outlives the daemon in the mirror.

    ``path`` is what the storage gave, ``loop`` the loop device over it, both
    empty without a medium.
    """

    device: str
    devid: int
    ty: str
    mode: str
    served: str
    path: str = ""
    loop: str = ""
    sr: str = ""
    vdi: str = ""
    disk_path: str = ""
    unpluggable: bool = True

    @property
    def disk(self) -> Disk | None:
        """The medium."""
        if not (self.vdi or self.disk_path):
            return None
        return Disk(self.sr, self.vdi, self.disk_path)

    @property
    def node(self) -> str:
        """The name of its data in the QEMU process that serves it."""
        return f"disk-{self.devid}"

    def record(self) -> str:
        """Give the text that ``read_record`` reads."""
        return orjson.dumps(self).decode()


def read_record(text: str) -> PluggedDisk:
    """Read a record back.  Errors: ConfigError, ValueError."""
    return build(orjson.loads(text), PluggedDisk, "record")


def place(domid: int, vm: str, disk: PluggedDisk) -> Place:
    """Tell where a disk is in xenstore."""
    kind = Served.KERNEL if disk.served == Served.EMULATED else disk.served
    return Place(domid, vm, "vbd", disk.devid, str(kind))


def physical_device(mode: int, rdev: int) -> str:
    """Give what blkback opens: hexadecimal major:minor.  Errors: ValueError for no block device."""
    if not stat.S_ISBLK(mode):
        raise ValueError("not a block device")
    return f"{(rdev >> 8) & 0xFFF:x}:{(rdev & 0xFF) | ((rdev >> 12) & 0xFFF00):x}"


def kernel_nodes(where: Place, vbd: Vbd, disk: PluggedDisk, physical: str) -> list[Node]:
    """Give the nodes of a disk that blkback serves.

    ``physical`` is empty for a drive that only QEMU emulates: blkback then
    waits for ever, and the guest leaves such a frontend alone.
    """
    frontend = {
        "virtual-device": f"{disk.devid}",
        "device-type": DEVICE_TYPES[disk.ty],
    }
    backend = {
        "removable": "1" if vbd.unpluggable else "0",
        "bootable": "1" if disk.device.endswith("a") else "0",
        "dev": disk.device,
        "type": "phy" if physical else "file",
        "mode": "w" if disk.mode == "RW" else "r",
        "params": disk.loop or disk.path,
        **extra_keys(vbd),
        "vdi": orjson.dumps(disk.disk).decode(),
    }
    if physical:
        backend |= {
            "physical-device": physical,
            "physical-device-path": disk.loop or disk.path,
            "hotplug-status": "connected",
        }
    return [
        *device_nodes(where, frontend, backend, private_keys(where, vbd, disk), disk.record()),
        Node(f"{where.hotplug}/hotplug", "online"),
    ]


def qemu_nodes(where: Place, vbd: Vbd, disk: PluggedDisk) -> list[Node]:
    """Give our own nodes of a disk that QEMU serves: it writes the two sides itself."""
    return [
        *mirror_nodes(where, private_keys(where, vbd, disk), disk.record()),
        Node(f"{where.hotplug}/hotplug", "online"),
    ]


def medium_keys(where: Place, disk: PluggedDisk) -> dict[str, str]:
    """Give the keys to write when a drive has got, or lost, its medium."""
    return {
        f"{where.backend}/params": disk.path,
        f"{where.backend}/type": "file",
        **name_keys(where, disk),
    }


def name_keys(where: Place, disk: PluggedDisk) -> dict[str, str]:
    """Give the keys that say which disk it is."""
    return {
        f"{where.mirror}/record": disk.record(),
        f"{where.backend}/vdi": orjson.dumps(disk.disk).decode(),
        f"{where.private}/vdi-id": vdi_id(disk),
    }


def vdi_id(disk: PluggedDisk) -> str:
    """Name a disk for the control domain; empty for none."""
    return f"{disk.sr}/{disk.vdi}" if disk.vdi else disk.disk_path


def extra_keys(vbd: Vbd) -> dict[str, str]:
    """Give the backend keys that come from the storage and from the VBD's settings."""
    keys = {k: v for k, v in vbd.extra_backend_keys.items() if k not in POLLING}
    for key, (default, most) in POLLING.items():
        text = vbd.extra_backend_keys.get(key, "")
        keys[key] = text if text.isdecimal() and int(text) <= most else f"{default}"
    return keys


def private_keys(where: Place, vbd: Vbd, disk: PluggedDisk) -> dict[str, str]:
    """Give what only the control domain sees of a disk."""
    return {
        "backend-kind": where.backend_kind,
        "backend-id": f"{where.backend_domid}",
        "dp-id": f"vbd/{where.domid}/{disk.device}",
        "vdi-id": vdi_id(disk),
        "vbd-id": f"{where.vm}.{disk.device}",
        **vbd.extra_private_keys,
    }


def data_node(name: str, path: str, *, writable: bool, block: bool) -> dict[str, object]:
    """Give QEMU's ``blockdev-add`` of a disk's data; the format is never guessed.

    ``block`` says that ``path`` is a block device.
    """
    options: dict[str, object] = {"node-name": name, "read-only": not writable}
    export = nbd_export(path)
    if export is not None:
        server = {"type": "unix", "path": export.socket}
        return options | {
            "driver": "nbd",
            "server": server,
            "export": export.export,
            "reconnect-delay": 60,
            "discard": "unmap",
        }
    driver = "host_device" if block else "file"
    file: dict[str, object] = {"driver": driver, "filename": path, "locking": "off"}
    if block:
        file |= {"cache": {"direct": True, "no-flush": False}}
    return options | {"driver": "raw", "file": file}


def xen_disk(disk: PluggedDisk) -> dict[str, object]:
    """Give QEMU's ``device_add`` of a paravirtual disk."""
    kind = "xen-cdrom" if disk.ty == "CDROM" else "xen-disk"
    where = from_device_id(disk.devid)
    partition = str(where.partition or "")
    vdev = f"{where.bus}{letters(where.disk)}{partition}"
    return {"driver": kind, "id": f"xen-{disk.node}", "drive": disk.node, "vdev": vdev}

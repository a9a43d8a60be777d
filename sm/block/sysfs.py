"""SCSI disks and adapters as the kernel shows them below ``/sys``.  Blocking."""

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sm.block import scsi

SECTOR: Final = 512
_ADDRESS: Final = re.compile(r"(\d+):(\d+):(\d+):(\d+)")
_OVER: Final = re.compile(r"\bover (\S+)")

NO_ADAPTERS: Final = frozenset(
    ["ahci", "ata_piix", "usb-storage", "uas", "iscsi_tcp", "ib_iser", "virtio_scsi", "sbp2"]
    + ["vmw_pvscsi", "xen-scsifront", "ppa", "imm"]
)
"""Drivers of SCSI hosts that are no host bus adapters."""

FCOE_DRIVERS: Final = frozenset(["fcoe", "bnx2fc", "qedf", "fnic"])


@dataclass(frozen=True, slots=True)
class ScsiDisk:
    """A block device of a SCSI disk: one path to a LUN."""

    name: str
    host: int
    channel: int
    target: int
    lun: int
    vendor: str
    model: str
    serial: str
    scsi_id: str
    size_bytes: int
    place: str = ""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A host bus adapter; ``port`` are members of its FC port, ``eth`` the NIC of an FCoE one."""

    host: int
    driver: str
    fcoe: bool = False
    eth: str = ""
    port: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the kernel calls it."""
        return f"host{self.host}"


def read(path: Path) -> str:
    """Give the text of a file, or nothing."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _numbers(folder: Path, prefix: str) -> list[int]:
    with contextlib.suppress(OSError):
        names = (p.name.removeprefix(prefix) for p in folder.iterdir())
        return sorted(int(n) for n in names if n.isdigit())
    return []


class Sysfs:
    """The kernel's view; ``root`` is ``/sys``, or a copy of it in tests."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def disks(self) -> list[ScsiDisk]:
        """All SCSI disks, by address."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for entry in (self.root / "block").iterdir():
                disk = self._disk(entry)
                if disk is not None:
                    found.append(disk)
        return sorted(found, key=lambda d: (d.host, d.channel, d.target, d.lun, d.name))

    def _disk(self, entry: Path) -> ScsiDisk | None:
        device = (entry / "device").resolve()
        address = _ADDRESS.fullmatch(device.name)
        if address is None:
            return None
        standard, page80 = _bytes(device / "inquiry"), _bytes(device / "vpd_pg80")
        if read(device / "type") not in ("0", ""):
            return None
        sectors = read(entry / "size")
        host, channel, target, lun = map(int, address.groups())
        return ScsiDisk(
            entry.name,
            host,
            channel,
            target,
            lun,
            vendor=read(device / "vendor"),
            model=read(device / "model"),
            serial=scsi.serial(page80),
            scsi_id=scsi.scsi_id(_bytes(device / "vpd_pg83"), page80, standard),
            size_bytes=int(sectors) * SECTOR if sectors.isdigit() else 0,
            place=str(device),
        )

    def paths_of(self, scsi_id: str) -> list[ScsiDisk]:
        """The paths to a LUN, those that work first."""
        paths = [d for d in self.disks() if d.scsi_id == scsi_id and d.size_bytes]
        return sorted(paths, key=lambda d: read(Path(d.place) / "state") not in ("running", ""))

    def adapters(self) -> list[Adapter]:
        """All host bus adapters, by number."""
        folder = self.root / "class"
        found = []
        for number in _numbers(folder / "scsi_host", "host"):
            driver = read(folder / "scsi_host" / f"host{number}" / "proc_name")
            fc_host = folder / "fc_host" / f"host{number}"
            port: dict[str, str] = {}
            if fc_host.is_dir():
                names = ("node_name", "port_name", "port_state", "speed", "supported_classes")
                port = {n: read(fc_host / n) for n in names}
            symbolic = read(fc_host / "symbolic_name")
            over = _OVER.search(symbolic)
            fcoe = driver in FCOE_DRIVERS or symbolic.startswith("fcoe")
            if driver in ("", "<NULL>", "(null)"):
                driver = "fcoe" if fcoe else driver
            if driver in NO_ADAPTERS or not driver:
                continue
            eth = over[1] if fcoe and over else ""
            found.append(Adapter(number, driver, fcoe, eth, {k: v for k, v in port.items() if v}))
        return found

    def scan(self, hosts: Iterable[int]) -> None:
        """Have the kernel look for LUNs behind SCSI hosts; what cannot be scanned is left out."""
        for host in hosts:
            with contextlib.suppress(OSError):
                (self.root / "class" / "scsi_host" / f"host{host}" / "scan").write_text("- - -")

    def rescan(self, disk: str) -> None:
        """Have the kernel read a disk's size again."""
        with contextlib.suppress(OSError):
            (self.root / "block" / disk / "device" / "rescan").write_text("1")

    def holders(self, name: str) -> list[str]:
        """Block devices that are made of one."""
        with contextlib.suppress(OSError):
            return sorted(p.name for p in (self.root / "block" / name / "holders").iterdir())
        return []

    def mapper_uuid(self, name: str) -> str:
        """What made a device-mapper device: ``mpath-...`` or ``LVM-...``."""
        return read(self.root / "block" / name / "dm" / "uuid")

    def in_use(self, name: str) -> bool:
        """Whether something is made of a disk, or of the multipath device above it."""
        return any(
            not self.mapper_uuid(holder).startswith("mpath-") or self.in_use(holder)
            for holder in self.holders(name)
        )

    def multipath_device(self, scsi_id: str) -> str:
        """Name of the multipath device of a LUN, or nothing."""
        with contextlib.suppress(FileNotFoundError):
            for entry in (self.root / "block").iterdir():
                if self.mapper_uuid(entry.name) == f"mpath-{scsi_id}":
                    return read(entry / "dm" / "name")
        return ""

    def sessions(self, iqn: str) -> list[tuple[str, str]]:
        """Sessions of the kernel with an iSCSI target: names, and ``address:port`` of each."""
        found = []
        folder = self.root / "class" / "iscsi_session"
        for number in _numbers(folder, "session"):
            if read(folder / f"session{number}" / "targetname") == iqn:
                line = self.root / "class" / "iscsi_connection" / f"connection{number}:0"
                address = read(line / "persistent_address")
                found.append((f"session{number}", f"{address}:{read(line / 'persistent_port')}"))
        return found

"""LUNs behind host bus adapters: FC, SAS, FCoE.  Blocking.

Source: briefs, storage section 3.2.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from sm import probe_xml
from sm.block.scsi import Lun
from sm.block.sysfs import Adapter, ScsiDisk, Sysfs

FC_TYPES: Final = ("", "any", "FC", "SAS", "iSCSI")


class Adapters:
    """The adapters of this host that an SR type uses, and what is behind them."""

    def __init__(self, sysfs: Sysfs, wanted: Callable[[Adapter], bool]) -> None:
        self._sysfs = sysfs
        self.adapters = [a for a in sysfs.adapters() if wanted(a)]

    def scan(self) -> None:
        """Have the kernel look for new LUNs."""
        self._sysfs.scan(a.host for a in self.adapters)

    def paths(self) -> dict[str, list[ScsiDisk]]:
        """Paths to disks by SCSIid; disks without a name are left out."""
        hosts = {a.host for a in self.adapters}
        found: dict[str, list[ScsiDisk]] = {}
        for disk in self._sysfs.disks():
            if disk.host in hosts and disk.scsi_id and disk.size_bytes:
                found.setdefault(disk.scsi_id, []).append(disk)
        return found

    def luns(self) -> list[Lun]:
        """All disks, by their first path."""
        return [
            Lun(
                paths[0].lun,
                paths[0].vendor,
                paths[0].serial,
                scsi_id,
                paths[0].size_bytes,
                paths[0].model,
                tuple(p.name for p in paths),
            )
            for scsi_id, paths in self.paths().items()
        ]

    def document(self, dev: Path, hidden: Iterable[str]) -> str:
        """Give the document of free disks and of adapters; ``hidden`` are SCSIids in use."""
        by_host = {a.host: a for a in self.adapters}
        left_out = set(hidden)
        devices = [
            _device(dev, paths, by_host[paths[0].host])
            for scsi_id, paths in self.paths().items()
            if scsi_id not in left_out
        ]
        adapters = [(_described(a), list(a.port.items())) for a in self.adapters]
        return probe_xml.block_devices(devices, adapters)


def _device(dev: Path, paths: list[ScsiDisk], adapter: Adapter) -> list[tuple[str, str]]:
    first, more = paths[0], "".join(f" [{p.name}]" for p in paths[1:])
    members: Mapping[str, object] = {
        "path": f"{dev / first.name}{more}",
        "numpaths": len(paths),
        "SCSIid": first.scsi_id,
        "vendor": first.vendor,
        "serial": first.serial,
        "size": first.size_bytes,
        "adapter": first.host,
        "channel": first.channel,
        "id": first.target,
        "lun": first.lun,
        "hba": adapter.driver,
        **({"eth": adapter.eth} if adapter.eth else {}),
    }
    return [(name, str(value)) for name, value in members.items()]


def _described(adapter: Adapter) -> list[tuple[str, str]]:
    return [
        ("host", adapter.name),
        ("name", adapter.driver),
        ("manufacturer", f"{adapter.driver}-FCoE" if adapter.fcoe else adapter.driver),
        ("id", str(adapter.host)),
    ]

"""The device half of the backend contract on Xen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from xenops.backends.xen.devices import vbd_layout
from xenops.backends.xen.services import Services
from xenops.metadata import Disk, Passthrough, Vbd, Vif

_VIF_FILES: Final = {
    "rx": "tx_bytes",
    "tx": "rx_bytes",
    "rx_errors": "tx_errors",
    "tx_errors": "rx_errors",
}
"""What the guest receives is what its interface in the control domain sends."""

_VBD_FILES: Final = {"read_ops": "rd_req", "write_ops": "wr_req"}
_SECTOR: Final = 512


class DeviceEffects:
    """Plugging and unplugging, and the figures devices have."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._parts = services.parts

    async def vbd_plug(self, domid: int, vbd: Vbd, path: str) -> None:
        await self._parts.vbds.plug(domid, vbd, path)

    async def vbd_unplug(self, domid: int, device: str, *, force: bool) -> Disk | None:
        return await self._parts.vbds.unplug(domid, device, force=force)

    async def vbd_insert(self, domid: int, device: str, disk: Disk, path: str) -> None:
        await self._parts.vbds.insert(domid, device, disk, path)

    async def vbd_eject(self, domid: int, device: str) -> Disk:
        return await self._parts.vbds.eject(domid, device)

    async def vbd_moved(self, domid: int, device: str, disk: Disk) -> None:
        await self._parts.vbds.moved(domid, device, disk)

    async def vif_plug(self, domid: int, vif: Vif) -> None:
        await self._parts.vifs.plug(domid, vif)

    async def vif_unplug(self, domid: int, device: str, *, force: bool) -> None:
        await self._parts.vifs.unplug(domid, device, force=force)

    async def vif_update(self, domid: int, vif: Vif) -> None:
        await self._parts.vifs.update(domid, vif)

    async def pci_plug(self, domid: int, pci: Passthrough) -> None:
        await self._parts.pcis.plug(domid, pci)

    async def pci_unplug(self, domid: int, device: str) -> None:
        await self._parts.pcis.unplug(domid, device)

    def vif_figures(self, domid: int) -> Mapping[str, object]:
        """Give what each network device of a domain has carried, in bytes."""
        found: dict[str, object] = {}
        for device in self._parts.vifs.stat(domid):
            folder = Path(f"/sys/class/net/vif{domid}.{device}/statistics")
            found[device] = {name: _number(folder / file) for name, file in _VIF_FILES.items()}
        return found

    def vbd_figures(self, domid: int) -> Mapping[str, object]:
        """Give what each block device of a domain has moved, in bytes, as far as it is known."""
        found: dict[str, object] = {}
        hvm = self._services.domains.get(domid).hvm
        for device in self._parts.vbds.stat(domid):
            devid = vbd_layout.devid(device, hvm=hvm)
            folder = Path(f"/sys/bus/xen-backend/devices/vbd-{domid}-{devid}/statistics")
            figures = {name: _number(folder / file) for name, file in _VBD_FILES.items()}
            figures["read"] = _number(folder / "rd_sect") * _SECTOR
            figures["write"] = _number(folder / "wr_sect") * _SECTOR
            found[device] = figures | {"read_time_us": 0, "write_time_us": 0, "inflight": 0}
        return found


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0

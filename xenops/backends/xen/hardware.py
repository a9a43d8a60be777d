"""All devices of domains, put together: disks, networks, emulators, consoles."""

from collections.abc import Sequence

from xenops.backends.xen.consoles import Consoles
from xenops.backends.xen.device_model import DeviceModel
from xenops.backends.xen.devices.pcis import Pcis
from xenops.backends.xen.devices.surroundings import Domains, Host
from xenops.backends.xen.devices.vbds import Vbds
from xenops.backends.xen.devices.vifs import Vifs
from xenops.backends.xen.disk_servers import DiskServers
from xenops.backends.xen.kernel import Kernel, Linux
from xenops.metadata import VmMetadata
from xenops.network import Network


class Hardware:
    """What domains have beyond memory and processors."""

    def __init__(
        self, host: Host, domains: Domains, network: Network, kernel: Kernel | None = None
    ) -> None:
        kernel = kernel or Linux()
        self._domains = domains
        self.model = DeviceModel(host, domains, self._join_taps)
        self.vbds = Vbds(host, domains, kernel, DiskServers(host), self.model)
        self.vifs = Vifs(host, domains, kernel, network)
        self.pcis = Pcis()
        self.consoles = Consoles(host, domains, self.model)

    async def _join_taps(self, domid: int, md: VmMetadata, devices: Sequence[str]) -> None:
        await self.vifs.join_taps(domid, md, devices)

    async def recover(self, domid: int) -> None:
        """Find all that an earlier life of this daemon gave a domain."""
        await self.vbds.recover(domid)
        await self.vifs.recover(domid)
        await self.pcis.recover(domid)
        await self.model.recover(domid)
        await self.consoles.recover(domid)

    async def start(self, domid: int, md: VmMetadata, *, restore: bool) -> None:
        """Start the consoles and, where hardware is emulated, the emulator.

        Errors: Failed_to_start_emulator.
        """
        if self._domains.get(domid).hvm:
            drives = await self.vbds.drives(domid)
            await self.model.start(domid, md, drives, restore=restore)
        await self.consoles.start(domid)

    async def stop(self, domid: int) -> None:
        """End the emulator and the consoles; nothing to do when there are none."""
        await self.consoles.stop(domid)
        await self.model.stop(domid)

    async def remove_all(self, domid: int) -> None:
        """Leave nothing of a domain's devices."""
        await self.stop(domid)
        await self.vbds.remove_all(domid)
        await self.vifs.remove_all(domid)
        await self.pcis.remove_all(domid)

    def forget(self, domid: int) -> None:
        """Know nothing of a domain any more, and leave it as it is."""
        self.vbds.forget(domid)
        self.vifs.forget(domid)
        self.pcis.forget(domid)
        self.consoles.forget(domid)
        self.model.forget(domid)

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
from xenops.backends.xen.pci_functions import LinuxPciFunctions, PciFunctions
from xenops.backends.xen.qemu_command import Drive
from xenops.metadata import VmMetadata
from xenops.network import Network


class Hardware:
    """What domains have beyond memory and processors; wires the parts to one another."""

    def __init__(
        self,
        host: Host,
        domains: Domains,
        network: Network,
        kernel: Kernel | None = None,
        functions: PciFunctions | None = None,
    ) -> None:
        kernel = kernel or Linux()
        self.model = DeviceModel(host, domains, self)
        self.vbds = Vbds(host, domains, kernel, DiskServers(host), self.model)
        self.vifs = Vifs(host, domains, kernel, network)
        self.pcis = Pcis(host, domains, kernel, functions or LinuxPciFunctions(), self.model)
        self.consoles = Consoles(host, domains, self.model)

    async def drives(self, domid: int) -> list[Drive]:
        """Give the disks that may be emulated."""
        return await self.vbds.drives(domid)

    async def join_taps(self, domid: int, md: VmMetadata, devices: Sequence[str]) -> None:
        """Put the emulated network devices where their VIFs are."""
        await self.vifs.join_taps(domid, md, devices)

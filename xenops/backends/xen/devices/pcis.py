"""PCI functions of the host in domains: not handed over yet."""

from collections.abc import Sequence

from xenops import errors
from xenops.backends.xen.devices import pci_layout
from xenops.metadata import Passthrough


class Pcis:
    """No function is ever plugged; what is asked for is checked all the same."""

    async def recover(self, domid: int) -> None:
        """Nothing outlives the daemon."""

    def stat(self, domid: int) -> Sequence[str]:
        """Give what is plugged."""
        return ()

    async def plug(self, domid: int, pci: Passthrough) -> None:
        """Errors: Invalid_metadata for what is no address, else Unimplemented."""
        pci_layout.parse(pci.address)
        raise errors.unimplemented("PCI passthrough")

    async def unplug(self, domid: int, device: str) -> None:
        """Nothing is plugged."""

    async def remove_all(self, domid: int) -> None:
        """Nothing is left."""

    def forget(self, domid: int) -> None:
        """Nothing is known."""

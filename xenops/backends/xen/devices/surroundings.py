"""What the devices of domains need of the host and of its domains."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from xenops.backends.contract import Change
from xenops.bindings.interface import PciHypercalls
from xenops.xenstore.client import XenStore

T = TypeVar("T")


class Hypervisor(Protocol):
    """Xen, as far as devices use it; blocks for a moment."""

    @property
    def pci(self) -> PciHypercalls: ...

    def shutdown(self, domid: int, reason: int) -> None:
        """Stop a domain as if it had stopped itself for a reason."""


class Host(Protocol):
    """The machine we run on."""

    @property
    def store(self) -> XenStore: ...

    @property
    def reactor(self) -> Any: ...

    @property
    def run_folder(self) -> Path:
        """Sockets and small files that go with the machine."""

    @property
    def xc(self) -> Hypervisor: ...

    def announce(self, change: Change) -> None:
        """Tell that a device changed by itself."""

    async def in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        """Run what blocks."""


class Domain(Protocol):
    """A domain that exists."""

    @property
    def domid(self) -> int: ...

    @property
    def vm(self) -> str:
        """The uuid of its VM."""

    @property
    def hvm(self) -> bool:
        """Whether its guest sees emulated hardware."""


class Domains(Protocol):
    """The domains there are."""

    def get(self, domid: int) -> Domain:
        """Errors: Does_not_exist."""

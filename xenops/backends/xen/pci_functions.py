"""PCI functions of the control domain's Linux: taken from it for a guest.

A function that a guest is to have belongs to the driver pciback, which keeps
others away from it.  It stays there when the guest has ended: what the control
domain did with it before is the administrator's to say.  All of it blocks for
a moment, so it is called in threads.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from xenops.backends.xen.devices.pci_layout import PciAddress, Resource, resources

DRIVER: Final = "pciback"


class FunctionUnusable(Exception):
    """A function cannot be given to a guest; the text says why."""


@dataclass(frozen=True, slots=True)
class Function:
    """What a guest gets with a function; ``irq`` 0 is none."""

    address: PciAddress
    resources: tuple[Resource, ...]
    irq: int


class PciFunctions(Protocol):
    """The functions of this host."""

    def take(self, address: PciAddress) -> Function:
        """Take a function from the control domain and reset it.  Errors: FunctionUnusable."""

    def reset(self, address: PciAddress) -> None:
        """Make a function forget what a guest did with it, as far as it can."""


class LinuxPciFunctions:
    """The running kernel's."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._devices = root / "sys/bus/pci/devices"
        self._pciback = root / "sys/bus/pci/drivers" / DRIVER
        self._mounts = root / "proc/self/mounts"

    def take(self, address: PciAddress) -> Function:
        folder = self._devices / str(address)
        if not folder.exists():
            raise FunctionUnusable("this host has no such function")
        if not self._pciback.exists():
            raise FunctionUnusable("the kernel module xen-pciback is not loaded")
        if user := self._user(folder):
            raise FunctionUnusable(f"the control domain needs it for {user}")
        try:
            self._bind(folder, str(address))
            self.reset(address)
            lines = (folder / "resource").read_text(encoding="ascii")
            irq = int((folder / "irq").read_text(encoding="ascii"))
        except (OSError, ValueError) as problem:
            raise FunctionUnusable(f"it cannot be taken from Linux: {problem}") from problem
        return Function(address, tuple(resources(lines)), irq)

    def reset(self, address: PciAddress) -> None:
        with contextlib.suppress(OSError):  # a function without a way to be reset
            _write(self._devices / str(address) / "reset", "1")

    def _bind(self, folder: Path, address: str) -> None:
        driver = folder / "driver"
        if driver.exists():
            if driver.resolve().name == DRIVER:
                return
            _write(driver / "unbind", address)
        if address not in (self._pciback / "slots").read_text(encoding="ascii").split():
            _write(self._pciback / "new_slot", address)
        _write(self._pciback / "bind", address)

    def _user(self, folder: Path) -> str:
        """Name what is in use below a function: a port of a switch, a disk."""
        for nic in sorted(folder.glob("**/net/*")):
            if any(nic.glob("upper_*")) or (nic / "master").exists():
                return nic.name
        mounted = {line.split()[0] for line in _lines(self._mounts) if line}
        for disk in sorted(folder.glob("**/block/*")):
            parts = [disk, *(part for part in disk.iterdir() if (part / "partition").exists())]
            for part in parts:
                if f"/dev/{part.name}" in mounted or any(part.glob("holders/*")):
                    return part.name
        return ""


def _write(path: Path, text: str) -> None:
    """Write to a node of the kernel, which takes it in one piece or refuses it."""
    node = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(node, text.encode())
    finally:
        os.close(node)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []

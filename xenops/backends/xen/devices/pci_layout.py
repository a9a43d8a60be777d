"""PCI functions handed to a guest: addresses, xenstore and QEMU; pure.

Sources: Xen's pciif.h; the reference toolstack's keys (XENOPS, section 10).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from xenops import errors
from xenops.backends.xen.devices.nodes import Node, Place, device_nodes

_ADDRESS: Final = re.compile(
    r"(?:([0-9a-fA-F]{1,4}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})\.([0-7])"
)


@dataclass(frozen=True, slots=True)
class PciAddress:
    """A PCI function of the host."""

    segment: int
    bus: int
    slot: int
    function: int

    def __str__(self) -> str:
        return f"{self.segment:04x}:{self.bus:02x}:{self.slot:02x}.{self.function}"

    @property
    def sbdf(self) -> int:
        """The number Xen knows the function by."""
        return self.segment << 16 | self.bus << 8 | self.slot << 3 | self.function


def parse(text: str) -> PciAddress:
    """Read ``[ssss:]bb:dd.f``.  Errors: Invalid_metadata."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[3], 16) > 31:
        raise errors.invalid_metadata(f"address: {text} is no PCI address")
    return PciAddress(int(match[1] or "0", 16), int(match[2], 16), int(match[3], 16), int(match[4]))


@dataclass(frozen=True, slots=True)
class Resource:
    """A range of ports or of memory of a function, in bytes."""

    start: int
    size: int
    ports: bool


def resources(text: str) -> list[Resource]:
    """Read the first seven lines of a function's ``resource`` file in sysfs."""
    found = []
    for line in text.splitlines()[:7]:
        words = line.split()
        if len(words) == 3:
            first, last, flags = (int(word, 16) for word in words)
            if first and last >= first:
                found.append(Resource(first, last - first + 1, bool(flags & 0x100)))
    return found


def frames(resource: Resource) -> tuple[int, int]:
    """Give the first page of a memory range and the number of its pages."""
    first = resource.start >> 12
    return first, ((resource.start + resource.size - 1) >> 12) - first + 1


def qemu_device(address: PciAddress) -> dict[str, object]:
    """Give QEMU's ``device_add`` of a function."""
    name = f"pci-pt-{address.bus:02x}_{address.slot:02x}.{address.function}"
    return {"driver": "xen-pci-passthrough", "id": name, "hostaddr": str(address)}


@dataclass(frozen=True, slots=True)
class PluggedPci:
    """A function in a domain; ``pirq`` is the number of its interrupt there, 0 for none."""

    device: str
    address: PciAddress
    pirq: int = 0


def place(domid: int, vm: str) -> Place:
    """Give where a domain's functions are: all of them are one device."""
    return Place(domid, vm, "pci", 0)


def pci_nodes(where: Place, functions: Sequence[PluggedPci]) -> list[Node]:
    """Give the nodes of the device that has these functions."""
    backend = {"domain": "", "num_devs": str(len(functions))}
    for number, plugged in enumerate(functions):
        backend[f"dev-{number}"] = str(plugged.address)
        backend[f"opts-{number}"] = "msitranslate=0,power_mgmt=0,permissive=0"
        backend[f"state-{number}"] = "1"
    return device_nodes(where, {}, backend, {}, record(functions))


def record(functions: Sequence[PluggedPci]) -> str:
    """Write functions as text for ``read_record``."""
    rows = [[plugged.device, str(plugged.address), plugged.pirq] for plugged in functions]
    return orjson.dumps(rows).decode()


def read_record(text: str) -> list[PluggedPci]:
    """Read what ``record`` wrote."""
    return [
        PluggedPci(device, parse(address), pirq) for device, address, pirq in orjson.loads(text)
    ]

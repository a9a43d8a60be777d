"""Names of PCI network cards, from sysfs and the list of PCI ids."""

import functools
import re
from pathlib import Path
from typing import Final

_LISTS: Final = (Path("/usr/share/misc/pci.ids"), Path("/usr/share/hwdata/pci.ids"))
_PCI: Final = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


@functools.lru_cache(maxsize=256)
def describe(
    parent: str, devices: Path = Path("/sys/bus/pci/devices"), lists: tuple[Path, ...] = _LISTS
) -> tuple[str, str, str]:
    """Give PCI path, vendor and product of a device's parent; empty when it has none.

    A virtio card's parent is a virtio device below the PCI one.
    """
    if not _PCI.fullmatch(parent):
        above = (Path("/sys/bus/virtio/devices") / parent).resolve().parent.name if parent else ""
        if not _PCI.fullmatch(above):
            return "", "", ""
        parent = above
    try:
        vendor = (devices / parent / "vendor").read_text().strip().removeprefix("0x")
        product = (devices / parent / "device").read_text().strip().removeprefix("0x")
    except OSError:
        return parent, "", ""
    return (parent, *names(vendor, product, lists))


@functools.lru_cache(maxsize=256)
def is_virtual_function(parent: str, devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether a device's parent is a function that another card shows."""
    return bool(_PCI.fullmatch(parent)) and (devices / parent / "physfn").exists()


def names(vendor: str, product: str, lists: tuple[Path, ...]) -> tuple[str, str]:
    """Look two PCI ids up; unknown ones stay numbers."""
    found_vendor = ""
    for path in lists:
        if not path.exists():
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if found_vendor:
                if line.startswith(f"\t{product}  "):
                    return found_vendor, line[1 + len(product) :].strip()
                if line and line[0] not in "\t#":
                    break
            elif line.startswith(f"{vendor}  "):
                found_vendor = line[len(vendor) :].strip()
    return found_vendor or vendor, product

"""What the machine says of itself beside Xen: PCI devices, start of the machine, kernel.

The parsers are functions of text; only ``read`` touches files.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from xenops.backends.contract import PciDevice

NAMES: Final = Path("usr/share/misc/pci.ids")
_FILES: Final = {
    "class_id": "class",
    "vendor_id": "vendor",
    "device_id": "device",
    "subsystem_vendor_id": "subsystem_vendor",
    "subsystem_device_id": "subsystem_device",
}


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What a machine is beside its processors and memory; ``boot_time`` in unix seconds, or 0."""

    boot_time: int = 0
    kernel: str = ""
    pcis: tuple[PciDevice, ...] = ()


def read(root: Path = Path("/")) -> MachineFacts:
    """Read what this machine is; what cannot be read is left empty."""
    devices = [_device(folder) for folder in _folders(root / "sys/bus/pci/devices")]
    return MachineFacts(
        boot_time=parse_boot_time(_text(root / "proc/stat")),
        kernel=_text(root / "proc/sys/kernel/osrelease").strip(),
        pcis=tuple(named(devices, _text(root / NAMES).splitlines())),
    )


def parse_boot_time(stat: str) -> int:
    """Find when the machine started in the text of /proc/stat; 0 when it does not say."""
    for line in stat.splitlines():
        word, _, value = line.partition(" ")
        if word == "btime" and value.strip().isdigit():
            return int(value)
    return 0


def named(devices: Iterable[PciDevice], ids: Iterable[str]) -> list[PciDevice]:
    """Give the devices with names from the lines of a ``pci.ids`` file, as far as it has them.

    A subsystem's name stands below its device; its vendor among all vendors.
    """
    wanted = list(devices)
    vendors, models, classes = _names(wanted, ids)
    return [
        replace(
            device,
            class_name=classes.get(device.class_id)
            or classes.get(device.class_id[:2])
            or device.class_name,
            vendor_name=vendors.get(device.vendor_id, ""),
            device_name=models.get((device.vendor_id, device.device_id), ""),
            subsystem_vendor_name=vendors.get(device.subsystem_vendor_id, ""),
            subsystem_device_name=models.get(_subsystem(device), ""),
        )
        for device in wanted
    ]


def _subsystem(device: PciDevice) -> tuple[str, ...]:
    own = (device.vendor_id, device.device_id)
    return (*own, device.subsystem_vendor_id, device.subsystem_device_id)


def _names(
    devices: list[PciDevice], ids: Iterable[str]
) -> tuple[dict[str, str], dict[tuple[str, ...], str], dict[str, str]]:
    """Read the file once and keep what these devices need."""
    vendors: dict[str, str] = {}
    models: dict[tuple[str, ...], str] = {}
    classes: dict[str, str] = {}
    own = {device.vendor_id for device in devices}
    seen_vendors = own | {device.subsystem_vendor_id for device in devices}
    vendor = model = ""
    in_classes = False
    for line in ids:
        if not line.strip() or line.startswith("#"):
            continue
        depth = len(line) - len(line.lstrip("\t"))
        word, _, name = line.strip().partition("  ")
        if depth == 0:
            in_classes = word.startswith("C ")
            vendor = word.removeprefix("C ")
            if in_classes:
                classes[vendor] = name
            elif vendor in seen_vendors:
                vendors[vendor] = name
        elif depth == 1:
            model = word
            if in_classes:
                classes[vendor + model] = name
            elif vendor in own:
                models[vendor, model] = name
        elif not in_classes and vendor in own:
            models[vendor, model, *word.split(" ")] = name
    return vendors, models, classes


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _device(folder: Path) -> PciDevice:
    numbers = {name: _text(folder / file).strip()[2:] for name, file in _FILES.items()}
    numbers["class_id"] = numbers["class_id"][:4]
    return PciDevice(
        address=folder.name,
        driver=_link_name(folder / "driver"),
        physical_function=_link_name(folder / "physfn"),
        **numbers,
    )


def _link_name(path: Path) -> str:
    try:
        return os.path.basename(path.readlink())
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def hypervisor_words(facts: MachineFacts) -> Mapping[str, str]:
    """Give what belongs to the description of the software: the kernel's release."""
    return {"linux": facts.kernel} if facts.kernel else {}

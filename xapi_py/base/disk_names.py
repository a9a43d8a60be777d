"""Device letters, userdevice texts and xenstore device ids of block devices."""

import re
from dataclasses import dataclass

XEN, IDE, SCSI, FLOPPY = "xvd", "hd", "sd", "fd"
_IDE_MAJORS = (3, 22, 33, 34, 56, 57, 88, 89, 90, 91)
_LINUX_NAME = re.compile(r"(xvd|hd|sd|fd)([a-z]{1,3})([0-9]{0,3})")
_XEN_NAME = re.compile(r"d([0-9]{1,5})(?:p([0-9]{1,3}))?")
_FLOPPY_NAME = re.compile(r"fd([0-9])")
_DECIMAL = re.compile(r"[0-9]{1,5}")
MAX_DISK = (1 << 20) - 1


@dataclass(frozen=True, slots=True)
class DiskPosition:
    """Where a disk sits: bus, number from 0 and partition (0 = whole disk)."""

    bus: str
    disk: int
    partition: int = 0


def letters(disk: int) -> str:
    """Write a disk number in base 26: 0 is a, 25 z, 26 aa."""
    text = ""
    number = disk + 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def from_letters(text: str) -> int:
    """Read what ``letters`` writes."""
    number = 0
    for char in text:
        number = number * 26 + ord(char) - ord("a") + 1
    return number - 1


def linux_name(position: DiskPosition) -> str:
    """Give the guest's name of a disk; IDE disks print as xvd too."""
    if position.bus == FLOPPY:
        return f"fd{letters(position.disk)}"
    bus = XEN if position.bus == IDE else position.bus
    part = str(position.partition) if position.partition else ""
    return f"{bus}{letters(position.disk)}{part}"


def parse_device(text: str, hvm: bool) -> DiskPosition | None:
    """Read a userdevice: a number, a linux name or ``d<disk>p<part>``.

    Decimal 0..3 of an HVM guest are IDE positions.  None for anything else.
    """
    if _DECIMAL.fullmatch(text):
        number = int(text)
        return DiskPosition(IDE if hvm and number < 4 else XEN, number)
    match = _LINUX_NAME.fullmatch(text)
    if match:
        bus, name, part = match.groups()
        return DiskPosition(bus, from_letters(name), int(part or 0))
    match = _XEN_NAME.fullmatch(text)
    if match:
        return DiskPosition(XEN, int(match[1]), int(match[2] or 0))
    match = _FLOPPY_NAME.fullmatch(text)
    if match:
        return DiskPosition(FLOPPY, int(match[1]))
    return None


def device_id(position: DiskPosition) -> int:
    """Encode the xenstore device id: xvda 51712, xvdq 268439552, hda 768.

    ValueError for positions the encoding cannot hold.
    """
    disk, part = position.disk, position.partition
    if position.bus == XEN:
        if disk < 16 and part < 16:
            return (202 << 8) | (disk << 4) | part
        if disk <= MAX_DISK and part < 256:
            return (1 << 28) | (disk << 8) | part
    elif position.bus == IDE:
        if disk < 2 * len(_IDE_MAJORS) and part < 64:
            return (_IDE_MAJORS[disk // 2] << 8) | ((disk % 2) << 6) | part
    elif position.bus == SCSI:
        if disk < 16 and part < 16:
            return (8 << 8) | (disk << 4) | part
    elif disk < 2 and part < 16:
        return (203 << 8) | (disk << 4) | part
    raise ValueError(f"no device id for {position}")


def from_device_id(number: int) -> DiskPosition:
    """Decode a xenstore device id; ValueError for unknown ones."""
    if number & (1 << 28):
        return DiskPosition(XEN, (number >> 8) & MAX_DISK, number & 0xFF)
    major, minor = number >> 8, number & 0xFF
    if major == 202:
        return DiskPosition(XEN, minor >> 4, minor & 15)
    if major == 8:
        return DiskPosition(SCSI, minor >> 4, minor & 15)
    if major == 203:
        return DiskPosition(FLOPPY, minor >> 4, minor & 15)
    if major in _IDE_MAJORS:
        return DiskPosition(IDE, _IDE_MAJORS.index(major) * 2 + (minor >> 6 & 1), minor & 63)
    raise ValueError(f"unknown device id {number}")

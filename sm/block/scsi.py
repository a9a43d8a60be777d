"""What SCSI devices say about themselves.  Pure: answers of commands in, values out.

Source: SPC-4 (INQUIRY, VPD pages 80h and 83h, REPORT LUNS), SBC-3 (READ CAPACITY).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import unpack_from
from typing import Final

_HEX: Final = "0123456789abcdef"
_NAA, _EUI64, _T10, _VENDOR = 3, 2, 1, 0
_BINARY, _ASCII = 1, 2
_PREFERRED: Final = (
    *((_NAA, 6), (_NAA, 5), (_NAA, -1)),
    *((_EUI64, -1), (_T10, -1), (_VENDOR, -1)),
)
"""Kinds of designators, best first, as udev's ``scsi_id`` has them."""

DISK: Final = 0


@dataclass(frozen=True, slots=True)
class Lun:
    """A disk behind a target or adapter; ``paths`` are its block devices, where there are any."""

    id: int
    vendor: str
    serial: str
    scsi_id: str
    size_bytes: int
    model: str = ""
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inquiry:
    """The standard answer: kind of device, vendor, model."""

    kind: int
    vendor: str
    model: str


def text(data: bytes) -> str:
    """Give a text field without its padding."""
    return data.decode("ascii", "replace").strip("\0 ")


def inquiry(data: bytes) -> Inquiry:
    """Read a standard INQUIRY answer; the kind is 31 when nothing is there."""
    if len(data) < 36 or data[0] >> 5:
        return Inquiry(31, "", "")
    return Inquiry(data[0] & 31, text(data[8:16]), text(data[16:32]))


def serial(page: bytes) -> str:
    """Read the serial number of page 80h; empty when there is none."""
    if len(page) < 4 or page[1] != 0x80:
        return ""
    return text(page[4 : 4 + int.from_bytes(page[2:4], "big")])


def _designators(page: bytes) -> Iterator[bytes]:
    end = min(len(page), 4 + int.from_bytes(page[2:4], "big"))
    at = 4
    while at + 4 <= end:
        length = page[at + 3]
        yield page[at : min(end, at + 4 + length)]
        at += 4 + length


def scsi_id(page83: bytes, page80: bytes, standard: bytes) -> str:
    """Give what ``scsi_id -g`` prints: the disk's designator, or one made of its serial number.

    White space becomes ``_``.  Empty when the disk has no name at all.
    """
    if len(page83) >= 4 and page83[1] == 0x83:
        found = [d for d in _designators(page83) if not d[1] & 0x30]
        for kind, naa in _PREFERRED:
            for coding in (_BINARY, _ASCII):
                for entry in found:
                    if (entry[1] & 15, entry[0] & 15) != (kind, coding) or len(entry) < 5:
                        continue
                    if naa < 0 or entry[4] >> 4 == naa:
                        return _squeezed(_HEX[kind] + _named(entry, kind, coding, standard))
    number = serial(page80)
    if not number or len(standard) < 32:
        return ""
    return _squeezed("S" + standard[8:32].decode("ascii", "replace") + number)


def _named(entry: bytes, kind: int, coding: int, standard: bytes) -> str:
    name = entry[4:].hex() if coding == _BINARY else entry[4:].decode("ascii", "replace")
    if kind == _VENDOR:
        return standard[8:32].decode("ascii", "replace") + name
    return name


def _squeezed(name: str) -> str:
    return "_".join(name.replace("\0", " ").split())


def lun_ids(data: bytes) -> list[int]:
    """Read a REPORT LUNS answer; LUNs of unknown addressing are left out."""
    if len(data) < 8:
        return []
    count = min(int.from_bytes(data[:4], "big"), len(data) - 8) // 8
    found = []
    for at in range(8, 8 + count * 8, 8):
        method = data[at] >> 6
        if method in (0, 1):
            found.append((data[at] & 0x3F) << 8 | data[at + 1])
    return sorted(found)


def lun_field(lun: int) -> bytes:
    """Give the eight bytes that address a LUN."""
    return bytes([lun >> 8 | (0x40 if lun > 255 else 0), lun & 255]) + bytes(6)


def capacity16(data: bytes) -> int:
    """Read a READ CAPACITY (16) answer: bytes of the disk."""
    last, block = unpack_from(">QI", data)
    return int((last + 1) * block)

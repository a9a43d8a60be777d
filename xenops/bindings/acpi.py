"""The few ACPI tables a guest without emulated hardware needs to find its processors.

Root pointer, XSDT, FADT (hardware-reduced), MADT with one local APIC a
processor, and an empty DSDT.  Source: ACPI specification 5.1, chapter 5.
"""

import struct
from typing import Final

RSDP_ADDRESS: Final = 0xFC000000
TABLES_ADDRESS: Final = RSDP_ADDRESS + 0x1000
LOCAL_APIC: Final = 0xFEE00000

_OEM: Final = b"XAPIPY"
_FADT_BYTES: Final = 268
_HARDWARE_REDUCED: Final = 1 << 20
_BOOT_NO_VGA_NO_CMOS: Final = 1 << 2 | 1 << 5


def _summed(table: bytes, at: int) -> bytes:
    changed = bytearray(table)
    changed[at] = 0
    changed[at] = -sum(changed) & 0xFF
    return bytes(changed)


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    head = struct.pack(
        "<4sIBB6s8sI4sI",
        signature,
        36 + len(body),
        revision,
        0,
        _OEM,
        b"DOMU".ljust(8, b"\0"),
        1,
        b"XAPI",
        1,
    )
    return _summed(head + body, 9)


def _madt(vcpus: int) -> bytes:
    body = struct.pack("<II", LOCAL_APIC, 0)
    for vcpu in range(vcpus):
        body += struct.pack("<BBBBI", 0, 8, vcpu & 0xFF, vcpu * 2 & 0xFF, 1)
    return _table(b"APIC", 3, body)


def _fadt(dsdt: int) -> bytes:
    body = bytearray(_FADT_BYTES - 36)
    struct.pack_into("<I", body, 40 - 36, dsdt)
    struct.pack_into("<H", body, 109 - 36, _BOOT_NO_VGA_NO_CMOS)
    struct.pack_into("<I", body, 112 - 36, _HARDWARE_REDUCED)
    body[131 - 36] = 1
    struct.pack_into("<Q", body, 140 - 36, dsdt)
    return _table(b"FACP", 5, bytes(body))


def root_pointer() -> bytes:
    """Give the structure that names the tables' address."""
    first = _summed(struct.pack("<8sB6sBI", b"RSD PTR ", 0, _OEM, 2, 0), 8)
    return _summed(first + struct.pack("<IQB3x", 36, TABLES_ADDRESS, 0), 32)


def tables(vcpus: int) -> bytes:
    """Give all tables for a guest, to be put at ``TABLES_ADDRESS``."""
    dsdt = _table(b"DSDT", 2, b"")
    xsdt_bytes = 36 + 2 * 8
    dsdt_at = TABLES_ADDRESS + _aligned(xsdt_bytes)
    fadt_at = dsdt_at + _aligned(len(dsdt))
    fadt = _fadt(dsdt_at)
    madt_at = fadt_at + _aligned(len(fadt))
    xsdt = _table(b"XSDT", 1, struct.pack("<QQ", fadt_at, madt_at))
    parts = (xsdt, dsdt, fadt, _madt(vcpus))
    return b"".join(part.ljust(_aligned(len(part)), b"\0") for part in parts)


def _aligned(size: int) -> int:
    return -(-size // 64) * 64

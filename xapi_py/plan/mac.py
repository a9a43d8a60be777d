"""MAC addresses: the check, and the one a VM's seed gives to a device."""

import hashlib
import re

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


def is_mac(text: str) -> bool:
    """Tell whether ``text`` is six colon separated hexadecimal pairs."""
    return _MAC.fullmatch(text) is not None


def _locally_administered(octets: bytes) -> str:
    first = (octets[0] | 0x02) & 0xFE
    return ":".join(f"{o:02x}" for o in (first, *octets[1:6]))


def mac_of_seed(seed: str, device: int) -> str:
    """Give the MAC of VIF ``device`` of the VM with that ``mac_seed``.

    The seed is hashed ``2 * device`` times with MD5, once more for the first
    four octets, and that digest again for the last two; digests are chained as
    raw bytes.  The result is unicast and locally administered.
    """
    chained = seed.encode()
    for _ in range(2 * device):
        chained = hashlib.md5(chained, usedforsecurity=False).digest()
    first = hashlib.md5(chained, usedforsecurity=False).digest()
    second = hashlib.md5(first, usedforsecurity=False).digest()
    return _locally_administered(bytes((*first[:4], *second[1:3])))


def mac_of_random(octets: bytes) -> str:
    """Make a MAC of six random octets the caller supplies."""
    return _locally_administered(octets)

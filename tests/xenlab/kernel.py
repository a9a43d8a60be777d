"""Reads Debian's kernels: the ELF image inside a bzImage, and which modules need which."""

import lzma
import struct
from collections.abc import Iterable, Mapping

SETUP_SECTORS, PAYLOAD_OFFSET, PAYLOAD_LENGTH = 0x1F1, 0x248, 0x24C
ELF = b"\x7fELF"


def uncompressed(image: bytes) -> bytes:
    """Give the ELF kernel inside a bzImage with xz payload; whoever boots it need not unpack it."""
    if image[0x202:0x206] != b"HdrS":
        raise ValueError("not a bzImage")
    start = (image[SETUP_SECTORS] or 4) * 512 + 512
    offset, length = struct.unpack_from("<II", image, PAYLOAD_OFFSET)
    payload = image[start + offset : start + offset + length]
    kernel = lzma.LZMADecompressor().decompress(payload)
    if not kernel.startswith(ELF):
        raise ValueError("the payload is no ELF file")
    return kernel


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1].split(".ko")[0].replace("-", "_")


def parse_dependencies(text: str) -> dict[str, list[str]]:
    """Parse ``modules.dep``: for each module its path and those it needs, nearest first."""
    found = {}
    for line in text.splitlines():
        path, _, needed = line.partition(":")
        found[_name(path)] = [path, *needed.split()]
    return found


def load_order(dependencies: Mapping[str, list[str]], wanted: Iterable[str]) -> list[str]:
    """Give the paths to load for the wanted modules, each after what it needs.

    Modules that are not there are taken for built into the kernel.
    """
    order: list[str] = []
    for name in wanted:
        for path in reversed(dependencies.get(name.replace("-", "_"), [])):
            if path not in order:
                order.append(path)
    return order

"""What the lab's Debian is made of."""

import os
from pathlib import Path

RELEASE = "bookworm"
LIST = Path(__file__).parent / "machine_files" / "packages.txt"

# What the first file system and the guests load; what they need in turn comes along.
MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_net", "virtio_scsi", "sd_mod"),
    *("ext4", "crc32c_generic", "crc32c_intel"),
)
GUEST_MODULES = (
    *("xen-blkfront", "xen-netfront", "virtio_pci", "virtio_blk", "virtio_net"),
    *("ata_piix", "sd_mod", "e1000", "8139cp"),
)
TEST_TOOLS = (
    *("pytest>=7.4", "pytest-twisted>=1.14", "hypothesis>=6.80", "XenAPI>=2.14"),
    *("cffi>=1.15",),
)
"""Python packages beside those the project itself requires."""


def packages() -> list[str]:
    """Give the names of Debian packages, those they recommend not included."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return [name for line in lines for name in line.partition("#")[0].split()]


def sources() -> list[str]:
    """Give the apt sources; XENLAB_MIRROR and XENLAB_SECURITY_MIRROR name other mirrors."""
    mirror = os.environ.get("XENLAB_MIRROR", "http://deb.debian.org/debian")
    security = os.environ.get("XENLAB_SECURITY_MIRROR", "http://deb.debian.org/debian-security")
    return [
        f"deb {mirror} {RELEASE} main",
        f"deb {mirror} {RELEASE}-updates main",
        f"deb {security} {RELEASE}-security main",
    ]

"""What the lab's Debian is made of."""

import os
import subprocess
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
    *("xen-pcifront", "ata_piix", "sd_mod", "e1000", "8139cp"),
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
    """Give the apt sources: those of XENLAB_MIRROR and XENLAB_SECURITY_MIRROR, or this machine's.

    None where this machine runs another release: then the tool's own default holds.
    """
    mirror = os.environ.get("XENLAB_MIRROR")
    if not mirror:
        return sources_in(_apt_targets())
    security = os.environ.get("XENLAB_SECURITY_MIRROR")
    return [
        f"deb {mirror} {RELEASE} main",
        f"deb {mirror} {RELEASE}-updates main",
        *([f"deb {security} {RELEASE}-security main"] if security else []),
    ]


def sources_in(targets: str) -> list[str]:
    """Find the release in what apt fetches: lines of site, release and component."""
    rows = {tuple(line.split()) for line in targets.splitlines()}
    return sorted(
        f"deb {row[0]} {row[1]} main"
        for row in rows
        if len(row) == 3 and row[2] == "main" and row[1].partition("-")[0] == RELEASE
    )


def _apt_targets() -> str:
    command = ("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)")
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""

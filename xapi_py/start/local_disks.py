"""Which disks of a real host become its first SR: what the installer, or scripts/install, noted.

The file has lines ``PARTITIONS='/dev/disk/by-id/...'`` and ``TYPE='lvm'``; no file, or no
partition in it, means that no disk may be touched.
"""

import logging
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

FILE: Final = Path("/etc/firstboot.d/data/default-storage.conf")
TYPES: Final = ("lvm", "ext")
_LINE: Final = re.compile(r"\s*(PARTITIONS|TYPE)=(.*)")


@dataclass(frozen=True, slots=True)
class LocalDisks:
    """The devices of a host's local SR, and its type."""

    devices: tuple[str, ...]
    sr_type: str


def noted(default_type: str, file: Path = FILE) -> LocalDisks | None:
    """Give the disks for the first SR; None where nothing names any that can be understood."""
    try:
        text = file.read_text(encoding="utf-8")
        words = {
            match[1]: shlex.split(match[2], comments=True)
            for match in map(_LINE.fullmatch, text.splitlines())
            if match
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as problem:
        log.error("%s: %s", file, problem)
        return None
    devices = tuple(device for word in words.get("PARTITIONS", ()) for device in word.split())
    sr_type = " ".join(words.get("TYPE", ())) or default_type
    if sr_type not in TYPES or not all(device.startswith("/dev/") for device in devices):
        log.error("%s: %s on %s is no local storage", file, sr_type, ",".join(devices))
        return None
    return LocalDisks(devices, sr_type) if devices else None

"""Fill a device with zeros, telling progress: ``python -m sm.volumes.zero DEVICE``."""

import sys
from pathlib import Path
from typing import Final

from sm.volumes.device import Device

PIECE: Final = 64 * 1024**2


def main(path: str) -> None:
    """Fill it.  Errors: OSError."""
    with Device(Path(path)) as device:
        size = device.size()
        for at in range(0, size, PIECE):
            device.zero(at, min(PIECE, size - at))
            print(f"({100 * min(at + PIECE, size) / size:.2f}/100%)", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

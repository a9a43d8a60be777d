"""Which of the LUNs a target offers a device configuration names."""

from collections.abc import Iterable
from typing import Final, TypeVar

from sm.contract import Config

AnyLun = TypeVar("AnyLun")

_KEYS: Final = (
    (("SCSIid",), "scsi_id"),
    (("LUNSerial", "LUNserial"), "serial"),
    (("LUNid",), "id"),
)


def pick(luns: Iterable[AnyLun], config: Config) -> AnyLun | None:
    """Find the LUN that SCSIid, or the older LUNSerial or LUNid, names; None without any.

    LUNs have ``scsi_id``, ``serial`` and ``id``; the first key that is given decides alone.
    """
    for keys, member in _KEYS:
        for key in keys:
            if config.get(key):
                return next((n for n in luns if str(getattr(n, member)) == config[key]), None)
    return None

"""All SR types that keep disks for real, by name."""

from collections.abc import Callable, Mapping
from typing import Final

from sm.block.raw_kinds import RAW_KINDS
from sm.files.kinds import KINDS as FILE_KINDS
from sm.files.kinds import Host, Kind
from sm.volumes.kinds import VOLUME_KINDS
from sm.volumes.lun_kinds import LUN_KINDS

KINDS: Final[Mapping[str, Callable[[str, Host], Kind]]] = {
    **FILE_KINDS,
    **VOLUME_KINDS,
    **LUN_KINDS,
    **RAW_KINDS,
}

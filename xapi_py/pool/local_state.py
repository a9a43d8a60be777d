"""The small file of facts that belong to one host and outlive its pool.

Text keys and values in JSON, written whole and renamed into place.  Source:
brief POOL 1.2, "local database".
"""

import json
from collections.abc import Mapping
from pathlib import Path

from xapi_py.base.private_file import replace

DISABLED_UNTIL_REBOOT = "host_disabled_until_reboot"
AUTO_ENABLE = "host_auto_enable"


class LocalState:
    """Reads and writes the file of one host; every call sees the file as it is."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "local.json"

    def get(self, key: str, default: str = "") -> str:
        """Give a value."""
        return self._read().get(key, default)

    def put(self, changes: Mapping[str, str]) -> None:
        """Set values; the file is on disk when this returns."""
        replace(self._path, json.dumps({**self._read(), **changes}).encode())

    def _read(self) -> dict[str, str]:
        try:
            read: dict[str, str] = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return read

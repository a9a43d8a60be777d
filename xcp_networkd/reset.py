"""The administrator's way back in: a file that has the whole network begin anew.

``scripts/xe-reset-networking`` writes it with the members of the installer's file.  The
daemon forgets what it knew and sets up only what the file says; the API server then
forgets its records of the host's interfaces, makes them anew, and has the file removed.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xapi_py.base.rpc.errors import RpcError
from xcp_networkd import installer
from xcp_networkd.contract import NetworkState

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NetworkReset:
    """``file`` asks for it; ``mark`` remembers which one was followed."""

    file: Path
    mark: Path

    def pending(self) -> bool:
        """Tell whether the API server still has to make its records anew."""
        text = self._read(self.file)
        return bool(text) and self._read(self.mark) == _digest(text)

    def wanted(self, macs: Mapping[str, str]) -> NetworkState | None:
        """Give what a file that was not followed yet asks for.

        None without such a file, and for one that cannot be followed: the log says why, and
        the host keeps the network it has.
        """
        text = self._read(self.file)
        if not text or self._read(self.mark) == _digest(text):
            return None
        try:
            state = installer.first_state(installer.parse(text), macs)
        except RpcError as problem:
            log.error("%s is not followed: %s", self.file, problem.params)
            return None
        if not state.bridges:
            log.error("%s is not followed: its network card is not there", self.file)
            return None
        log.warning("the network begins anew, as %s says", self.file)
        return state

    def followed(self) -> None:
        """Remember that the host's network is what the file says."""
        self.mark.write_text(_digest(self._read(self.file)), encoding="ascii")

    def done(self) -> None:
        """End it: the records are new, too."""
        if self.pending():
            self.file.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)

    @staticmethod
    def _read(path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

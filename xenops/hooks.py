"""Scripts that an administrator puts in the way of VM operations."""

import logging
import os
from pathlib import Path
from typing import Any, Final

from twisted.internet.utils import getProcessOutputAndValue

from xenops import errors

log = logging.getLogger(__name__)

ONLY_LOGGED: Final = 1
"""A script that ends with this status does not stop the operation."""


class ScriptHooks:
    """Run the executables of ``<root>/<folder>/`` sorted by name.

    Whether a folder exists is looked up once: put scripts in place before the
    daemon starts.
    """

    def __init__(self, reactor: Any, root: Path | None) -> None:
        self._reactor = reactor
        self._root = root
        self._folders = {p.name: p for p in root.iterdir()} if root and root.is_dir() else {}

    async def run(self, folder: str, vm: str, reason: str, domid: int | None) -> None:
        """Errors: Hook_failed(script, reason, output, status)."""
        path = self._folders.get(folder)
        if path is None:
            return
        arguments = ["-vmuuid", vm, "-reason", reason]
        if domid is not None:
            arguments += ["-vmdomid", str(domid)]
        for script in sorted(path.iterdir()):
            if script.is_file() and os.access(script, os.X_OK):
                await self._script(script, reason, arguments)

    async def _script(self, script: Path, reason: str, arguments: list[str]) -> None:
        output, error, status = await getProcessOutputAndValue(
            str(script), arguments, reactor=self._reactor
        )
        if status == 0:
            return
        text = (output + error).decode(errors="replace")
        log.warning("hook %s ended with %d: %s", script, status, text)
        if status != ONLY_LOGGED:
            raise errors.hook_failed(script.name, reason, text, status)

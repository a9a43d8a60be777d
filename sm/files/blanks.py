"""Raw disks on media where new images hold old data: they are filled with zeros first."""

import sys
from collections.abc import Mapping
from typing import Any

from sm.contract import VdiSpec
from sm.files.disks import check_texts, is_raw, valid_size
from sm.files.sr import FileSr
from sm.files.state import disk_errors
from xapi_py.base.names import new_uuid


class BlankImages:
    """Creation in two steps, with a process between them that writes zeros."""

    def __init__(self, sr: FileSr) -> None:
        self._sr = sr

    def begin(self, spec: Mapping[str, Any]) -> Mapping[str, object]:
        """Make the image, and say what has to run; an empty command: nothing was done."""
        sr, wanted = self._sr, VdiSpec(**spec)
        if sr.images.plain or not is_raw(wanted):
            return {"command": [], "node": ""}
        check_texts(wanted.name_label, wanted.name_description)
        node = new_uuid()
        with disk_errors():
            sr.images.make(node, valid_size(wanted.virtual_size), raw=True)
        sr.keep.add(node)
        sr.images.hold(f"zero/{node}", [node])
        command = [sys.executable, "-m", "sm.volumes.zero", str(sr.images.path(node))]
        return {"command": command, "node": node}

    def end(self, spec: Mapping[str, Any], node: str, done: bool) -> object:
        """The process ended: the disk is made, or the image is thrown away."""
        sr = self._sr
        sr.keep.discard(node)
        sr.images.let_go(f"zero/{node}")
        if not done:
            sr.images.delete(node)
            return None
        return sr.vdi_create(VdiSpec(**spec), node)

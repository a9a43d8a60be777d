"""Guests' memory in suspend images: the daemon's half of saving and restoring."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from xenops import errors
from xenops.backends.contract import SavedMemory
from xenops.backends.xen.build import Build
from xenops.backends.xen.device_model import DeviceModel
from xenops.backends.xen.devices.vbd_layout import nbd_export
from xenops.backends.xen.domains import Domains
from xenops.backends.xen.host import XenHost
from xenops.backends.xen.worker import WorkerError, Workers
from xenops.bindings.builder import Loaded
from xenops.bindings.interface import PAGE
from xenops.metadata import VmConfig
from xenops.qmp.client import QmpError, QmpLost

log = logging.getLogger(__name__)

INLINE: Final = "file"
"""Key of the value that stands for an image that is not on a disk of its own."""


class Images:
    """Saves domains that have stopped to suspend, and loads them into new ones."""

    def __init__(
        self,
        host: XenHost,
        domains: Domains,
        build: Build,
        workers: Workers,
        model: DeviceModel,
    ) -> None:
        self._host = host
        self._domains = domains
        self._build = build
        self._workers = workers
        self._model = model

    async def save(self, domid: int, path: str) -> SavedMemory:
        """Write a domain's memory, and the state of its emulator, to ``path``.

        Without a path a file of ours is used, named by ``inline``.  The domain
        can go on after it, failed or not.  Errors: IO_error.
        """
        domain = self._domains.get(domid)
        memory_bytes = self._domains.info(domid).total_pages * PAGE
        inline = {} if path else {INLINE: str(self._host.state / f"moving-{domid}.image")}
        target = path or inline[INLINE]
        try:
            if inline:
                Path(target).touch(mode=0o600)
            request = {
                "domid": domid,
                "memory_bytes": memory_bytes,
                "about": about(domain.vm, domain.domain_type, memory_bytes),
                **where(target),
            }
            await self._workers.run("save", request, self._answers(domid))
        except (WorkerError, OSError) as problem:
            if inline:
                Path(target).unlink(missing_ok=True)
            raise errors.io_error(str(problem)) from problem
        return SavedMemory(memory_bytes, inline)

    def _answers(self, domid: int) -> Any:
        async def emulator() -> str:
            try:
                path = await self._model.save_state(domid)
            except (QmpError, QmpLost) as problem:
                raise WorkerError(str(problem)) from problem
            return "" if path is None else str(path)

        def answer(message: Mapping[str, Any]) -> Any:
            match message["do"]:
                case "suspend" | "log_dirty":
                    return True  # it has stopped already
                case "emulator":
                    return emulator()
                case _:
                    return None

        return answer

    async def restore(
        self, domid: int, vm: VmConfig, path: str, inline: Mapping[str, object]
    ) -> None:
        """Load an image into an empty domain.

        Errors: IO_error for what is no image or cannot be read, and those of
        preparing a domain.
        """
        source = str(inline.get(INLINE, "")) or path
        ports = await self._build.prepare(domid, vm)
        request = {
            "domid": domid,
            "store_port": ports.store,
            "console_port": ports.console,
            "emulator": str(self._model.state_path(domid)),
            **where(source),
        }
        try:
            found = await self._workers.run("restore", request)
        except WorkerError as problem:
            raise errors.io_error(str(problem)) from problem
        loaded = Loaded(found["store_mfn"], found["console_mfn"])
        await self._build.finish(domid, vm, ports, loaded)
        if inline:
            Path(source).unlink(missing_ok=True)


def about(vm: str, domain_type: str, memory_bytes: int) -> str:
    """Give what an image says of itself."""
    facts = {"version": 1, "vm": vm, "type": domain_type, "memory_bytes": memory_bytes}
    return orjson.dumps(facts).decode()


def where(path: str) -> dict[str, object]:
    """Tell a worker where an image is.  Errors: IO_error for no place at all."""
    if not path:
        raise errors.io_error("the disk of the suspend image has no path")
    export = nbd_export(path)
    if export is None:
        return {"path": path}
    return {"path": path, "nbd": [export.socket, export.export]}

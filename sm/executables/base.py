"""What SRs of executable drivers have in common: who has which disk, and data in and out."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Final

from sm import errors
from sm.contract import Backend, Config, Content, Extents, Vdi, VdiSpec
from sm.drivers.child_process import Children
from sm.drivers.path_access import PathAccess
from sm.drivers.tracking_calls import TrackingCalls
from sm.plugins import Plugin

IDLE_S: Final = 120.0


class ExecutableSr(PathAccess, TrackingCalls):
    """A ``sm.contract.AttachedSr``; subclasses run programs.

    A disk is attached by its first user and detached after the last one.
    """

    concurrency = 1
    reads_images = False

    def __init__(self, uuid: str, plugin: Plugin, children: Children) -> None:
        self.uuid = uuid
        self.plugin = plugin
        self._children = children
        self._attached: dict[str, tuple[Backend, set[str]]] = {}
        self._active: dict[str, set[str]] = {}

    def require(self, feature: str) -> None:
        """Errors: SR_OPERATION_NOT_SUPPORTED for a feature the driver does not list."""
        if not self.plugin.supports(feature):
            raise errors.unsupported(self.uuid)

    # -- what drivers do

    @abstractmethod
    async def attach_disk(self, vdi: str, read_write: bool) -> Backend: ...

    @abstractmethod
    async def detach_disk(self, vdi: str) -> None: ...

    @abstractmethod
    async def activate_disk(self, vdi: str, read_write: bool) -> None: ...

    @abstractmethod
    async def deactivate_disk(self, vdi: str) -> None: ...

    # -- users of disks

    async def _take(self, vdi: str, user: str, read_write: bool) -> Backend:
        if vdi not in self._attached:
            self._attached[vdi] = (await self.attach_disk(vdi, read_write), set())
        backend, users = self._attached[vdi]
        users.add(user)
        return backend

    async def _wake(self, vdi: str, user: str, read_write: bool) -> None:
        if not self._active.get(vdi):
            await self.activate_disk(vdi, read_write)
        self._active.setdefault(vdi, set()).add(user)

    async def _rest(self, vdi: str, user: str) -> None:
        users = self._active.get(vdi, set())
        if user in users:
            users.discard(user)
            if not users:
                await self.deactivate_disk(vdi)

    async def _leave(self, vdi: str, user: str) -> None:
        await self._rest(vdi, user)
        _, users = self._attached.get(vdi, (None, set()))
        if user in users:
            users.discard(user)
            if not users:
                del self._attached[vdi]
                await self.detach_disk(vdi)

    async def vdi_attach(self, vdi: str, read_write: bool) -> Backend:
        return await self._take(vdi, "guest", read_write)

    async def vdi_activate(self, vdi: str, read_write: bool) -> None:
        await self._take(vdi, "guest", read_write)
        await self._wake(vdi, "guest", read_write)

    async def vdi_deactivate(self, vdi: str) -> None:
        await self._rest(vdi, "guest")

    async def vdi_detach(self, vdi: str) -> None:
        await self._leave(vdi, "guest")

    # -- data

    async def vdi_path(self, vdi: str, writable: bool) -> str:
        backend = await self._take(vdi, "data", writable)
        await self._wake(vdi, "data", writable)
        if not backend.path:
            await self._leave(vdi, "data")
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, "its driver names no file")
        return backend.path

    async def vdi_note_written(self, vdi: str, extents: Extents, simulated: bool) -> Vdi:
        await self._leave(vdi, "data")
        return await self.vdi_stat(vdi)

    async def vdi_close(self, vdi: str, mode: str, commit: bool, extents: Extents) -> Vdi:
        return await self.vdi_note_written(vdi, extents, False)

    async def vdi_content(self, vdi: str, image: bool = False) -> Content:
        size = (await self.vdi_stat(vdi)).virtual_size
        return Content(await self.vdi_path(vdi, False), size)

    async def vdi_copied(self, vdi: str) -> None:
        await self._leave(vdi, "data")

    async def vdi_fill(self, vdi: str, content: Content) -> Vdi:
        path = await self.vdi_path(vdi, True)
        try:
            if content.path:
                command = ["qemu-img", "convert", "-p", "-n", "-f", content.format]
                command += ["-O", "raw", content.path, path]
                await self._children.tool(command, IDLE_S).ended()
        finally:
            await self._leave(vdi, "data")
        return await self.vdi_stat(vdi)

    # -- what there is to leave out

    async def set_name(self, name_label: str | None, name_description: str | None) -> None:
        """The names are in the toolstack's records."""

    async def vdi_introduce(self, vdi: str, location: str, sm_config: Config) -> Vdi:
        raise errors.unsupported(self.uuid)

    async def vdi_revert(self, vdi: str, snapshot: str) -> Vdi:
        raise errors.unsupported(self.uuid)

    async def vdi_epoch_begin(self, vdi: str, persistent: bool) -> None:
        if not persistent:
            raise errors.unsupported(self.uuid)

    async def vdi_compose(self, parent: str, child: str) -> None:
        raise errors.unsupported(self.uuid)

    async def collect_garbage(self) -> None:
        """The driver's own business."""

    def stop_collecting(self, why: str) -> None:
        """The driver's own business."""

    def garbage_report(self) -> Mapping[str, object]:
        return {"running": False, "progress": 1.0, "done": [], "skipped": []}

    async def release_locks(self, host_uuid: str) -> None:
        """The driver's own business."""


def members_of(spec: VdiSpec) -> dict[str, object]:
    """Give what a disk's maker decides, for drivers that are told by name."""
    return {
        "name_label": spec.name_label,
        "name_description": spec.name_description,
        "type": spec.type,
        "sharable": spec.sharable,
        "read_only": spec.read_only,
    }

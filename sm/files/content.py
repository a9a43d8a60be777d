"""Data in and out of a file SR: files that show disks, copies, and guests' datapaths."""

from collections.abc import Mapping
from dataclasses import replace

from sm import errors
from sm.contract import Backend, Content, Vdi, nbd_backend
from sm.files import qemu
from sm.files.sr import FileSr
from sm.files.state import disk_errors
from xapi_py.base.names import new_uuid


class ContentOf:
    """The data side of one SR."""

    def __init__(self, sr: FileSr) -> None:
        self._sr = sr
        self._filling: dict[str, str] = {}
        self._readers: dict[str, int] = {}

    def path(self, vdi: str, writable: bool) -> str:
        """A raw file with the disk's content; what is written to it is on the disk at once."""
        sr = self._sr
        disk = sr.usable(vdi)
        sr.not_busy(vdi)
        if writable and disk.members.get("read_only"):
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, "the VDI is read-only")
        node = sr.images.nodes[disk.node]
        if sr.images.plain and node.format == "raw" and not sr.backends.is_running(vdi):
            return str(sr.images.path(disk.node))
        return str(sr.backends.show(vdi, disk.node, writable=writable))

    def note_written(self, vdi: str) -> Vdi:
        """The writer is done: let the file go, and look how large the image is."""
        sr = self._sr
        sr.backends.stop_view(vdi)
        disk = sr.usable(vdi)
        if not sr.backends.is_running(vdi):
            sr.images.closed(disk.node)
        sr.notify("vdi", sr.uuid, vdi)
        sr.notify("sr", sr.uuid)
        return sr.record(disk)

    def content(self, vdi: str, image: bool) -> Content:
        """What to copy: the image itself if the taker can read it, else a raw file."""
        sr = self._sr
        disk = sr.usable(vdi)
        chain = sr.images.chain(disk.node)
        total = sum(sr.images.nodes[name].used_bytes for name in chain)
        data = min(total, sr.images.nodes[disk.node].virtual_size)
        if image:
            path, form = sr.images.source(disk.node)
            return Content(path, data, form)
        return Content(self.path(vdi, False), data)

    def begin_fill(self, vdi: str, content: Mapping[str, str]) -> list[str]:
        """Make a new image for a disk and give the command that fills it, if there is data."""
        sr = self._sr
        disk = sr.usable(vdi)
        sr.not_busy(vdi)
        sr.free(vdi)
        old = sr.images.nodes[disk.node]
        node = new_uuid()
        with disk_errors():
            sr.images.make(node, old.virtual_size, raw=old.format == "raw")
            try:
                sr.images.hold(f"fill/{vdi}", [node])
                sr.images.make_room(node, whole=True)
            except BaseException:
                self._forget(vdi, node)
                raise
            sr.images.sync()
        self._filling[vdi] = node
        sr.keep.add(node)
        sr.busy[vdi] = "it is being filled with data"
        if not content["path"]:
            return []
        target = sr.images.path(node)
        blank = sr.images.plain or old.format == "qcow2"
        source, form = content["path"], content["format"]
        return list(qemu.convert_command(source, form, target, old.format, blank=blank))

    def _forget(self, vdi: str, node: str) -> None:
        self._sr.images.let_go(f"fill/{vdi}")
        self._sr.images.delete(node)

    def end_fill(self, vdi: str, done: bool) -> Vdi:
        """The command ended: the new image is the disk's, or is thrown away."""
        sr = self._sr
        node = self._filling.pop(vdi, "")
        disk = sr.disk(vdi)
        if not node:  # it never began
            return sr.record(disk)
        sr.keep.discard(node)
        sr.busy.pop(vdi, None)
        if not done:
            self._forget(vdi, node)
            return sr.record(disk)
        with sr.new_images() as made, disk_errors():
            made.append(node)
            sr.images.look_at(node)
            moved = replace(disk, node=node, reset_base="")
            changes = sr.tracking.unlink(vdi, keep_changes=False) if disk.tracked else {}
            if disk.tracked:
                moved = moved.with_members(cbt_enabled=False)
            with open(sr.images.path(node), "rb+") as file:
                qemu.flush(file.fileno())
            sr.images.closed(node)
            sr.put(moved, changes=changes)
        sr.images.let_go(f"fill/{vdi}")
        sr.images.delete(disk.node)
        return sr.record(moved)

    def begin_read(self, vdi: str) -> None:
        """Keep a disk's images as they are while somebody copies them."""
        sr = self._sr
        sr.images.hold(f"read/{vdi}", sr.images.chain(sr.usable(vdi).node))
        self._readers[vdi] = self._readers.get(vdi, 0) + 1
        self._sr.busy[vdi] = "it is being copied"

    def end_read(self, vdi: str) -> None:
        """The copy is over."""
        left = self._readers.pop(vdi, 1) - 1
        if left:
            self._readers[vdi] = left
        else:
            self._sr.busy.pop(vdi, None)
            self._sr.images.let_go(f"read/{vdi}")

    def attach(self, vdi: str, read_write: bool) -> Backend:
        sr = self._sr
        disk = sr.usable(vdi)
        if read_write and disk.members.get("read_only"):
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, "the VDI is read-only")
        socket, export = sr.backends.address(vdi)
        return nbd_backend(str(socket), vdi, sr.type, export)

    def activate(self, vdi: str, read_write: bool) -> None:
        sr = self._sr
        disk = sr.usable(vdi)
        sr.not_busy(vdi)
        if not sr.backends.is_active(vdi):
            sr.backends.stop_view(vdi)
        with disk_errors():
            sr.store.lock(vdi, writing=read_write, sharable=bool(disk.members.get("sharable")))
        try:
            sr.backends.activate(vdi, disk.node, writable=read_write)
        except BaseException:
            sr.store.unlock(vdi)
            raise

    def watch(self) -> int:
        """Have room ahead of what running disks write; how many disks that concerns."""
        sr, watched = self._sr, 0
        for disk in sr.disks():
            if sr.backends.is_active(disk.uuid) and disk.node in sr.images.nodes:
                watched += 1
                end = sr.backends.written_end(disk.uuid, disk.node)
                sr.images.grow(disk.node, end)
        return watched

    def deactivate(self, vdi: str) -> None:
        sr = self._sr
        sr.backends.stop(vdi)
        with disk_errors():
            sr.store.unlock(vdi)
        disk = sr.find(vdi)
        if disk is not None:
            if disk.node in sr.images.nodes:
                sr.backends.reclaim(vdi, disk.node)
                sr.images.closed(disk.node)
            sr.images.look_at(disk.node)
            sr.notify("vdi", sr.uuid, vdi)

"""Disks' data for other processes of this host: opened at a socket, written, closed.

Who writes all of a disk, or on top of what it holds, writes to an image that
the disk gets when the writer says that all went well; until then the disk
is what it was.  Raw images, and disks whose changes are recorded, are written
in place.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from sm import errors
from sm.contract import Access, Vdi
from sm.files.disks import Disk
from sm.files.sr import FileSr
from sm.files.state import disk_errors
from xapi_py.base.names import new_uuid

GRACE_S: Final = 60.0
"""A writer that has not come, or not come back, for so long has died."""

MODES: Final = ("read", "amend", "replace")


@dataclass(frozen=True, slots=True)
class _Writing:
    """``node`` is the image that is written: the disk's own when it is done in place."""

    node: str
    replaces: bool
    since: float


class Transfers:
    """Opened disks of one SR."""

    def __init__(self, sr: FileSr, clock: Callable[[], float] = time.monotonic) -> None:
        self._sr = sr
        self._clock = clock
        self._writing: dict[str, _Writing] = {}

    def open(self, vdi: str, mode: str, base: str = "", images: bool = False) -> Access:
        """Open a disk.  ``base``: tell how many images lie above what both disks share.

        ``images``: the reader can read the images of a disk that is not in use.
        Errors: VDI_IN_USE, those of ``SrState.usable``.
        """
        sr = self._sr
        self._drop_dead(vdi)
        disk = sr.usable(vdi)
        sr.not_busy(vdi)
        if mode not in MODES:
            raise errors.backend_failure(errors.GENERAL, f"mode {mode}")
        if mode != "read":
            return self._open_to_write(disk, mode)
        node = sr.images.nodes[disk.node]
        if sr.images.plain and node.format == "raw" and not sr.backends.is_running(vdi):
            return Access(path=str(sr.images.path(disk.node)))
        depth = self._depth(disk, base)
        if images and sr.images.plain and not sr.backends.has_process(vdi):
            with disk_errors():
                layout = sr.images.layout(disk.node)
            if layout:
                sr.backends.lend(vdi, disk.node)
                return Access(images=layout, depth=depth)
        socket, export = sr.backends.serve_reader(vdi, disk.node)
        return Access(socket=str(socket), export=export, depth=depth)

    def _depth(self, disk: Disk, base: str) -> int:
        """Images of a disk above the first that ``base`` has too; -1 when there is none."""
        other = self._sr.find(base) if base else None
        if other is None:
            return -1
        shared = set(self._sr.images.chain(other.node))
        for depth, name in enumerate(self._sr.images.chain(disk.node)):
            if name in shared:
                return depth
        return -1

    def _open_to_write(self, disk: Disk, mode: str) -> Access:
        sr, vdi = self._sr, disk.uuid
        if disk.members.get("read_only"):
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, "the VDI is read-only")
        sr.free(vdi)
        old = sr.images.nodes[disk.node]
        raw = old.format == "raw"
        in_place = raw or disk.tracked
        node = disk.node
        if not in_place:
            node = new_uuid()
            parent = "" if mode == "replace" else disk.node
            with disk_errors():
                sr.images.make(node, old.virtual_size, parent)
                sr.images.sync()
            sr.keep.add(node)
        self._writing[vdi] = _Writing(node, mode == "replace", self._clock())
        sr.busy[vdi] = "data is being written to it"
        if raw and sr.images.plain:
            return Access(path=str(sr.images.path(node)))
        try:
            socket, export = sr.backends.serve_writer(vdi, node)
        except BaseException:
            self.close(vdi, commit=False)
            raise
        blank = not in_place and mode == "replace"
        return Access(socket=str(socket), export=export, blank=blank)

    def close(self, vdi: str, commit: bool) -> Vdi:
        """A writer is done: with ``commit`` what it wrote is the disk's, else it is dropped.

        Errors: 46 when the transfer was given up before.
        """
        sr = self._sr
        writing = self._writing.pop(vdi, None)
        if writing is None:
            if commit:
                text = "the disk's backend ended before all data was written"
                raise errors.backend_failure(errors.VDI_UNAVAILABLE, text)
            return sr.record(sr.disk(vdi))
        alive = sr.backends.is_running(vdi) and sr.backends.is_alive(vdi)
        sr.backends.stop(vdi)
        sr.busy.pop(vdi, None)
        sr.keep.discard(writing.node)
        disk = sr.disk(vdi)
        if writing.node in sr.images.nodes:
            sr.images.closed(writing.node)
        if writing.node == disk.node:
            sr.images.look_at(disk.node)
            sr.put(disk)
            return sr.record(disk)
        if not commit or not alive:
            sr.images.delete(writing.node)
            if commit:
                raise errors.backend_failure(errors.EIO, "the disk's backend has ended")
            return sr.record(disk)
        return self._take_over(disk, writing)

    def _take_over(self, disk: Disk, writing: _Writing) -> Vdi:
        sr = self._sr
        moved = replace(disk, node=writing.node)
        if writing.replaces:
            moved = replace(moved, reset_base="")
        with sr.new_images() as made, disk_errors():
            made.append(writing.node)
            sr.images.look_at(writing.node)
            sr.put(moved)
        if writing.replaces:
            sr.images.delete(disk.node)
        return sr.record(moved)

    def holders(self, vdi: str) -> list[dict[str, str]]:
        """Say who has a disk of this SR, here or on other hosts."""
        sr, found = self._sr, list[dict[str, str]]()
        disk = sr.disk(vdi)
        if vdi in sr.busy:
            found.append({"kind": "transfer", "who": sr.host, "why": sr.busy[vdi]})
        elif sr.backends.is_running(vdi) and not sr.backends.is_active(vdi):
            reading = "being read" if sr.backends.in_use(vdi) else "was read, and can be closed"
            found.append({"kind": "reader", "who": sr.host, "why": reading})
        for host, writing in sr.store.holders(vdi):
            mode = "reading and writing" if writing else "reading"
            found.append({"kind": "host", "who": host, "why": f"active for {mode}"})
        if disk.reset_base:
            found.append({"kind": "base", "who": vdi, "why": "it is reset when its VM starts"})
        return found

    def close_reader(self, vdi: str) -> None:
        """A reader is done; the last one to go ends the backend it needed."""
        backends = self._sr.backends
        idle = vdi not in self._writing and not backends.is_active(vdi)
        if idle and backends.is_running(vdi) and backends.left(vdi):
            backends.stop(vdi)

    def drop_dead(self) -> None:
        """Give up what dead writers left behind."""
        for vdi in tuple(self._writing):
            self._drop_dead(vdi)

    def _drop_dead(self, vdi: str) -> None:
        writing = self._writing.get(vdi)
        if writing is None or self._clock() - writing.since < GRACE_S:
            return
        if self._sr.backends.is_running(vdi) and not self._sr.backends.in_use(vdi):
            self.close(vdi, commit=False)

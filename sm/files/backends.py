"""The backends of one SR: which disks are in use here, and how to reach them.

A disk is *active* for a guest, or only shown as a file (a *view*) for a copy
in or out.  The folder survives a restart of the driver, and so do backends.
"""

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import Final

from sm import errors
from sm.files.images import Images
from sm.files.merge_job import MergeJob
from sm.files.storage_daemon import StorageDaemon, node_name
from xapi_py.base.image_locks import kept_from_writers

ACTIVE: Final = "active"
READER: Final = "reader"
WRITER: Final = "writer"
LENT: Final = "lent"
"""Somebody reads the images themselves; there is no backend."""
SERVED: Final = (ACTIVE, READER, WRITER)
"""Uses that reach the disk at its socket; the others are files."""
MAX_VIEWS: Final = 8
LEAVING_S: Final = 0.5
"""A reader's connection ends a moment after the reader has closed it."""


class Backends:
    """Backends by disk; ``folder`` of this host is this SR's, its parent all SRs'.

    Paths of sockets are short, so backends have short names beside the folder.
    """

    def __init__(self, folder: Path, images: Images) -> None:
        self._folder = folder
        self._images = images
        self._modes: dict[str, str] = {}
        self._lent: dict[str, str] = {}
        self._came: dict[str, tuple[str, str]] = {}
        self._died: set[str] = set()

    def daemon(self, vdi: str) -> StorageDaemon:
        """The process of a disk, running or not."""
        came = self._came.get(vdi)
        if came is not None:
            return StorageDaemon(self._folder.parent / came[0], came[1])
        name = hashlib.sha1(f"{self._folder.name}/{vdi}".encode()).hexdigest()[:12]
        return StorageDaemon(self._folder.parent / name, vdi)

    def _note(self, vdi: str) -> Path:
        return self._folder / f"{vdi}.mode"

    def look(self) -> None:
        """Find what an earlier process of this driver left running; views end."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for note in self._folder.glob("*.mode"):
            vdi = note.stem
            self._modes[vdi], *came = note.read_text().split()
            if len(came) == 2:
                self._came[vdi] = (came[0], came[1])
            if self._modes[vdi] != ACTIVE:
                self.stop(vdi)

    def is_active(self, vdi: str) -> bool:
        """Whether a guest may be using it here."""
        return self._modes.get(vdi) == ACTIVE

    def is_running(self, vdi: str) -> bool:
        """Whether a backend has its images open here."""
        return vdi in self._modes

    def views(self) -> list[str]:
        """Disks that are only read, or shown as a file."""
        return [vdi for vdi, mode in self._modes.items() if mode not in (ACTIVE, WRITER)]

    def _start(self, vdi: str, node: str, mode: str, *, writable: bool) -> StorageDaemon:
        daemon = self.daemon(vdi)
        self._note(vdi).write_text(mode)
        try:
            self._images.hold(vdi, self._images.chain(node))
            if writable:
                self._images.make_room(node, whole=mode != ACTIVE)
            chain = self._images.chain_files(node)
            daemon.start(chain, writable=writable, serve=mode in SERVED)
        except BaseException:
            self._images.let_go(vdi)
            self._note(vdi).unlink()
            raise
        self._modes[vdi] = mode
        return daemon

    def activate(self, vdi: str, node: str, *, writable: bool) -> None:
        """Serve a disk to a guest; one that is served already stays as it is."""
        if self.is_active(vdi) and self.daemon(vdi).running():
            return
        self.stop(vdi)
        self.reclaim(vdi, node)
        self._start(vdi, node, ACTIVE, writable=writable)

    def address(self, vdi: str) -> tuple[Path, str]:
        """Socket at which an active disk is, or will be, served, and the export's name."""
        daemon = self.daemon(vdi)
        return daemon.nbd_path, daemon.disk

    def adopt(self, vdi: str, node: str, folder: str, export: str) -> None:
        """An active disk has come, with the process that serves it, from another SR."""
        self._note(vdi).write_text(f"{ACTIVE} {folder} {export}")
        self._images.hold(vdi, self._images.chain(node))
        self._modes[vdi], self._came[vdi] = ACTIVE, (folder, export)

    def release(self, vdi: str) -> None:
        """Forget a disk whose process serves another SR's now."""
        self._modes.pop(vdi, None)
        self._came.pop(vdi, None)
        self._images.let_go(vdi)
        self._note(vdi).unlink(missing_ok=True)

    def reclaim(self, vdi: str, node: str) -> None:
        """Free what the last backend of a disk left in its image, if it was killed."""
        if vdi in self._died:
            self._died.discard(vdi)
            with self._images.at_hand(node):
                self._images.reclaim(node)

    def show(self, vdi: str, node: str, *, writable: bool) -> Path:
        """Show a disk as a file.  Errors: VDI_IN_USE to write to an active one."""
        mode = self._modes.get(vdi, "")
        if mode == ACTIVE:
            if writable:
                raise errors.backend_failure(errors.VDI_IN_USE)
            return self.daemon(vdi).show_file()
        wanted = "write" if writable else "read"
        if mode and (mode == "write" or mode == wanted) and self.daemon(vdi).running():
            return self.daemon(vdi).file_path
        self.stop_view(vdi)
        self._make_room()
        return self._start(vdi, node, wanted, writable=writable).file_path

    def serve_reader(self, vdi: str, node: str) -> tuple[Path, str]:
        """Serve a disk for reading; gives socket and name of the export."""
        daemon, mode = self.daemon(vdi), self._modes.get(vdi, "")
        if mode == ACTIVE:
            return daemon.nbd_path, daemon.add_reader()
        if mode != READER or not daemon.running():
            if mode != LENT:
                self.stop_view(vdi)
            self._make_room()
            self._start(vdi, node, READER, writable=False)
        return daemon.nbd_path, vdi

    def has_process(self, vdi: str) -> bool:
        """Whether a process has its images open here, so that others reach it there."""
        return self._modes.get(vdi, LENT) != LENT

    def lend(self, vdi: str, node: str) -> None:
        """Note that somebody reads a disk's images, which its locks on them show."""
        self._note(vdi).write_text(LENT)
        self._modes[vdi], self._lent[vdi] = LENT, str(self._images.path(node))

    def serve_writer(self, vdi: str, node: str) -> tuple[Path, str]:
        """Serve an image for writing under the name of a disk that nobody uses."""
        self.stop_view(vdi)
        return self._start(vdi, node, WRITER, writable=True).nbd_path, vdi

    def _make_room(self) -> None:
        for other in self.views()[: -(MAX_VIEWS - 1)]:
            with contextlib.suppress(Exception):
                self.stop_view(other)

    def is_alive(self, vdi: str) -> bool:
        """Whether the backend's process is there."""
        return self.daemon(vdi).running()

    def stop_view(self, vdi: str) -> None:
        """End a view.  Errors: VDI_IN_USE while somebody has the file open."""
        if vdi in self._modes and not self.is_active(vdi):
            if self._modes[vdi] == WRITER or not self.left(vdi):
                raise errors.backend_failure(errors.VDI_IN_USE)
            self.stop(vdi)

    def in_use(self, vdi: str) -> bool:
        """Whether any process has a view's file open, or is connected to its socket."""
        mode, daemon = self._modes.get(vdi), self.daemon(vdi)
        if mode == LENT:
            return kept_from_writers(self._lent[vdi])
        return daemon.connected() if mode in SERVED else daemon.file_in_use()

    def left(self, vdi: str) -> bool:
        """Whether nobody uses a view; who has just gone is waited for."""
        end = time.monotonic() + LEAVING_S
        while self.in_use(vdi):
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def stop_unused_views(self) -> None:
        """End the views that no process has open."""
        for vdi in self.views():
            if not self.in_use(vdi):
                self.stop(vdi)

    def stop_views(self) -> None:
        """End all views."""
        for vdi in self.views():
            self.stop(vdi)

    def stop(self, vdi: str) -> None:
        """End the backend of a disk, if it has one."""
        if self._modes.pop(vdi, None) is not None or os.path.exists(self._note(vdi)):
            lent, daemon = self._lent.pop(vdi, None), self.daemon(vdi)
            if lent is None and not daemon.running():
                self._died.add(vdi)
            daemon.stop()
            self._came.pop(vdi, None)
            self._images.let_go(vdi)
            self._note(vdi).unlink(missing_ok=True)

    def switch(self, vdi: str, node: str) -> None:
        """Let the writes of an active disk go to a new image on top."""
        self._images.hold(vdi, [node])
        self.daemon(vdi).switch_to(self._images.path(node))

    def ensure_image(self, vdi: str, node: str) -> None:
        """The same, unless it happened already or the backend is gone."""
        daemon = self.daemon(vdi)
        if daemon.running() and daemon.image() != node_name(self._images.path(node)):
            self._images.hold(vdi, [node])
            daemon.switch_to(self._images.path(node))

    def written_end(self, vdi: str, node: str) -> int:
        """Offset behind the last byte a backend wrote to an image since it opened it."""
        return self.daemon(vdi).written_end(self._images.path(node))

    def grow(self, vdi: str, size: int) -> None:
        """Make an active disk larger; who uses it has to connect again."""
        self.daemon(vdi).grow(size)

    def start_merge(self, vdi: str, node: str, into: str) -> None:
        """Let an active disk's backend merge an image into its parent."""
        MergeJob(self.daemon(vdi)).start(self._images.path(node), self._images.path(into))

    def merge_state(self, vdi: str) -> tuple[str, float]:
        """State and progress of such a merge."""
        return MergeJob(self.daemon(vdi)).state()

    def finish_merge(self, vdi: str, into: str) -> None:
        """Let the disk use the parent."""
        MergeJob(self.daemon(vdi)).finish(self._images.path(into))

    def cancel_merge(self, vdi: str) -> None:
        """Give such a merge up."""
        MergeJob(self.daemon(vdi)).cancel()

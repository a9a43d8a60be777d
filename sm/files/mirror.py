"""Moving a disk in use to another SR of this host: what each of the two SRs does.  Blocking.

The SR it goes to has a disk that is marked as partial until the move is done;
``drop_partial`` deletes those that a dead process left.  The backend process
goes over with the disk: who is connected to it notices nothing.
Design: doc/design/005-live-mirror.md.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sm import errors
from sm.contract import Vdi, VdiSpec
from sm.files.mirror_job import MirrorJob
from sm.files.record_log import Changes
from sm.files.sr import FileSr
from sm.files.state import disk_errors
from sm.files.storage_daemon import file_in_use, node_name

PARTIAL: Final = "partial/"


class MirrorSource:
    """The SR a disk leaves."""

    def __init__(self, sr: FileSr) -> None:
        self._sr = sr

    def _job(self, vdi: str) -> MirrorJob:
        """Errors: 46 when the backend has ended."""
        if not self._sr.backends.is_active(vdi) or not self._sr.backends.is_alive(vdi):
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, "the VDI is not in use")
        return MirrorJob(self._sr.backends.daemon(vdi))

    def begin(self, vdi: str, image: Mapping[str, str]) -> None:
        """Begin to mirror an active disk into an image.  Errors: VDI_IN_USE, 46."""
        sr = self._sr
        sr.usable(vdi)
        sr.not_busy(vdi)
        self._job(vdi).start(Path(image["path"]), image["format"])
        sr.busy[vdi] = "it is being moved"

    def state(self, vdi: str) -> tuple[str, float]:
        """As ``MirrorJob.state``.  Errors: 46 when the backend has ended."""
        return self._job(vdi).state()

    def switch(self, vdi: str) -> Mapping[str, str]:
        """Let the guest use the other image; gives what ``MirrorTarget.adopt`` needs."""
        self._job(vdi).switch()
        return self.backend(vdi)

    def backend(self, vdi: str) -> Mapping[str, str]:
        """Say which process serves a disk."""
        daemon = self._sr.backends.daemon(vdi)
        return {"folder": daemon.folder.name, "export": daemon.disk}

    def switched(self, vdi: str, path: str) -> Mapping[str, str] | None:
        """Give a disk's backend if it lives, and uses another image than its own: this one."""
        backends = self._sr.backends
        if not backends.is_active(vdi) or not backends.is_alive(vdi):
            return None
        if backends.daemon(vdi).image() != node_name(Path(path)):
            return None
        return self.backend(vdi)

    def release(self, vdi: str) -> None:
        """The backend belongs to another disk now."""
        sr = self._sr
        sr.busy.pop(vdi, None)
        sr.backends.release(vdi)
        with disk_errors():
            sr.store.unlock(vdi)
        sr.notify("vdi", sr.uuid, vdi)

    def cancel(self, vdi: str) -> None:
        """Give the mirror up; nothing happened."""
        sr = self._sr
        sr.busy.pop(vdi, None)
        if sr.backends.is_active(vdi) and sr.backends.is_alive(vdi):
            self._job(vdi).cancel()


class MirrorTarget:
    """The SR a disk comes to."""

    def __init__(self, sr: FileSr) -> None:
        self._sr = sr

    def receive(self, spec: Mapping[str, Any]) -> Mapping[str, object]:
        """Make a partial disk and have its image at hand; gives both."""
        sr = self._sr
        wanted = VdiSpec(**spec)
        sr.commit({f"{PARTIAL}{wanted.uuid}": {"host": sr.host}})
        try:
            made = sr.vdi_create(wanted)
            node = sr.disk(made.uuid).node
            sr.images.hold(f"mirror/{made.uuid}", [node])
            sr.images.make_room(node, whole=True)
        except BaseException:
            self.give_up(wanted.uuid)
            raise
        sr.busy[made.uuid] = "it is being filled with data"
        return {"path": str(sr.images.path(node)), "format": sr.images.nodes[node].format}

    def image(self, vdi: str) -> str:
        """Path of a partial disk's image."""
        return str(self._sr.images.path(self._sr.disk(vdi).node))

    def adopt(self, vdi: str, backend: Mapping[str, str], writable: bool) -> Vdi:
        """The disk is complete, and active in a process that another SR started."""
        sr = self._sr
        disk = sr.disk(vdi)
        with disk_errors():
            sr.store.lock(vdi, writing=writable, sharable=bool(disk.members.get("sharable")))
        sr.backends.adopt(vdi, disk.node, backend["folder"], backend["export"])
        sr.images.let_go(f"mirror/{vdi}")
        sr.busy.pop(vdi, None)
        with disk_errors():
            sr.images.look_at(disk.node)
        sr.put(disk, changes={f"{PARTIAL}{vdi}": None})
        return sr.record(disk)

    def give_up(self, vdi: str) -> None:
        """Delete a partial disk; one that is complete stays."""
        sr = self._sr
        if f"{PARTIAL}{vdi}" not in sr.log.records:
            return
        sr.busy.pop(vdi, None)
        sr.images.let_go(f"mirror/{vdi}")
        drop(sr, vdi)


def drop(sr: FileSr, vdi: str) -> None:
    """Delete a partial disk with its image."""
    disk = sr.find(vdi)
    changes: Changes = {f"{PARTIAL}{vdi}": None, f"vdi/{vdi}": None}
    sr.commit(changes)
    sr.notify("vdi", sr.uuid, vdi)
    if disk is not None and disk.node:
        sr.images.delete(disk.node)


def drop_partial(sr: FileSr) -> None:
    """Delete the partial disks that this host began and that no process fills any more."""
    for record, about in list(sr.log.records.items()):
        if record.startswith(PARTIAL) and about.get("host") == sr.host:
            vdi = record.removeprefix(PARTIAL)
            disk = sr.find(vdi)
            if disk is None or not file_in_use(sr.images.path(disk.node)):
                drop(sr, vdi)

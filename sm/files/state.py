"""The state of one SR on its medium, and repairing it.  Blocking.

Every operation makes what it needs first and has one commit of records as its
point of no return; what is left over from a killed process is garbage that
``repair`` finds.  Design: doc/design/002-file-sr.md.
"""

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sm import errors
from sm.contract import Vdi
from sm.files.backends import Backends
from sm.files.chains import Chains, Use
from sm.files.disks import (
    Disk,
    from_record,
    to_vdi,
)
from sm.files.record_log import Changes, RecordLog, sync_folder
from sm.files.store import FOLDERS, METADATA, Store
from sm.files.tracking import Tracking
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.errors import RpcError


def make_sr(
    folder: Path, sr_type: str, names: tuple[str, str], sm_config: Mapping[str, str]
) -> None:
    """Make an SR in a new folder.  Errors: 42 when something is there, 44, 461."""
    with disk_errors(errors.backend_failure(errors.READ_ONLY_FILE_SYSTEM)):
        if folder.exists() and any(folder.iterdir()):
            raise errors.backend_failure(errors.SR_EXISTS, folder.name)
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        log = RecordLog(folder / METADATA)
        log.commit(
            {
                "sr": {
                    "type": sr_type,
                    "name_label": names[0],
                    "name_description": names[1],
                    "sm_config": dict(sm_config),
                }
            }
        )
        log.close()
        sync_folder(folder.parent)


@contextmanager
def disk_errors(other: RpcError | None = None) -> Iterator[None]:
    """Turn failures of the file system into errors: 44 when it is full, 461, 200 or ``other``."""
    try:
        yield
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise errors.backend_failure(errors.NO_SPACE, str(problem)) from problem
        if problem.errno == errno.EFBIG:
            raise errors.backend_failure(errors.VDI_SIZE, str(problem)) from problem
        if other is not None:
            raise other from problem
        if problem.errno == errno.EROFS:
            raise errors.backend_failure(errors.READ_ONLY_FILE_SYSTEM) from problem
        raise errors.backend_failure(errors.EIO, str(problem)) from problem


class SrState:
    """What an SR holds, and the steps operations are made of.

    ``run_folder`` is for sockets of backends.  ``notify`` is told of changed
    disks and of the SR.  ``hook`` is called around every step that lasts.
    """

    def __init__(
        self,
        uuid: str,
        sr_type: str,
        store: Store,
        run_folder: Path,
        host: str,
        notify: Callable[..., object] = lambda *_: None,
        hook: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.uuid = uuid
        self.type = sr_type
        self.store = store
        self.host = host
        self.notify = notify
        self.hook = hook
        self.log = store.log
        if "sr" not in self.log.records:
            raise errors.backend_failure(errors.SR_UNAVAILABLE, f"no such SR: {uuid}")
        self.images = store.images
        self.tracking = Tracking(store.bits, self.log, self.images)
        self.backends = Backends(run_folder, self.images)
        self.busy: dict[str, str] = {}
        self.keep: set[str] = set()
        self.repair()

    def take_charge(self) -> None:
        """Become the host that changes the SR, which finishes what another one left."""
        if not self.store.mine and self.store.take_charge():
            self.repair()

    def repair(self) -> None:
        """Bring what a killed process left into order: finish or forget its last step."""
        with disk_errors():
            self.images.look()
            self.backends.look()
            for disk in self.disks():
                if self.backends.is_running(disk.uuid):
                    self.images.hold(disk.uuid, self.images.chain(disk.node))
            if not self.store.mine:
                return
            for name, record in list(self.log.records.items()):
                if name.startswith("journal/"):
                    self._finish_switch(name, name.removeprefix("journal/"), str(record["node"]))
            self.images.repair()
            known = {f"vdi/{disk.uuid}" for disk in self.disks()}
            for vdi in self.backends.views():
                if f"vdi/{vdi}" not in known:
                    self.backends.stop(vdi)
            self._drop_garbage()
            self.tracking.drop_unused()
            if self.images.pending():
                self.commit({})

    def _drop_garbage(self) -> None:
        if self.images.damaged or self.log.lost_lines:
            return
        chains = self.chains()
        for node in chains.garbage():
            self.images.delete(node)
        needed = {disk.node for disk in self.disks()}
        needed |= {node.parent for node in self.images.nodes.values()}
        self.images.forget_missing(needed.__contains__)

    def _finish_switch(self, journal: str, vdi: str, node: str) -> None:
        """A running disk was being switched to a new image: it is its image now, used or not."""
        disk = self.find(vdi)
        changes: Changes = {journal: None}
        if disk is not None and node in self.images.nodes:
            changes[f"vdi/{vdi}"] = replace(disk, node=node).to_record()
            if self.backends.is_active(vdi):
                self.backends.ensure_image(vdi, node)
        self.commit(changes)

    # -- reading

    def disks(self) -> list[Disk]:
        """All records of disks."""
        return [
            from_record(name[4:], record)
            for name, record in self.log.records.items()
            if name.startswith("vdi/")
        ]

    def find(self, vdi: str) -> Disk | None:
        """The record of a disk, if there is one."""
        record = self.log.records.get(f"vdi/{vdi}")
        return None if record is None else from_record(vdi, record)

    def disk(self, vdi: str) -> Disk:
        """The record of a disk; Vdi_does_not_exist."""
        found = self.find(vdi)
        if found is None:
            raise errors.vdi_does_not_exist(vdi)
        return found

    def usable(self, vdi: str) -> Disk:
        """A disk with all its images.  Errors: Vdi_does_not_exist, 65 for damage, 46."""
        self.store.refresh()
        journal = self.log.records.get(f"journal/{vdi}")
        if journal is not None and self.store.mine:
            self._finish_switch(f"journal/{vdi}", vdi, str(journal["node"]))
        disk = self.disk(vdi)
        with disk_errors():
            self.images.look_at(disk.node)
        damage = self._damage(disk)
        if damage:
            raise errors.backend_failure(errors.VDI_LOAD, damage)
        if not self.images.chain_files(disk.node):
            what = "its data was destroyed" if not disk.node else "an image file is missing"
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, what)
        return disk

    def _damage(self, disk: Disk) -> str:
        damaged = self.images.damaged
        if not damaged:
            return ""
        name = disk.node
        while name in self.images.nodes:
            name = self.images.nodes[name].parent
        return damaged.get(name, "")

    def chains(self) -> Chains:
        """The tree with how each disk is used."""
        uses = {}
        elsewhere = self.store.held_elsewhere()
        for disk in self.disks():
            active = self.backends.is_active(disk.uuid)
            busy = self.busy.get(disk.uuid, "")
            if not busy and not active and self.backends.is_running(disk.uuid):
                busy = "its content is being read or written as a file"
            if not busy and disk.uuid in elsewhere:
                busy = "it is in use by another host"
            if not busy and disk.reset_base:
                busy = "it is reset when its VM starts"
            uses[disk.uuid] = Use(disk.node, active, disk.tracked, busy)
        return Chains(self.images.nodes, uses)

    def record(self, disk: Disk) -> Vdi:
        """The record of a disk as callers see it."""
        return to_vdi(disk, self.images.nodes.get(disk.node), self._damage(disk))

    def free_bytes(self) -> int:
        """Space left for images."""
        return self.store.space().free

    def commit(self, changes: Changes) -> None:
        """Commit records with those about images."""
        with disk_errors():
            self.log.commit({**self.images.pending(), **changes})
        self.images.committed()

    def put(self, *disks: Disk, **others: object) -> None:
        """Commit disks, with other records as ``changes``; then tell about them."""
        changes: Changes = {f"vdi/{d.uuid}": d.to_record() for d in disks}
        more = others.get("changes", {})
        assert isinstance(more, dict)
        self.commit({**changes, **more})
        for disk in disks:
            self.notify("vdi", self.uuid, disk.uuid)
        self.notify("sr", self.uuid)

    @contextmanager
    def new_images(self) -> Iterator[list[str]]:
        """Delete the images in the list when the block fails, but for those a disk has now."""
        made: list[str] = []
        try:
            yield made
        except Exception:
            for name in set(made).intersection(self.chains().garbage()):
                self.images.delete(name)
            raise
        self.hook("made")

    def not_busy(self, vdi: str) -> None:
        """Refuse to touch a disk that is being copied.  Errors: VDI_IN_USE."""
        if vdi in self.busy:
            raise errors.backend_failure(errors.VDI_IN_USE)

    def free(self, vdi: str) -> None:
        """Close views of a disk that nobody reads.  Errors: VDI_IN_USE when it is active."""
        if self.store.holders(vdi) or self.backends.is_active(vdi):
            raise errors.backend_failure(errors.VDI_IN_USE)
        self.backends.stop_view(vdi)

    def switch(self, disk: Disk, node: str, made: list[str]) -> None:
        """Let a running backend write to a new image; the log says so before it happens.

        When nobody knows whether it happened, the image stays for ``repair``.
        Errors: Activated_on_another_host, whose backend we cannot tell.
        """
        other = self.store.held_elsewhere().get(disk.uuid)
        if other is not None:
            raise errors.activated_elsewhere(other)
        if not self.backends.is_active(disk.uuid):
            self.backends.stop_view(disk.uuid)
            return
        self.commit({f"journal/{disk.uuid}": {"node": node}})
        made.remove(node)
        self.backends.switch(disk.uuid, node)
        self.hook("switched")

    def push_down(self, disk: Disk, made: list[str]) -> Disk:
        """Give the disk with what it holds in a parent; commit the answer."""
        node = self.images.examine(disk.node)
        if node.parent and node.empty:
            return disk
        top = new_uuid()
        room = not disk.members.get("is_a_snapshot")
        self.images.make(top, node.virtual_size, disk.node, room=room)
        made.append(top)
        return replace(disk, node=top)

"""One SR: what each operation does to records and images.  Blocking.

Every operation makes what it needs first and has one commit of records as its
point of no return.  Design: doc/design/002-file-sr.md.
"""

from collections.abc import Mapping
from dataclasses import replace

from sm import errors
from sm.contract import SrStat, Vdi, VdiSpec
from sm.files.chains import MAX_CHAIN
from sm.files.disks import (
    CALLER_OWNED,
    Disk,
    check_texts,
    hidden_vdi,
    is_raw,
    new_disk,
    valid_size,
)
from sm.files.record_log import Changes
from sm.files.state import SrState, disk_errors
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.errors import RpcError


class FileSr(SrState):
    """The operations on an SR, whatever it is kept on."""

    def stat(self) -> SrStat:
        record = self.log.records["sr"]
        with disk_errors(errors.backend_failure(errors.SR_SCAN, "the medium cannot be read")):
            space = self.store.space()
        nodes = self.images.nodes
        sizes = (nodes[d.node].virtual_size for d in self.disks() if d.node in nodes)
        sm_config = record["sm_config"]
        assert isinstance(sm_config, dict)
        return SrStat(
            uuid=self.uuid,
            type=self.type,
            name_label=str(record["name_label"]),
            name_description=str(record["name_description"]),
            physical_size=space.size,
            physical_utilisation=space.used,
            virtual_allocation=sum(sizes),
            sm_config=sm_config,
            generation=self.log.generation,
        )

    def scan(self) -> list[Vdi]:
        """All disks and hidden images; damaged ones are among them and stop nothing."""
        with disk_errors(errors.backend_failure(errors.SR_SCAN, "the medium cannot be read")):
            self.log.refresh()
            self.images.look()
        disks = self.disks()
        leaves = {disk.node for disk in disks}
        needed = {name for disk in disks for name in self.images.chain(disk.node)}
        hidden = [
            hidden_vdi(name, node)
            for name, node in self.images.nodes.items()
            if name in needed and name not in leaves
        ]
        return [self.record(disk) for disk in disks] + hidden

    def vdi_stat(self, vdi: str) -> Vdi:
        disk = self.find(vdi)
        if disk is not None:
            self.images.look_at(disk.node)
            return self.record(disk)
        if vdi in self.images.nodes and vdi not in self.chains().garbage():
            return hidden_vdi(vdi, self.images.nodes[vdi])
        raise errors.vdi_does_not_exist(vdi)

    def set_name(self, name_label: str | None, name_description: str | None) -> None:
        old = self.log.records["sr"]
        new = {
            "name_label": old["name_label"] if name_label is None else name_label,
            "name_description": (
                old["name_description"] if name_description is None else name_description
            ),
        }
        self.put(changes={"sr": {**old, **new}})

    def destroy(self) -> None:
        if any(self.disks()):
            raise errors.backend_failure(errors.SR_NOT_EMPTY)
        self.backends.stop_views()
        with disk_errors():
            self.store.erase()
        self.notify("sr", self.uuid)

    def detach(self) -> None:
        self.backends.stop_views()
        self.store.close()

    def vdi_create(self, spec: VdiSpec, ready: str = "") -> Vdi:
        """Make a disk; ``ready`` is an image for it that was made before."""
        check_texts(spec.name_label, spec.name_description)
        raw, size = is_raw(spec), valid_size(spec.virtual_size)
        uuid, node = spec.uuid or new_uuid(), ready or new_uuid()
        if self.find(uuid) is not None or uuid in self.images.nodes:
            raise errors.backend_failure(errors.VDI_EXISTS, uuid)
        with self.new_images() as made, disk_errors():
            if not ready:
                self.images.make(node, size, raw=raw, room=True)
            made.append(node)
            self.images.sync()
            disk = new_disk(uuid, node, spec)
            self.put(disk)
        return self.record(disk)

    def vdi_introduce(self, vdi: str, location: str, sm_config: Mapping[str, str]) -> Vdi:
        disk = self.find(location) or self.find(vdi)
        if disk is None:
            text = f"no such VDI: {location or vdi}"
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, text)
        return self.record(disk)

    def vdi_destroy(self, vdi: str) -> None:
        if self.find(vdi) is None and vdi in self.images.nodes:
            raise errors.backend_failure(
                errors.VDI_DELETE, "hidden VDIs are collected, not deleted"
            )
        disk = self.disk(vdi)
        self.not_busy(vdi)
        self.free(vdi)
        changes: Changes = {f"vdi/{vdi}": None}
        changes |= self.tracking.unlink(vdi, keep_changes=True)
        self.put(changes=changes)
        self.notify("vdi", self.uuid, vdi)
        if disk.node not in self.keep:
            self.images.delete(disk.node)
        self.tracking.drop_unused()

    def vdi_snapshot(self, vdi: str, spec: VdiSpec) -> Vdi:
        return self._fork(vdi, spec, snapshot=True)

    def vdi_clone(self, vdi: str, spec: VdiSpec) -> Vdi:
        return self._fork(vdi, spec, snapshot=False)

    def _fork(self, vdi: str, spec: VdiSpec, *, snapshot: bool) -> Vdi:
        number = errors.VDI_SNAPSHOT if snapshot else errors.VDI_CLONE
        if self.find(vdi) is None and vdi in self.images.nodes:
            raise errors.backend_failure(number, "hidden VDI")
        if self.disk(vdi).members.get("type") == "cbt_metadata":
            raise errors.backend_failure(number, "the data of the VDI was destroyed")
        check_texts(spec.name_label, spec.name_description)
        disk = self.usable(vdi)
        self.not_busy(vdi)
        if len(self.images.chain(disk.node)) > MAX_CHAIN:
            raise errors.backend_failure(errors.CHAIN_TOO_LONG)
        copy = new_disk(spec.uuid or new_uuid(), new_uuid(), spec)
        inherited = {n: disk.members[n] for n in ("type", "content_id") if n in disk.members}
        copy = copy.with_members(**inherited)
        if snapshot:
            copy = copy.with_members(is_a_snapshot=True, snapshot_of=vdi)
        if self.find(copy.uuid) is not None:
            raise errors.backend_failure(errors.VDI_EXISTS, copy.uuid)
        with self.new_images() as made, disk_errors():
            self._fork_images(disk, copy, made, snapshot)
        return self.record(self.disk(copy.uuid))

    def _fork_images(self, disk: Disk, copy: Disk, made: list[str], snapshot: bool) -> None:
        node, old = self.images.examine(disk.node), disk.node
        share = node.empty and node.parent and not self.backends.is_running(disk.uuid)
        base = node.parent if share else old
        self.images.make(copy.node, node.virtual_size, base, room=not snapshot)
        made.append(copy.node)
        tracked = disk.tracked and snapshot
        if share and not tracked:
            self.images.sync()
            self.put(copy)
            return
        top = new_uuid()
        room = not disk.members.get("is_a_snapshot")
        self.images.make(top, node.virtual_size, base, room=room)
        made.append(top)
        if disk.tracked:
            self.tracking.start(top)
        self.images.sync()
        self.switch(disk, top, made)
        moved = replace(disk, node=top)
        changes: Changes = {f"journal/{disk.uuid}": None}
        if tracked:
            copy = copy.with_members(cbt_enabled=True)
            try:
                changes |= self.tracking.cut(disk, old, copy.uuid)
            except RpcError:  # the log is broken: tracking ends here, the data is what counts
                copy, moved = (d.with_members(cbt_enabled=False) for d in (copy, moved))
                changes |= self.tracking.unlink(disk.uuid, keep_changes=False)
        elif disk.tracked:
            changes |= self.tracking.inherit(disk, old)
        self.put(moved, copy, changes=changes)
        self.images.trim(old)

    def vdi_revert(self, vdi: str, snapshot: str) -> Vdi:
        disk, source = self.usable(vdi), self.usable(snapshot)
        self.not_busy(vdi)
        self.free(vdi)
        self.free(snapshot)
        with self.new_images() as made, disk_errors():
            source = self.push_down(source, made)
            node = self.images.nodes[source.node]
            top = new_uuid()
            self.images.make(top, node.virtual_size, node.parent, room=True)
            made.append(top)
            self.images.sync()
            moved = replace(disk.with_members(cbt_enabled=False), node=top)
            changes = self.tracking.unlink(vdi, keep_changes=False)
            self.put(source, moved, changes=changes)
        self.images.delete(disk.node)
        return self.record(moved)

    def vdi_resize(self, vdi: str, virtual_size: int) -> Vdi:
        disk = self.usable(vdi)
        node = self.images.nodes[disk.node]
        if node.format == "raw":
            raise errors.unsupported(self.uuid)
        if virtual_size < node.virtual_size:
            raise errors.backend_failure(errors.VDI_SIZE, "shrinking not allowed")
        size = valid_size(virtual_size)
        if size == node.virtual_size:
            return self.record(disk)
        self.not_busy(vdi)
        if self.backends.is_active(vdi):
            with disk_errors():
                self.images.resize_live(disk.node, size, lambda: self.backends.grow(vdi, size))
        else:
            self.free(vdi)
            with disk_errors():
                self.images.resize(disk.node, size)
        self.put(disk)
        return self.record(disk)

    def vdi_set(self, vdi: str, changes: Mapping[str, object]) -> Vdi:
        foreign = set(changes) - CALLER_OWNED
        if foreign:
            raise ValueError(f"not the caller's to set: {sorted(foreign)}")
        check_texts(changes.get("name_label", ""), changes.get("name_description", ""))
        disk = self.disk(vdi).with_members(**changes)
        if changes.get("persistent"):
            disk = replace(disk, reset_base="")
        self.put(disk)
        return self.record(disk)

    def vdi_enable_cbt(self, vdi: str) -> Vdi:
        disk = self.usable(vdi)
        if self.images.nodes[disk.node].format == "raw":
            raise errors.backend_failure(errors.VDI_TYPE, "raw VDIs have no change log")
        if disk.tracked:
            return self.record(disk)
        self.not_busy(vdi)
        self.free(vdi)
        self.tracking.stop(disk.node)
        self.tracking.start(disk.node)
        disk = disk.with_members(cbt_enabled=True)
        self.put(disk, changes=self.tracking.link(vdi))
        return self.record(disk)

    def vdi_disable_cbt(self, vdi: str) -> Vdi:
        disk = self.disk(vdi).with_members(cbt_enabled=False)
        self.put(disk, changes=self.tracking.unlink(vdi, keep_changes=False))
        if disk.node and not self.backends.is_running(vdi):
            self.tracking.stop(disk.node)
        return self.record(disk)

    def vdi_data_destroy(self, vdi: str) -> Vdi:
        disk = self.disk(vdi)
        self.not_busy(vdi)
        self.free(vdi)
        node = self.images.nodes.get(disk.node)
        size = node.virtual_size if node else 0
        gone = replace(disk.with_members(type="cbt_metadata", virtual_size=size), node="")
        self.put(gone)
        self.images.delete(disk.node)
        return self.record(gone)

    def vdi_list_changed_blocks(self, vdi_from: str, vdi_to: str) -> str:
        self.disk(vdi_from)
        target = self.disk(vdi_to)
        if self.backends.is_active(vdi_to):
            text = "the VDI is in use: ask for a snapshot of it"
            raise errors.backend_failure(errors.CBT_CHANGED_BLOCKS, text)
        self.backends.stop_view(vdi_to)
        return self.tracking.between(vdi_from, target)

    def vdi_epoch_begin(self, vdi: str, persistent: bool) -> None:
        if persistent:
            return
        disk = self.usable(vdi)
        self.not_busy(vdi)
        self.free(vdi)
        base = disk.reset_base
        if base not in self.images.chain(disk.node)[1:]:
            base = disk.node
        with self.new_images() as made, disk_errors():
            top = new_uuid()
            self.images.make(top, self.images.nodes[base].virtual_size, base, room=True)
            made.append(top)
            self.images.sync()
            self.put(replace(disk, node=top, reset_base=base))
        if disk.node != base:
            self.images.delete(disk.node)

    def vdi_compose(self, parent: str, child: str) -> None:
        """Put the end of ``child``'s chain on top of what ``parent`` holds now."""
        above, below = self.usable(child), self.usable(parent)
        for disk in (above, below):
            self.not_busy(disk.uuid)
            self.free(disk.uuid)
        root = self.images.chain(above.node)[-1]
        if root in self.images.chain(below.node):
            raise errors.backend_failure(errors.VDI_CREATE, "a chain cannot be its own parent")
        with self.new_images() as made, disk_errors():
            fresh = self.push_down(below, made)
            base = self.images.nodes[fresh.node].parent
            self.images.sync()
            self.put(fresh)
        self.images.adopt(root, base, told=False)
        self.put(above)

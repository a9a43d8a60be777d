"""The simulated storage backend: one driver that answers as every SR type."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from sm import errors
from sm.config import SmConfig
from sm.contract import (
    AttachedSr,
    Backend,
    Config,
    Content,
    Extents,
    Notify,
    ProbeResult,
    SrStat,
    Vdi,
    VdiSpec,
)
from sm.drivers.array import Array, Lun
from sm.drivers.content_files import ContentFiles
from sm.drivers.medium import Disk, Locks, Medium, Records, Runner, SrRow
from sm.drivers.path_access import PathAccess
from sm.drivers.sr_types import TYPES, Item, Look, Place, SrType
from sm.drivers.volumes import Tree, compact, to_vdi, utilisation
from sm.plugins import Plugin
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.simulator_config import stable_uuid

T = TypeVar("T")


@dataclass(slots=True)
class World:
    """What all drivers of one simulated host share.

    ``local`` keeps what only this host sees, ``shared`` what all hosts see.
    ``commit_hook`` is called before and after each commit, in the thread that commits.
    """

    array: Array
    config: SmConfig
    local: Path
    shared: Path
    run: Runner
    notify: Notify
    commit_hook: Callable[[str], None] = lambda _: None
    media: dict[str, tuple[Medium, int]] = field(default_factory=dict)

    def folder(self, key: str, shared: bool) -> Path:
        """Where a medium's files are."""
        return (self.shared if shared else self.local) / quote(key, safe="+@=,")

    async def open(self, place: Place) -> Medium:
        """Open a place's medium; ``close`` gives it back."""
        known = self.media.get(place.key)
        if known is None:
            folder = self.folder(place.key, place.shared)
            opened = await self.run(
                lambda: Medium(folder, place.capacity_bytes, self.run, self.commit_hook)
            )
            known = self.media.get(place.key)
            assert isinstance(opened, Medium)
            if known is None:
                known = (opened, 0)
            else:
                opened.close()
        self.media[place.key] = (known[0], known[1] + 1)
        return known[0]

    def close(self, key: str) -> None:
        """Give a medium back; the last user closes its files."""
        medium, users = self.media.pop(key)
        if users > 1:
            self.media[key] = (medium, users - 1)
        else:
            medium.close()

    def look(self) -> Look:
        """What SR types may see."""
        return Look(self.array, self.config.initiator_iqn, self._found, self._in_use)

    def _found(self, key: str, shared: bool, capacity_bytes: int) -> Sequence[SrRow]:
        folder = self.folder(key, shared)
        if not (folder / "medium.sqlite").exists():
            return ()
        medium = Medium(folder, capacity_bytes, self.run)
        try:
            return medium.records.srs()
        finally:
            medium.close()

    def _in_use(self, lun: Lun) -> bool:
        folder = self.folder(lun.key, True)
        if not (folder / "locks.sqlite").exists():
            return False
        medium = Medium(folder, lun.size_bytes, self.run)
        try:
            return bool(medium.locks.attached())
        finally:
            medium.close()


@dataclass(frozen=True, slots=True)
class SimulatorDriver:
    """A ``sm.contract.Driver`` for one SR type."""

    plugin: Plugin
    world: World

    @property
    def _type(self) -> SrType:
        return TYPES[self.plugin.type]

    async def create(
        self,
        sr: str,
        device_config: Config,
        sm_config: Config,
        name_label: str,
        name_description: str,
        physical_size: int,
    ) -> tuple[Config, Config]:
        place = self._type.place(self.world.look(), device_config, create=True)
        medium = await self.world.open(place)
        stored = {**place.sm_config, **sm_config}

        def work(records: Records) -> None:
            if records.sr(sr) is not None:
                raise errors.backend_failure(errors.SR_EXISTS, sr)
            if place.single:
                for other in records.srs():
                    if other.uuid in medium.locks.attached():
                        raise errors.backend_failure(errors.SR_IN_USE)
                    records.delete_sr(other.uuid)
            records.put_sr(sr, self.plugin.type, name_label, name_description, stored)

        try:
            await medium.change(work)
        finally:
            self.world.close(place.key)
        return device_config, stored

    async def attach(self, sr: str, device_config: Config, sm_config: Config) -> AttachedSr:
        place = self._type.place(self.world.look(), device_config, create=False)
        medium = await self.world.open(place)
        try:
            row = medium.records.sr(sr)
            if row is None:
                if place.items is None and self.plugin.type not in ("dummy", "shm"):
                    raise errors.backend_failure(errors.SR_UNAVAILABLE, f"no such SR: {sr}")
                stored = {**place.sm_config, **sm_config}
                await medium.change(lambda r: r.put_sr(sr, self.plugin.type, "", "", stored))
            attached = SimulatedSr(sr, self.plugin, self.world, self._type, device_config, place)
            attached.medium = medium
            medium.locks.attach(sr, self.world.config.host_uuid)
            if place.items is not None:
                await medium.change(attached.sync_items)
        except BaseException:
            self.world.close(place.key)
            raise
        return attached

    async def probe(self, device_config: Config, sm_config: Config) -> str:
        if not self.plugin.supports("SR_PROBE"):
            text = "Operation 'sr_probe' not supported by this SR type"
            raise RpcError(errors.BACKEND_ERROR, "SR_BACKEND_FAILURE", text, "", "")
        return self._type.probe(self.world.look(), device_config, sm_config)

    async def probe_ext(self, device_config: Config, sm_config: Config) -> list[ProbeResult]:
        raise RpcError(errors.BACKEND_ERROR, "SR_OPERATION_NOT_SUPPORTED")


class SimulatedSr(PathAccess):
    """A ``sm.contract.AttachedSr`` on a simulated medium."""

    concurrency = 1000
    reads_images = False
    medium: Medium

    def __init__(
        self,
        uuid: str,
        plugin: Plugin,
        world: World,
        sr_type: SrType,
        device_config: Config,
        place: Place,
    ) -> None:
        self.uuid = uuid
        self.plugin = plugin
        self._world = world
        self._type = sr_type
        self._device_config = device_config
        self._place = place

    @property
    def _files(self) -> ContentFiles:
        return ContentFiles(self.medium.folder / "content" / self.uuid)

    @property
    def _records(self) -> Records:
        return self.medium.records

    @property
    def _locks(self) -> Locks:
        return self.medium.locks

    def _tree(self, records: Records) -> Tree:
        return Tree(records, self.uuid, self._place.provisioning, self._place.capacity_bytes)

    async def _change(self, work: Callable[[Tree], T], *vdis: str) -> T:
        """Run work on the tree; then tell that the SR and the named VDIs changed."""
        result = await self.medium.change(lambda records: work(self._tree(records)))
        for vdi in (*vdis, *([result.uuid] if isinstance(result, Vdi) else [])):
            self._world.notify("vdi", self.uuid, vdi)
        self._world.notify("sr", self.uuid)
        return result

    def _require(self, feature: str) -> None:
        if not self.plugin.supports(feature):
            raise errors.unsupported(self.uuid)

    async def detach(self) -> None:
        self._locks.detach(self.uuid, self._world.config.host_uuid)
        self._world.close(self._place.key)

    async def destroy(self) -> None:
        def work(records: Records) -> None:
            managed = any(disk.managed for disk, _ in list(records.disks(self.uuid)))
            if self._place.items is None and managed:
                raise errors.backend_failure(errors.SR_NOT_EMPTY)
            records.delete_sr(self.uuid)

        await self.medium.change(work)
        self._world.notify("sr", self.uuid)

    async def stat(self) -> SrStat:
        row = self._records.sr(self.uuid)
        if row is None:
            raise errors.backend_failure(errors.SR_UNAVAILABLE, f"no such SR: {self.uuid}")
        fixed = self._place.items is not None
        total = self._records.used_bytes()
        return SrStat(
            uuid=self.uuid,
            type=self.plugin.type,
            name_label=row.name_label,
            name_description=row.name_description,
            physical_size=row.used if fixed else self._place.capacity_bytes,
            physical_utilisation=row.used if fixed else total,
            virtual_allocation=row.allocated,
            sm_config=row.sm_config,
            generation=row.generation,
        )

    async def set_name(self, name_label: str | None, name_description: str | None) -> None:
        def work(records: Records) -> None:
            row = records.sr(self.uuid)
            if row is not None:
                label = row.name_label if name_label is None else name_label
                text = row.name_description if name_description is None else name_description
                records.put_sr(self.uuid, row.type, label, text, row.sm_config)

        await self.medium.change(work)
        self._world.notify("sr", self.uuid)

    async def scan(self) -> list[Vdi]:
        if self._place.items is not None:
            look = self._world.look()
            self._place = self._type.place(look, self._device_config, create=False)

        def work(records: Records) -> list[Vdi]:
            if self._place.items is not None:
                self.sync_items(records)
            return [to_vdi(disk, used) for disk, used in records.disks(self.uuid)]

        return await self.medium.change(work)

    def sync_items(self, records: Records) -> None:
        """Make the records of ready-made VDIs those of the medium."""
        wanted = {i.location: i for i in self._place.items or ()}
        known = {
            str(disk.fields["location"]): disk
            for disk, _ in list(records.disks(self.uuid))
            if disk.format == "lun"
        }
        for location, disk in known.items():
            if location not in wanted:
                records.delete_disk(self.uuid, disk.uuid)
        for location, item in wanted.items():
            disk = _item_disk(self.uuid, item, known.get(location))
            if disk != known.get(location):
                records.put_disk(self.uuid, disk, utilisation(disk, "thick"))

    async def vdi_stat(self, vdi: str) -> Vdi:
        disk = self._records.disk(self.uuid, vdi)
        return to_vdi(disk, self._records.used(self.uuid, vdi))

    async def vdi_create(self, spec: VdiSpec) -> Vdi:
        self._require("VDI_CREATE")
        if self._place.read_only:
            raise errors.backend_failure(errors.READ_ONLY_FILE_SYSTEM)
        if self.plugin.type == "iso":
            if not spec.name_label.lower().endswith((".iso", ".img")):
                raise errors.backend_failure(221)
            spec = replace(spec, sm_config={**spec.sm_config, "type": "raw"})
        elif self._place.items is not None:
            raise errors.backend_failure(errors.NO_SPACE, "no LUN is free")
        return await self._change(lambda tree: tree.create(spec))

    async def vdi_introduce(self, vdi: str, location: str, sm_config: Config) -> Vdi:
        self._require("VDI_INTRODUCE")
        found = self._records.find_disk(self.uuid, vdi)
        if found is None:
            match = (d for d, _ in list(self._records.disks(self.uuid)) if d.uuid == location)
            found = next(match, None)
        if found is None:
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, f"no such VDI: {location or vdi}")
        return to_vdi(found, self._records.used(self.uuid, found.uuid))

    async def vdi_destroy(self, vdi: str) -> None:
        self._require("VDI_DELETE")
        if self._locks.holders(self.uuid, vdi):
            raise errors.backend_failure(errors.VDI_IN_USE)
        content = self._records.disk(self.uuid, vdi).content
        await self._change(lambda tree: tree.destroy(vdi), vdi)
        await self._world.run(lambda: self._files.drop([content] if content else []))

    async def vdi_snapshot(self, vdi: str, spec: VdiSpec) -> Vdi:
        self._require("VDI_SNAPSHOT")
        return await self._change(lambda tree: tree.snapshot(vdi, spec, clone=False), vdi)

    async def vdi_clone(self, vdi: str, spec: VdiSpec) -> Vdi:
        self._require("VDI_CLONE")
        return await self._change(lambda tree: tree.snapshot(vdi, spec, clone=True), vdi)

    async def vdi_revert(self, vdi: str, snapshot: str) -> Vdi:
        self._require("VDI_SNAPSHOT")
        return await self._change(lambda tree: tree.revert(vdi, snapshot), snapshot)

    async def vdi_resize(self, vdi: str, virtual_size: int) -> Vdi:
        self._require("VDI_RESIZE")
        return await self._change(lambda tree: tree.resize(vdi, virtual_size))

    async def vdi_set(self, vdi: str, changes: Mapping[str, object]) -> Vdi:
        return await self._change(lambda tree: tree.change(vdi, changes))

    async def vdi_enable_cbt(self, vdi: str) -> Vdi:
        self._require("VDI_CONFIG_CBT")
        return await self._change(lambda tree: tree.enable_cbt(vdi))

    async def vdi_disable_cbt(self, vdi: str) -> Vdi:
        self._require("VDI_CONFIG_CBT")
        return await self._change(lambda tree: tree.disable_cbt(vdi))

    async def vdi_data_destroy(self, vdi: str) -> Vdi:
        self._require("VDI_CONFIG_CBT")
        return await self._change(lambda tree: tree.data_destroy(vdi))

    async def vdi_list_changed_blocks(self, vdi_from: str, vdi_to: str) -> str:
        self._require("VDI_CONFIG_CBT")
        return self._tree(self._records).list_changed_blocks(vdi_from, vdi_to)

    async def vdi_epoch_begin(self, vdi: str, persistent: bool) -> None:
        if not persistent:
            self._require("VDI_RESET_ON_BOOT")
            await self._change(lambda tree: tree.reset(vdi), vdi)

    async def vdi_compose(self, parent: str, child: str) -> None:
        def work(tree: Tree) -> None:
            above = tree.records.disk(self.uuid, parent)
            below = replace(tree.records.disk(self.uuid, child), parent=above.uuid)
            tree.records.put_disk(self.uuid, below, utilisation(below, tree.provisioning))

        await self._change(work, parent, child)

    async def vdi_path(self, vdi: str, writable: bool) -> str:
        disk = self._records.disk(self.uuid, vdi)
        source = self._tree(self._records).content(disk).path
        if disk.content or (source and not writable):
            return str(self._files.path(disk.content or source))
        name = new_uuid()
        origin = str(self._files.path(source)) if source else ""
        await self._world.run(lambda: self._files.make(name, origin, disk.virtual_size))
        await self._change(lambda tree: _set_content(tree, vdi, name), vdi)
        return str(self._files.path(name))

    async def vdi_content(self, vdi: str, image: bool = False) -> Content:
        content = self._tree(self._records).content(self._records.disk(self.uuid, vdi))
        return replace(content, path=str(self._files.path(content.path)) if content.path else "")

    async def vdi_copied(self, vdi: str) -> None:
        """Nothing is left to do: the file stays with the disk."""

    async def vdi_fill(self, vdi: str, content: Content) -> Vdi:
        disk = self._records.disk(self.uuid, vdi)
        name = new_uuid() if content.path else ""
        if name:
            await self._world.run(lambda: self._files.make(name, content.path, disk.virtual_size))
        extents = [(0, disk.virtual_size)]
        try:
            return await self._change(
                lambda tree: tree.write(vdi, content.data_bytes, name, extents)
            )
        except RpcError:
            await self._world.run(lambda: self._files.drop([name] if name else []))
            raise

    async def vdi_note_written(self, vdi: str, extents: Extents, simulated: bool) -> Vdi:
        def work(tree: Tree) -> Vdi:
            disk = tree.records.disk(self.uuid, vdi)
            data = disk.data_bytes + sum(length for _, length in extents)
            if not simulated and disk.content and not disk.parent:
                data = os.stat(self._files.path(disk.content)).st_blocks * 512
            return tree.write(vdi, data, disk.content, extents)

        return await self._change(work)

    async def collect_garbage(self) -> None:
        before = {d.content for d in self._records.hidden(self.uuid) if d.content}
        changed = await self.medium.change(lambda records: self._tree(records).collect())
        for vdi in changed:
            self._world.notify("vdi", self.uuid, vdi)
        if changed:
            self._world.notify("sr", self.uuid)
        used = {d.content for d, _ in list(self._records.disks(self.uuid))}
        await self._world.run(lambda: self._files.drop(sorted(before - used)))
        await self._world.run(lambda: self._files.drop_orphans(used))

    def stop_collecting(self, why: str) -> None:
        """Collecting is over at once."""

    def garbage_report(self) -> Mapping[str, object]:
        return {"running": False, "progress": 1.0, "done": [], "skipped": []}

    async def vdi_attach(self, vdi: str, read_write: bool) -> Backend:
        disk = self._records.disk(self.uuid, vdi)
        if disk.fields.get("type") == "cbt_metadata":
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, "its data was destroyed")
        if disk.format == "lun" and disk.virtual_size == 0:
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, "no medium in the drive")
        if read_write and (disk.fields.get("read_only") or not disk.managed):
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, "the VDI is read-only")
        path = f"/dev/sm/backend/{self.uuid}/{vdi}"
        if self.plugin.type == "udev":
            path = str(disk.fields["location"])
        return Backend("vbd3", path, path, {"vdi-uuid": vdi, "storage-type": self.plugin.type})

    async def vdi_activate(self, vdi: str, read_write: bool) -> None:
        disk = self._records.disk(self.uuid, vdi)
        other = self._locks.activate(
            self.uuid,
            vdi,
            self._world.config.host_uuid,
            read_write,
            bool(disk.fields.get("sharable")),
        )
        if other is not None:
            raise errors.activated_elsewhere(other)

    async def vdi_deactivate(self, vdi: str) -> None:
        self._locks.deactivate(self.uuid, vdi, self._world.config.host_uuid)

    async def vdi_detach(self, vdi: str) -> None:
        """Nothing is left to do: attaching takes no resource."""

    async def release_locks(self, host_uuid: str) -> None:
        self._locks.release(self.uuid, host_uuid)


def _set_content(tree: Tree, vdi: str, name: str) -> None:
    disk = replace(tree.records.disk(tree.sr, vdi), content=name)
    tree.records.put_disk(tree.sr, disk, tree.records.used(tree.sr, vdi))


def _item_disk(sr: str, item: Item, known: Disk | None) -> Disk:
    fields: dict[str, object] = {
        "location": item.location,
        "name_label": item.name_label,
        "name_description": item.description,
        "virtual_size": item.size_bytes,
        "read_only": item.read_only,
        "sm_config": dict(item.sm_config),
    }
    if known is not None:
        kept = {"virtual_size", "location", "sm_config"}
        fields |= {k: v for k, v in known.fields.items() if k not in kept}
    uuid = known.uuid if known else stable_uuid("item", sr, item.location)
    return Disk(uuid, "", compact(fields), format="lun", content=known.content if known else "")

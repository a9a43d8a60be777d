"""The storage daemon's RPC methods."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields

from twisted.internet.defer import CancelledError

from sm import errors
from sm.attached_srs import AttachedSrs
from sm.config import FaultConfig
from sm.contract import AttachedSr, Content, Driver, Vdi, VdiSpec
from sm.datapath import AttachedRecord, DatapathStore, State, activated, attached, superstate
from sm.faults import Faults
from sm.moving import Moves, Works
from sm.plugins import Profile, as_real, plugins
from xapi_py.base.config import ConfigError, build
from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.rpc.server import CallContext, Method
from xapi_py.base.rpc.updates import UpdateFeed
from xapi_py.base.undo import Undo

Info = Mapping[str, object]
Call = Callable[..., Awaitable[object]]

_SPEC_MEMBERS = frozenset(f.name for f in fields(VdiSpec))
_RECORD_MEMBERS = tuple(f.name for f in fields(Vdi))


def wire(vdi: Vdi) -> dict[str, object]:
    """Give a VDI record as the RPC carries it."""
    return {name: getattr(vdi, name) for name in _RECORD_MEMBERS}


def spec_of(vdi_info: Info) -> VdiSpec:
    """Check what a caller says about a new VDI; members of a VDI record it ignores are dropped."""
    known = {k: v for k, v in vdi_info.items() if k in _SPEC_MEMBERS}
    if len(known) != len(vdi_info):
        foreign = set(vdi_info).difference(_RECORD_MEMBERS)
        if foreign:
            raise TypeError(f"vdi_info: unexpected argument {sorted(foreign)[0]!r}")
    return VdiSpec(**known)  # type: ignore[arg-type]


@dataclass(slots=True)
class SrMethods:
    """``Query.*`` and ``SR.*``."""

    srs: AttachedSrs
    profile: Profile
    allowed: frozenset[str] | None
    real: frozenset[str] = frozenset()
    foreign: Mapping[str, Driver] = field(default_factory=dict)

    async def query_list(self, profile: Profile | None = None) -> object:
        """The plugins as a profile shows them, the configured one by default."""
        shown = plugins(profile or self.profile, self.allowed)
        real = self.real
        own = [(as_real(p) if t in real else p).to_wire() for t, p in shown.items()]
        return own + [d.plugin.to_wire() for t, d in self.foreign.items() if t not in shown]

    async def query(self, type: str) -> object:
        return self.srs.driver(type).plugin.to_wire()

    async def create(
        self,
        sr: str,
        type: str,
        device_config: dict[str, str],
        sm_config: dict[str, str] | None = None,
        name_label: str = "",
        name_description: str = "",
        physical_size: int = 0,
    ) -> object:
        driver = self.srs.driver(type)
        stored_device, stored_sm = await driver.create(
            sr, device_config, sm_config or {}, name_label, name_description, physical_size
        )
        return {"device_config": dict(stored_device), "sm_config": dict(stored_sm)}

    async def attach(
        self,
        sr: str,
        type: str,
        device_config: dict[str, str],
        sm_config: dict[str, str] | None = None,
    ) -> object:
        record = AttachedRecord(sr, type, device_config, sm_config or {})
        return (await (await self.srs.attach(record)).stat()).to_wire()

    async def detach(self, sr: str) -> object:
        await self.srs.detach(sr)
        return None

    async def destroy(self, sr: str) -> object:
        await self.srs.detach(sr, destroy=True)
        return None

    async def scan(self, sr: str, generation: int = -1) -> object:
        """All disks and the SR; ``vdis`` is None when the SR is still at ``generation``."""

        async def work(attached_sr: AttachedSr) -> object:
            vdis = await attached_sr.scan()
            stat = await attached_sr.stat()
            same = generation == stat.generation
            return {"sr": stat.to_wire(), "vdis": None if same else [wire(v) for v in vdis]}

        return await self.srs.run(sr, work)

    async def stat(self, sr: str) -> object:
        return (await self.srs.get(sr).stat()).to_wire()

    async def list(self) -> object:
        return [(await self.srs.get(sr).stat()).to_wire() for sr in self.srs.uuids()]

    async def update(self, sr: str) -> object:
        return await self.stat(sr)

    async def set_name_label(self, sr: str, name_label: str) -> object:
        return await self.srs.run(sr, lambda s: s.set_name(name_label, None))

    async def set_name_description(self, sr: str, name_description: str) -> object:
        return await self.srs.run(sr, lambda s: s.set_name(None, name_description))

    async def probe(
        self, type: str, device_config: dict[str, str], sm_config: dict[str, str] | None = None
    ) -> object:
        return await self.srs.driver(type).probe(device_config, sm_config or {})

    async def probe_ext(
        self, type: str, device_config: dict[str, str], sm_config: dict[str, str] | None = None
    ) -> object:
        found = await self.srs.driver(type).probe_ext(device_config, sm_config or {})
        return [
            {
                "configuration": dict(result.configuration),
                "complete": result.complete,
                "sr": result.sr.to_wire() if result.sr else None,
                "extra_info": dict(result.extra_info),
            }
            for result in found
        ]

    async def collect_garbage(self, sr: str) -> object:
        return await self.srs.run(sr, lambda s: s.collect_garbage())

    async def garbage_report(self, sr: str) -> object:
        """What collecting does now and did last, and why disks were skipped."""
        return dict(self.srs.get(sr).garbage_report())

    async def stop_collecting(self, sr: str) -> object:
        self.srs.get(sr).stop_collecting("somebody cancelled it")
        return None

    async def release_host_locks(self, sr: str, host_uuid: str) -> object:
        return await self.srs.run(sr, lambda s: s.release_locks(host_uuid))

    def methods(self) -> dict[str, Call]:
        return {
            "Query.list": self.query_list,
            "Query.query": self.query,
            "SR.create": self.create,
            "SR.attach": self.attach,
            "SR.detach": self.detach,
            "SR.destroy": self.destroy,
            "SR.scan": self.scan,
            "SR.stat": self.stat,
            "SR.list": self.list,
            "SR.update": self.update,
            "SR.set_name_label": self.set_name_label,
            "SR.set_name_description": self.set_name_description,
            "SR.probe": self.probe,
            "SR.probe_ext": self.probe_ext,
            "SR.collect_garbage": self.collect_garbage,
            "SR.garbage_report": self.garbage_report,
            "SR.stop_collecting": self.stop_collecting,
            "SR.release_host_locks": self.release_host_locks,
        }


@dataclass(slots=True)
class VdiMethods:
    """``VDI.*`` but for datapaths."""

    srs: AttachedSrs
    store: DatapathStore
    moves: Moves
    works: Works = field(default_factory=Works)

    async def _run(self, sr: str, work: Callable[[AttachedSr], Awaitable[object]]) -> object:
        result = await self.srs.run(sr, work)
        return wire(result) if isinstance(result, Vdi) else result

    def _not_held(self, sr: str, vdi: str, state: State) -> None:
        if superstate(self.store.holders(sr, vdi))[0] >= state:
            raise errors.backend_failure(errors.VDI_IN_USE)

    async def create(self, sr: str, vdi_info: Info) -> object:
        spec = spec_of(vdi_info)
        return await self._run(sr, lambda s: s.vdi_create(spec))

    async def introduce(
        self, sr: str, vdi: str, location: str = "", sm_config: dict[str, str] | None = None
    ) -> object:
        return await self._run(sr, lambda s: s.vdi_introduce(vdi, location, sm_config or {}))

    async def destroy(self, sr: str, vdi: str) -> object:
        self._not_held(sr, vdi, State.ATTACHED)
        await self._run(sr, lambda s: s.vdi_destroy(vdi))
        self.srs.collect_later(sr)
        return None

    async def snapshot(self, sr: str, vdi: str, vdi_info: Info) -> object:
        spec = spec_of(vdi_info)
        return await self._run(sr, lambda s: s.vdi_snapshot(vdi, spec))

    async def clone(self, sr: str, vdi: str, vdi_info: Info) -> object:
        spec = spec_of(vdi_info)
        return await self._run(sr, lambda s: s.vdi_clone(vdi, spec))

    async def revert(self, sr: str, vdi: str, snapshot: str) -> object:
        self._not_held(sr, vdi, State.ATTACHED)
        result = await self._run(sr, lambda s: s.vdi_revert(vdi, snapshot))
        self.srs.collect_later(sr)
        return result

    async def resize(self, sr: str, vdi: str, new_size: int) -> object:
        self._not_held(sr, vdi, State.ACTIVATED)
        return await self._run(sr, lambda s: s.vdi_resize(vdi, new_size))

    async def resize_online(self, sr: str, vdi: str, new_size: int) -> object:
        if not self.srs.get(sr).plugin.supports("VDI_RESIZE_ONLINE"):
            raise errors.unsupported(sr)
        return await self._run(sr, lambda s: s.vdi_resize(vdi, new_size))

    async def stat(self, sr: str, vdi: str) -> object:
        return wire(await self.srs.get(sr).vdi_stat(vdi))

    async def set(self, sr: str, vdi: str, changes: Info) -> object:
        return await self._run(sr, lambda s: s.vdi_set(vdi, changes))

    async def set_name_label(self, sr: str, vdi: str, name_label: str) -> object:
        return await self.set(sr, vdi, {"name_label": name_label})

    async def set_name_description(self, sr: str, vdi: str, name_description: str) -> object:
        return await self.set(sr, vdi, {"name_description": name_description})

    async def set_persistent(self, sr: str, vdi: str, persistent: bool) -> object:
        return await self.set(sr, vdi, {"persistent": persistent})

    async def set_content_id(self, sr: str, vdi: str, content_id: str) -> object:
        return await self.set(sr, vdi, {"content_id": content_id})

    async def copy(
        self, sr: str, vdi: str, dest_sr: str, vdi_info: Info | None = None, dest_vdi: str = ""
    ) -> object:
        """Copy a disk's data to a new disk, or over ``dest_vdi``; gives the target's record."""
        uuid = dest_vdi or str((vdi_info or {}).get("uuid", ""))
        return await self.works.run(uuid, self._copy(sr, vdi, dest_sr, vdi_info, dest_vdi))

    async def _copy(
        self, sr: str, vdi: str, dest_sr: str, vdi_info: Info | None, dest_vdi: str
    ) -> object:
        source = self.srs.get(sr)
        disk = await source.vdi_stat(vdi)
        image = self.srs.get(dest_sr).reads_images
        async with Undo() as undo:
            target = dest_vdi
            if not target:
                info = {"virtual_size": disk.virtual_size, **(vdi_info or {})}
                spec = spec_of(info)
                target = await self._created(dest_sr, spec)
                undo.push("delete the copy", lambda: self._discard(dest_sr, target))
            content: Content = await self.srs.run(sr, lambda s: s.vdi_content(vdi, image))
            try:
                return await self._run(dest_sr, lambda s: s.vdi_fill(target, content))
            finally:
                await source.vdi_copied(vdi)

    async def _created(self, sr: str, spec: VdiSpec) -> str:
        """Make a disk; who gives up meanwhile finds none."""
        try:
            return (await self.srs.run(sr, lambda s: s.vdi_create(spec))).uuid
        except CancelledError:
            if spec.uuid:
                await self._discard(sr, spec.uuid)
            raise

    async def _discard(self, sr: str, vdi: str) -> None:
        with suppress(RpcError):
            await self.srs.run(sr, lambda s: s.vdi_destroy(vdi))

    async def progress(self, sr: str, vdi: str) -> object:
        """How much of a disk that a copy or a mirror fills is there, 0..1."""
        return max(self.moves.progress(vdi), self.srs.get(sr).vdi_progress(vdi))

    async def mirror(self, sr: str, vdi: str, dest_sr: str, vdi_info: Info) -> object:
        """As ``Moves.mirror``; ``vdi_info`` names the new disk's uuid."""
        spec = spec_of(vdi_info)
        await self.works.run(spec.uuid, self.moves.mirror(sr, vdi, dest_sr, spec))
        return None

    async def settled(self, sr: str, vdi: str) -> object:
        """Wait until no copy or mirror fills a disk, nor undoes what it did."""
        await self.works.ended(vdi)
        return None

    async def mirror_switch(self, sr: str, vdi: str, dest_sr: str, dest_vdi: str) -> object:
        """As ``Moves.switch``; gives the new disk's record."""
        await self.moves.switch(sr, vdi)
        return await self.stat(dest_sr, dest_vdi)

    async def mirror_cancel(self, sr: str, vdi: str) -> object:
        await self.moves.cancel(sr, vdi)
        return None

    async def enable_cbt(self, sr: str, vdi: str) -> object:
        return await self._run(sr, lambda s: s.vdi_enable_cbt(vdi))

    async def disable_cbt(self, sr: str, vdi: str) -> object:
        return await self._run(sr, lambda s: s.vdi_disable_cbt(vdi))

    async def data_destroy(self, sr: str, vdi: str) -> object:
        self._not_held(sr, vdi, State.ATTACHED)
        result = await self._run(sr, lambda s: s.vdi_data_destroy(vdi))
        self.srs.collect_later(sr)
        return result

    async def list_changed_blocks(self, sr: str, vdi_from: str, vdi_to: str) -> object:
        return await self._run(sr, lambda s: s.vdi_list_changed_blocks(vdi_from, vdi_to))

    async def epoch_begin(self, sr: str, vdi: str, vm: str = "", persistent: bool = True) -> object:
        return await self._run(sr, lambda s: s.vdi_epoch_begin(vdi, persistent))

    async def epoch_end(self, sr: str, vdi: str, vm: str = "") -> object:
        self.srs.get(sr)
        return None

    async def compose(self, sr: str, vdi1: str, vdi2: str) -> object:
        return await self._run(sr, lambda s: s.vdi_compose(vdi1, vdi2))

    async def path(self, sr: str, vdi: str, read_write: bool = False) -> object:
        return await self._run(sr, lambda s: s.vdi_path(vdi, read_write))

    async def holders(self, sr: str, vdi: str) -> object:
        """Who uses a disk besides data paths of this host."""
        return await self.srs.run_on_vdi(sr, vdi, lambda s: s.vdi_holders(vdi))

    async def open_data(
        self, sr: str, vdi: str, mode: str = "read", base: str = "", images: bool = False
    ) -> object:
        return asdict(await self.srs.run(sr, lambda s: s.vdi_open(vdi, mode, base, images)))

    async def close_data(
        self,
        sr: str,
        vdi: str,
        mode: str = "read",
        commit: bool = False,
        extents: list[list[int]] | None = None,
    ) -> object:
        pairs = [(int(offset), int(length)) for offset, length in extents or ()]
        result = await self._run(sr, lambda s: s.vdi_close(vdi, mode, commit, pairs))
        if mode != "read":
            self.srs.collect_later(sr)
        return result

    async def note_written(
        self, sr: str, vdi: str, extents: list[list[int]], simulated: bool = False
    ) -> object:
        pairs = [(int(offset), int(length)) for offset, length in extents]
        return await self._run(sr, lambda s: s.vdi_note_written(vdi, pairs, simulated))

    def methods(self) -> dict[str, Call]:
        names = (
            "create introduce destroy snapshot clone revert resize resize_online stat set "
            "set_name_label set_name_description set_persistent set_content_id copy enable_cbt "
            "disable_cbt data_destroy list_changed_blocks epoch_begin epoch_end compose path "
            "note_written open_data close_data holders progress mirror mirror_switch mirror_cancel "
            "settled"
        )
        return {f"VDI.{name}": getattr(self, name) for name in names.split()}


@dataclass(slots=True)
class DatapathMethods:
    """Attaching disks to domains: ``VDI.attach2`` ... and ``DP.*``."""

    srs: AttachedSrs
    store: DatapathStore

    async def attach(self, sr: str, vdi: str, dp: str, vm: str, read_write: bool) -> object:
        async def work(driver: AttachedSr) -> object:
            disk = await driver.vdi_stat(vdi)
            holders = self.store.holders(sr, vdi)
            holder = attached(holders, dp, vm, read_write, disk.sharable)
            backend = await driver.vdi_attach(vdi, read_write)
            if holder is not None:
                self.store.put(sr, vdi, holder)
            return {"implementations": backend.to_wire()}

        return await self.srs.run_on_vdi(sr, vdi, work)

    async def activate(self, sr: str, vdi: str, dp: str, vm: str = "") -> object:
        async def work(driver: AttachedSr) -> object:
            disk = await driver.vdi_stat(vdi)
            holder = activated(self.store.holders(sr, vdi), dp, disk.sharable)
            if holder is not None:
                active = [
                    h for h in self.store.holders(sr, vdi).values() if h.state == State.ACTIVATED
                ]
                writable = holder.read_write or any(h.read_write for h in active)
                try:
                    await driver.vdi_activate(vdi, writable)
                except Exception:
                    if not active:  # cut off halfway, nobody else would end what has begun
                        with contextlib.suppress(RpcError):
                            await driver.vdi_deactivate(vdi)
                    raise
                self.store.put(sr, vdi, holder)
            return None

        return await self.srs.run_on_vdi(sr, vdi, work)

    async def deactivate(self, sr: str, vdi: str, dp: str, vm: str = "") -> object:
        async def work(driver: AttachedSr) -> object:
            await self._lower(driver, vdi, dp, State.ATTACHED)
            return None

        return await self.srs.run_on_vdi(sr, vdi, work)

    async def detach(self, sr: str, vdi: str, dp: str, vm: str = "") -> object:
        async def work(driver: AttachedSr) -> object:
            held = self.store.holders(sr, vdi).get(dp)
            if held is not None and held.state == State.ACTIVATED:
                raise errors.illegal_transition("Activated", "Detached")
            await self._lower(driver, vdi, dp, State.DETACHED)
            return None

        return await self.srs.run_on_vdi(sr, vdi, work)

    async def _lower(self, driver: AttachedSr, vdi: str, dp: str, state: State) -> None:
        """Bring a datapath down to a state; the driver hears of it when it was the last one."""
        held = self.store.holders(driver.uuid, vdi).get(dp)
        if held is None or held.state <= state:
            return
        others = {k: h for k, h in self.store.holders(driver.uuid, vdi).items() if k != dp}
        strongest, _ = superstate(others)
        if held.state == State.ACTIVATED and strongest < State.ACTIVATED:
            await driver.vdi_deactivate(vdi)
            self.srs.collect_later(driver.uuid)
        if state == State.DETACHED:
            if strongest == State.DETACHED:
                await driver.vdi_detach(vdi)
            self.store.remove(driver.uuid, vdi, dp)
        else:
            lowered = type(held)(held.dp, held.vm, held.read_write, state)
            self.store.put(driver.uuid, vdi, lowered)

    async def destroy(self, dp: str, allow_leak: bool = False) -> object:
        """Bring a datapath down on every disk it holds."""
        for sr, vdi in self.store.of_datapath(dp):

            async def work(driver: AttachedSr, vdi: str = vdi) -> None:
                await self._lower(driver, vdi, dp, State.DETACHED)

            try:
                await self.srs.run_on_vdi(sr, vdi, work)
            except RpcError:
                if not allow_leak:
                    raise
                self.store.remove(sr, vdi, dp)
        return None

    async def list(self) -> object:
        return [
            {"dp": dp, "sr": sr, "vdi": vdi, **self._described(sr, vdi, dp)}
            for dp in self.store.datapaths()
            for sr, vdi in self.store.of_datapath(dp)
        ]

    async def stat_vdi(self, sr: str, vdi: str) -> object:
        holders = self.store.holders(sr, vdi)
        state, read_write = superstate(holders)
        return {
            "state": state.name.capitalize(),
            "read_write": read_write,
            "dps": {dp: self._described(sr, vdi, dp) for dp in holders},
        }

    def _described(self, sr: str, vdi: str, dp: str) -> dict[str, object]:
        holder = self.store.holders(sr, vdi)[dp]
        return {
            "vm": holder.vm,
            "read_write": holder.read_write,
            "state": holder.state.name.capitalize(),
        }

    async def attach_info(self, sr: str, vdi: str, dp: str, vm: str = "") -> object:
        """What ``VDI.attach2`` answered for a datapath that is up."""
        holder = self.store.holders(sr, vdi).get(dp)
        if holder is None:
            raise errors.illegal_transition("Detached", "Attached")
        backend = await self.srs.get(sr).vdi_attach(vdi, holder.read_write)
        return {"implementations": backend.to_wire()}

    def methods(self) -> dict[str, Call]:
        return {
            "VDI.attach2": self.attach,
            "VDI.activate3": self.activate,
            "VDI.deactivate": self.deactivate,
            "VDI.detach": self.detach,
            "DP.destroy": self.destroy,
            "DP.list": self.list,
            "DP.stat_vdi": self.stat_vdi,
            "DP.attach_info": self.attach_info,
        }


def method_table(
    calls: Mapping[str, Call], feed: UpdateFeed, epoch: str, faults: Faults
) -> dict[str, Method]:
    """Make RPC methods: faults first, then the call, its result in an envelope.

    The answer is ``{"result", "cursor", "epoch"}``: all effects of the call are
    in the update feed up to that cursor of that epoch.
    """

    def serve(name: str, call: Call) -> Method:
        async def method(context: CallContext, **params: object) -> object:
            await faults.apply(name, params)
            result = await call(**params)
            return {"result": result, "cursor": feed.cursor, "epoch": epoch}

        return method

    async def updates(
        context: CallContext, cursor: int = 0, timeout_s: float = 30.0, epoch: str = ""
    ) -> object:
        return await feed.get(epoch, cursor, timeout_s)

    def inject(context: CallContext, **fault: object) -> object:
        try:
            faults.add(build(fault, FaultConfig, "fault"))
        except ConfigError as problem:
            raise TypeError(f"argument {problem}") from problem
        return None

    def clear(context: CallContext) -> object:
        faults.clear()
        return None

    table: dict[str, Method] = {name: serve(name, call) for name, call in calls.items()}
    return table | {
        "UPDATES.get": updates,
        "DEBUG.inject_fault": inject,
        "DEBUG.clear_faults": clear,
    }

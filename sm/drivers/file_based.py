"""Drivers of the SR types on files: each SR has a worker process of its own."""

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError

from sm import errors
from sm.contract import (
    Access,
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
from sm.drivers.child_process import Caller, Children, Tool
from sm.drivers.growth import Growth
from sm.drivers.mirroring import MirrorCalls
from sm.drivers.tracking_calls import TrackingCalls
from sm.plugins import Plugin
from xapi_py.base.rpc.errors import RpcError

T = TypeVar("T")

CALL_S: Final = 60.0
ATTACH_S: Final = 150.0
"""An attach mounts, which waits for servers, and repairs."""
CREATE_S: Final = 660.0
"""Formatting a large disk takes its time."""
IDLE_S: Final = 120.0
"""A copy or merge without progress for so long is given up."""
POLL_S: Final = 0.1
MERGED: Final = ("ready", "pending", "concluded")
"""States of a backend's merge that wait for us."""
WATCH_S: Final = 0.5
"""How often room is made for disks that grow; 0 for never."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What drivers need of this host.

    ``crash`` gives the step at which the worker dies in the next call, for tests.
    ``call_s`` is the deadline of a call on an attached SR.
    """

    run_folder: Path
    host_uuid: str
    children: Children
    notify: Notify
    smb_licensed: bool = True
    call_s: float = CALL_S
    watch_s: float = WATCH_S
    crash: Callable[[], str] = lambda: ""

    def worker(self, sr_type: str) -> Caller:
        """Start a worker for a type."""
        hello = {
            "type": sr_type,
            "run_folder": str(self.run_folder),
            "host": self.host_uuid,
            "smb_licensed": self.smb_licensed,
        }
        return self.children.worker(hello)


@dataclass(frozen=True, slots=True)
class FileDriver:
    """A ``sm.contract.Driver`` for one SR type on files."""

    plugin: Plugin
    settings: Settings

    async def _once(self, method: str, params: Mapping[str, object], deadline_s: float) -> Any:
        worker = self.settings.worker(self.plugin.type)
        try:
            return await worker.call(method, params, deadline_s)
        finally:
            worker.end()

    async def create(
        self,
        sr: str,
        device_config: Config,
        sm_config: Config,
        name_label: str,
        name_description: str,
        physical_size: int,
    ) -> tuple[Config, Config]:
        params = {
            "sr": sr,
            "device_config": device_config,
            "sm_config": sm_config,
            "name_label": name_label,
            "name_description": name_description,
        }
        kept = await self._once("create", params, CREATE_S)
        return device_config, kept

    async def attach(self, sr: str, device_config: Config, sm_config: Config) -> AttachedSr:
        attached = FileBasedSr(sr, self.plugin, self.settings, device_config)
        await attached.start()
        return attached

    async def probe(self, device_config: Config, sm_config: Config) -> str:
        if not self.plugin.supports("SR_PROBE"):
            text = "Operation 'sr_probe' not supported by this SR type"
            raise RpcError(errors.BACKEND_ERROR, "SR_BACKEND_FAILURE", text, "", "")
        params = {"device_config": device_config, "sm_config": sm_config}
        return str(await self._once("probe", params, ATTACH_S))

    async def probe_ext(self, device_config: Config, sm_config: Config) -> list[ProbeResult]:
        raise RpcError(errors.BACKEND_ERROR, "SR_OPERATION_NOT_SUPPORTED")


async def _or_end(begin: Coroutine[Any, Any, T], end: Coroutine[Any, Any, Any]) -> T:
    """Begin something; who gives up meanwhile ends it, as the worker goes on with it."""
    try:
        found = await begin
    except CancelledError:
        with suppress(RpcError):
            await end
        raise
    finally:
        end.close()
    return found


@dataclass(slots=True)
class _Collecting:
    """A round of garbage collection, while it runs and afterwards."""

    running: bool = False
    progress: float = 1.0
    done: list[str] = field(default_factory=list)
    skipped: list[Mapping[str, str]] = field(default_factory=list)
    disks: frozenset[str] = frozenset()
    live: str = ""
    tool: Tool | None = None
    stopped: str = ""


class FileBasedSr(MirrorCalls, TrackingCalls):
    """A ``sm.contract.AttachedSr`` whose work a child process does."""

    concurrency = 1000
    reads_images = True

    def __init__(
        self, uuid: str, plugin: Plugin, settings: Settings, device_config: Config
    ) -> None:
        self.uuid = uuid
        self.plugin = plugin
        self._settings = settings
        self._device_config = device_config
        self._worker: Caller | None = None
        self._collecting = _Collecting()
        self._grows = False
        self._filling: dict[str, Tool] = {}
        children = settings.children
        self._growth = Growth(lambda: self._call("watch"), children.sleep, settings.watch_s)

    async def start(self) -> None:
        """Attach the SR in a new worker."""
        worker = self._worker = self._settings.worker(self.plugin.type)
        worker.notes = lambda note: self._settings.notify(*note)
        params = {"sr": self.uuid, "device_config": self._device_config}
        try:
            found = await worker.call("attach", params, ATTACH_S, self._settings.crash())
            grows = bool(found["grows"])
        except BaseException:
            worker.end()
            self._worker = None
            raise
        self._grows = grows
        if grows:
            self._growth.begin()

    async def _call(self, method: str, /, **params: object) -> Any:
        if self._worker is None or self._worker.gone:
            await self.start()
        assert self._worker is not None
        crash = self._settings.crash()
        return await self._worker.call(method, params, self._settings.call_s, crash)

    async def _vdi(self, method: str, vdi: str, /, **params: object) -> Vdi:
        return Vdi(**await self._call(method, vdi=vdi, **params))

    def _require(self, feature: str) -> None:
        if not self.plugin.supports(feature):
            raise errors.unsupported(self.uuid)

    async def detach(self) -> None:
        self._growth.over = True
        self.stop_collecting("the SR is detached")
        if self._worker is not None and not self._worker.gone:
            try:
                await self._call("detach")
            finally:
                self._worker.end()

    async def destroy(self) -> None:
        self.stop_collecting("the SR is destroyed")
        await self._call("destroy")

    async def stat(self) -> SrStat:
        return SrStat(**await self._call("stat"))

    async def set_name(self, name_label: str | None, name_description: str | None) -> None:
        await self._call("set_name", name_label=name_label, name_description=name_description)

    async def scan(self) -> list[Vdi]:
        return [Vdi(**record) for record in await self._call("scan")]

    async def vdi_stat(self, vdi: str) -> Vdi:
        return await self._vdi("vdi_stat", vdi)

    async def vdi_create(self, spec: VdiSpec) -> Vdi:
        self._require("VDI_CREATE")
        asked = spec.sm_config.get("type") or spec.sm_config.get("image-format")
        if asked == "raw" and self.plugin.supports("SR_PROBE"):
            step = await self._call("begin_create", spec=asdict(spec))
            if step["command"]:
                return await self._zeroed(spec, step)
        return Vdi(**await self._call("vdi_create", spec=asdict(spec)))

    async def _zeroed(self, spec: VdiSpec, step: Mapping[str, Any]) -> Vdi:
        done = False
        try:
            await self._settings.children.tool(step["command"], IDLE_S).ended()
            done = True
        finally:
            made = await self._call("end_create", spec=asdict(spec), node=step["node"], done=done)
        return Vdi(**made)

    async def vdi_introduce(self, vdi: str, location: str, sm_config: Config) -> Vdi:
        self._require("VDI_INTRODUCE")
        return await self._vdi("vdi_introduce", vdi, location=location, sm_config=sm_config)

    async def vdi_destroy(self, vdi: str) -> None:
        self._require("VDI_DELETE")
        await self._let_go(vdi)
        await self._call("vdi_destroy", vdi=vdi)

    async def vdi_snapshot(self, vdi: str, spec: VdiSpec) -> Vdi:
        self._require("VDI_SNAPSHOT")
        await self._let_go(vdi)
        return await self._vdi("vdi_snapshot", vdi, spec=asdict(spec))

    async def vdi_clone(self, vdi: str, spec: VdiSpec) -> Vdi:
        self._require("VDI_CLONE")
        await self._let_go(vdi)
        return await self._vdi("vdi_clone", vdi, spec=asdict(spec))

    async def vdi_revert(self, vdi: str, snapshot: str) -> Vdi:
        self._require("VDI_SNAPSHOT")
        await self._let_go(vdi, snapshot)
        return await self._vdi("vdi_revert", vdi, snapshot=snapshot)

    async def vdi_resize(self, vdi: str, virtual_size: int) -> Vdi:
        self._require("VDI_RESIZE")
        await self._let_go(vdi)
        return await self._vdi("vdi_resize", vdi, virtual_size=virtual_size)

    async def vdi_set(self, vdi: str, changes: Mapping[str, object]) -> Vdi:
        return await self._vdi("vdi_set", vdi, changes=changes)

    async def _tracked(self, command: str, vdi: str) -> Vdi:
        self._require("VDI_CONFIG_CBT")
        await self._let_go(vdi)
        return await self._vdi(f"vdi_{command}", vdi)

    async def vdi_list_changed_blocks(self, vdi_from: str, vdi_to: str) -> str:
        self._require("VDI_CONFIG_CBT")
        found = await self._call("vdi_list_changed_blocks", vdi_from=vdi_from, vdi_to=vdi_to)
        return str(found)

    async def vdi_epoch_begin(self, vdi: str, persistent: bool) -> None:
        if not persistent:
            self._require("VDI_RESET_ON_BOOT")
            await self._let_go(vdi)
            await self._call("vdi_epoch_begin", vdi=vdi, persistent=persistent)

    async def vdi_compose(self, parent: str, child: str) -> None:
        await self._let_go(parent, child)
        await self._call("vdi_compose", parent=parent, child=child)

    async def vdi_path(self, vdi: str, writable: bool) -> str:
        await self._let_go(vdi)
        return str(await self._call("vdi_path", vdi=vdi, writable=writable))

    async def vdi_open(self, vdi: str, mode: str, base: str, images: bool = False) -> Access:
        await self._let_go(vdi)
        return Access(**await self._call("open_data", vdi=vdi, mode=mode, base=base, images=images))

    async def vdi_close(self, vdi: str, mode: str, commit: bool, extents: Extents) -> Vdi:
        if mode != "read":
            return await self._vdi("close_data", vdi, commit=commit)
        await self._call("close_reader", vdi=vdi)
        return await self.vdi_stat(vdi)

    async def vdi_content(self, vdi: str, image: bool = False) -> Content:
        await self._let_go(vdi)
        found = await self._call("vdi_content", vdi=vdi, image=image)
        await _or_end(self._call("begin_read", vdi=vdi), self._call("end_read", vdi=vdi))
        return Content(**found)

    async def vdi_copied(self, vdi: str) -> None:
        await self._call("end_read", vdi=vdi)

    async def vdi_fill(self, vdi: str, content: Content) -> Vdi:
        self._require("VDI_CREATE")
        source = {"path": content.path, "format": content.format}
        begin = self._call("begin_fill", vdi=vdi, content=source)
        command = await _or_end(begin, self._call("end_fill", vdi=vdi, done=False))
        done = False
        try:
            if command:
                tool = self._filling[vdi] = self._settings.children.tool(command, IDLE_S)
                await tool.ended()
            done = True
        finally:
            self._filling.pop(vdi, None)
            filled = await self._call("end_fill", vdi=vdi, done=done)
        return Vdi(**filled)

    def vdi_progress(self, vdi: str) -> float:
        tool = self._filling.get(vdi)
        return 0.0 if tool is None else tool.progress

    async def vdi_note_written(self, vdi: str, extents: Extents, simulated: bool) -> Vdi:
        return await self._vdi("vdi_note_written", vdi)

    async def vdi_attach(self, vdi: str, read_write: bool) -> Backend:
        return Backend(**await self._call("vdi_attach", vdi=vdi, read_write=read_write))

    async def vdi_activate(self, vdi: str, read_write: bool) -> None:
        await self._let_go(vdi)
        await self._call("vdi_activate", vdi=vdi, read_write=read_write)
        self._watch()

    def _watch(self) -> None:
        if self._grows:
            self._growth.begin()

    async def vdi_deactivate(self, vdi: str) -> None:
        await self._let_go(vdi)
        await self._call("vdi_deactivate", vdi=vdi)

    async def vdi_detach(self, vdi: str) -> None:
        """Nothing is left to do: deactivating ended the backend."""

    async def release_locks(self, host_uuid: str) -> None:
        await self._call("release_locks", host_uuid=host_uuid)

    # -- garbage

    async def collect_garbage(self) -> None:
        """Delete and merge until nothing is left to do.

        Somebody who needs a disk that is being merged stops that merge; the
        next round takes it up again.
        """
        if self._collecting.running:
            return
        now = self._collecting = _Collecting(running=True, progress=0.0)
        try:
            await self._call("gc_start")
            while not now.stopped:
                step = await self._call("gc_next")
                now.skipped = step["skipped"]
                merge = step.get("merge")
                if merge is None:
                    return
                await self._merge(now, merge, int(step["left"]))
        finally:
            now.running, now.progress = False, 1.0
            now.disks, now.tool, now.live = frozenset(), None, ""

    async def _merge(self, now: _Collecting, merge: Mapping[str, Any], left: int) -> None:
        now.disks, now.live = frozenset(merge["disks"]), str(merge["live"])
        now.progress = len(now.done) / (len(now.done) + left)
        self._settings.notify("gc", self.uuid)
        try:
            if now.live:
                await self._merge_live(now)
            else:
                now.tool = self._settings.children.tool(merge["command"], IDLE_S)
                await now.tool.ended()
        except RpcError as problem:
            reason = "somebody needed it" if now.disks == frozenset() else str(problem)
            await self._call("gc_give_up", reason=reason)
            return
        if now.disks:
            now.disks = frozenset()
            await self._call("gc_finish")
            now.done.append(str(merge["node"]))

    async def _merge_live(self, now: _Collecting) -> None:
        state = ""
        while now.disks and state not in MERGED:
            state, _ = await self._call("gc_progress")
            if state not in MERGED:
                await self._settings.children.sleep(POLL_S)

    async def vdi_holders(self, vdi: str) -> list[Mapping[str, str]]:
        found = list(await self._call("vdi_holders", vdi=vdi))
        if vdi in self._collecting.disks:
            found.append({"kind": "garbage collection", "who": self.uuid, "why": "it is merged"})
        return found

    def stop_collecting(self, why: str) -> None:
        """End a round of collection soon; what it merges stays as it was."""
        now = self._collecting
        now.stopped = why
        now.disks = frozenset()
        if now.tool is not None:
            now.tool.kill()

    async def _let_go(self, *vdis: str) -> None:
        """Stop a merge of images that these disks use."""
        now = self._collecting
        if not now.disks.isdisjoint(vdis):
            now.disks, now.stopped = frozenset(), "somebody needed a disk"
            if now.tool is not None:
                now.tool.kill()
                with suppress(RpcError):
                    await now.tool.ended()
            await self._call("gc_give_up", reason="somebody needed it")

    def garbage_report(self) -> Mapping[str, object]:
        now = self._collecting
        progress = now.progress
        if now.running and now.tool is not None:
            progress = min(1.0, progress + now.tool.progress * (1 - progress) / 2)
        return {
            "running": now.running,
            "progress": progress,
            "done": list(now.done),
            "skipped": list(now.skipped),
        }

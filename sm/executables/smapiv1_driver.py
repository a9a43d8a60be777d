"""Drivers of the first generation behind the contract: ``sm.contract.Driver``."""

import logging
import xmlrpc.client
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from sm import errors
from sm.contract import AttachedSr, Backend, Config, ProbeResult, SrStat, Vdi, VdiSpec
from sm.drivers.child_process import Children
from sm.executables import smapiv1
from sm.executables.base import ExecutableSr
from sm.executables.program import Programs
from sm.executables.records import Records
from sm.executables.smapiv1 import flag
from sm.plugins import Plugin
from xapi_py.base.names import NULL_REF
from xapi_py.base.rpc.errors import RpcError

log = logging.getLogger(__name__)
T = TypeVar("T")

CALL_S: Final = 120.0
SLOW_S: Final = 660.0
_SLOW: Final = frozenset({"sr_create", "sr_attach", "sr_probe", "sr_scan", "vdi_create"})
Run = Callable[[Callable[[], T]], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Tools:
    """What drivers of others need: programs, the toolstack's records, threads, copies."""

    programs: Programs
    records: Records
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    children: Children
    call_s: float = CALL_S

    async def ask(self, work: Callable[[], Any]) -> Any:
        """Look something up in the records.  Errors: RpcError 47."""
        try:
            return await self.in_thread(work)
        except (OSError, LookupError, xmlrpc.client.Error) as problem:
            text = f"the toolstack does not answer its driver: {problem}"
            raise errors.backend_failure(errors.SR_UNAVAILABLE, text) from problem


async def drivers_in(folder: Path, tools: Tools) -> dict[str, "SmapiV1Driver"]:
    """Find the drivers of a folder by SR type; those that do not answer are left out."""
    found: dict[str, SmapiV1Driver] = {}
    for path in sorted(folder.glob(f"*{smapiv1.SUFFIX}")) if folder.is_dir() else ():
        if not path.is_file() or path.name == smapiv1.SUFFIX:
            continue
        try:
            text = smapiv1.call("sr_get_driver_info", {"args": []})
            ended = await tools.programs.run(path, (text,), tools.call_s)
            plugin = smapiv1.plugin(path.name, str(path), smapiv1.answer(ended, ""))
        except (RpcError, OSError, ValueError) as problem:
            log.error("the driver %s is left out: %s", path, problem)
            continue
        found[plugin.type] = SmapiV1Driver(plugin, tools)
    return found


@dataclass(frozen=True, slots=True)
class SmapiV1Driver:
    """One driver program."""

    plugin: Plugin
    tools: Tools

    async def call(
        self, command: str, sr: str, device_config: Config, vdi: str = "", **members: object
    ) -> Any:
        """Run the program for one command.  Errors: RpcError as clients know them."""
        tools = self.tools

        def context() -> dict[str, object]:
            records = tools.records
            found: dict[str, object] = {
                "host_ref": records.host(),
                "session_ref": records.session(),
                "sr_ref": records.reference("SR", sr) if sr else None,
            }
            if vdi:
                found["vdi_ref"] = records.reference("VDI", vdi)
            return found

        known = await tools.ask(context)
        call: dict[str, object] = {
            "args": [],
            "device_config": {**device_config, "SRmaster": "true"},
            "subtask_of": NULL_REF,
            "sr_uuid": sr or None,
            "vdi_uuid": vdi or None,
            **known,
            **members,
        }
        deadline_s = SLOW_S if command in _SLOW and tools.call_s == CALL_S else tools.call_s
        text = smapiv1.call(command, call)
        try:
            ended = await tools.programs.run(Path(self.plugin.driver_filename), (text,), deadline_s)
        except OSError as problem:
            raise errors.backend_failure(errors.SR_UNAVAILABLE, str(problem)) from problem
        return smapiv1.answer(ended, sr, vdi)

    async def create(
        self,
        sr: str,
        device_config: Config,
        sm_config: Config,
        name_label: str,
        name_description: str,
        physical_size: int,
    ) -> tuple[Config, Config]:
        args = [str(physical_size)]
        await self.call("sr_create", sr, device_config, args=args, sr_sm_config=dict(sm_config))
        return device_config, sm_config

    async def attach(self, sr: str, device_config: Config, sm_config: Config) -> AttachedSr:
        await self.call("sr_attach", sr, device_config)
        return SmapiV1Sr(sr, self, device_config)

    async def probe(self, device_config: Config, sm_config: Config) -> str:
        if not self.plugin.supports("SR_PROBE"):
            text = "Operation 'sr_probe' not supported by this SR type"
            raise RpcError(errors.BACKEND_ERROR, "SR_BACKEND_FAILURE", text, "", "")
        return str(await self.call("sr_probe", "", device_config, sr_sm_config=dict(sm_config)))

    async def probe_ext(self, device_config: Config, sm_config: Config) -> list[ProbeResult]:
        raise RpcError(errors.BACKEND_ERROR, "SR_OPERATION_NOT_SUPPORTED")


class SmapiV1Sr(ExecutableSr):
    """An attached SR of such a driver."""

    def __init__(self, uuid: str, driver: SmapiV1Driver, device_config: Config) -> None:
        super().__init__(uuid, driver.plugin, driver.tools.children)
        self._driver = driver
        self._device_config = device_config
        self._generation = 0

    async def _call(self, command: str, vdi: str = "", **members: object) -> Any:
        self._generation += 1
        if vdi:
            disk = await self.vdi_stat(vdi)
            members.setdefault("vdi_location", disk.location)
            members.setdefault("vdi_sm_config", dict(disk.sm_config))
            members.setdefault("vdi_on_boot", "persist" if disk.persistent else "reset")
            members.setdefault("vdi_allow_caching", "false")
        return await self._driver.call(command, self.uuid, self._device_config, vdi, **members)

    async def _made(self, answer: Any) -> Vdi:
        """Look up a disk a driver says it has made.  Errors: 1200 for another answer."""
        if not isinstance(answer, Mapping) or "uuid" not in answer:
            name = "SR_BACKEND_FAILURE_1200"
            raise RpcError(errors.BACKEND_ERROR, name, "", f"the driver answered {answer!r}", "")
        return await self.vdi_stat(str(answer["uuid"]))

    async def detach(self) -> None:
        await self._call("sr_detach")

    async def destroy(self) -> None:
        await self._call("sr_delete")

    async def stat(self) -> SrStat:
        records, generation = self._driver.tools.records, self._generation
        found: SrStat = await self._driver.tools.ask(
            lambda: records.sr(self.uuid, self.plugin.type, generation)
        )
        return found

    async def scan(self) -> list[Vdi]:
        await self._call("sr_scan")
        records = self._driver.tools.records
        found: list[Vdi] = await self._driver.tools.ask(lambda: records.vdis(self.uuid))
        return found

    async def vdi_stat(self, vdi: str) -> Vdi:
        records = self._driver.tools.records
        found: Vdi = await self._driver.tools.ask(lambda: records.vdi(vdi))
        return found

    async def vdi_create(self, spec: VdiSpec) -> Vdi:
        self.require("VDI_CREATE")
        args = [str(spec.virtual_size), spec.name_label, spec.name_description]
        args += [spec.metadata_of_pool, flag(spec.is_a_snapshot), str(spec.snapshot_time)]
        args += [spec.snapshot_of, flag(spec.read_only)]
        config = dict(spec.sm_config)
        made = await self._call("vdi_create", args=args, vdi_sm_config=config, vdi_type=spec.type)
        return await self._made(made)

    async def vdi_introduce(self, vdi: str, location: str, sm_config: Config) -> Vdi:
        self.require("VDI_INTRODUCE")
        members: dict[str, Any] = {"vdi_location": location, "vdi_sm_config": dict(sm_config)}
        return await self._made(await self._call("vdi_introduce", new_uuid=vdi, **members))

    async def vdi_destroy(self, vdi: str) -> None:
        self.require("VDI_DELETE")
        await self._call("vdi_delete", vdi)

    async def _derived(self, command: str, vdi: str, spec: VdiSpec) -> Vdi:
        made = await self._made(await self._call(command, vdi, driver_params={}))
        return replace(
            made,
            name_label=spec.name_label or made.name_label,
            is_a_snapshot=spec.is_a_snapshot or command == "vdi_snapshot",
            snapshot_of=vdi if command == "vdi_snapshot" else "",
            snapshot_time=spec.snapshot_time or made.snapshot_time,
        )

    async def vdi_snapshot(self, vdi: str, spec: VdiSpec) -> Vdi:
        self.require("VDI_SNAPSHOT")
        return await self._derived("vdi_snapshot", vdi, spec)

    async def vdi_clone(self, vdi: str, spec: VdiSpec) -> Vdi:
        self.require("VDI_CLONE")
        return await self._derived("vdi_clone", vdi, spec)

    async def vdi_resize(self, vdi: str, virtual_size: int) -> Vdi:
        online = bool(self._active.get(vdi))
        self.require("VDI_RESIZE_ONLINE" if online else "VDI_RESIZE")
        command = "vdi_resize_online" if online else "vdi_resize"
        return await self._made(await self._call(command, vdi, args=[str(virtual_size)]))

    async def vdi_set(self, vdi: str, changes: Mapping[str, object]) -> Vdi:
        if self.plugin.supports("VDI_UPDATE"):
            await self._call("vdi_update", vdi)
        return replace(await self.vdi_stat(vdi), **changes)  # type: ignore[arg-type]

    async def _tracked(self, command: str, vdi: str) -> Vdi:
        self.require("VDI_CONFIG_CBT")
        await self._call(f"vdi_{command}", vdi)
        return await self.vdi_stat(vdi)

    async def vdi_list_changed_blocks(self, vdi_from: str, vdi_to: str) -> str:
        self.require("VDI_CONFIG_CBT")
        records = self._driver.tools.records
        other = await self._driver.tools.ask(lambda: records.reference("VDI", vdi_to))
        return str(await self._call("vdi_list_changed_blocks", vdi_from, args=[other]))

    async def vdi_epoch_begin(self, vdi: str, persistent: bool) -> None:
        if not persistent:
            self.require("VDI_RESET_ON_BOOT")
            await self._call("vdi_epoch_begin", vdi)

    async def attach_disk(self, vdi: str, read_write: bool) -> Backend:
        found = await self._call("vdi_attach", vdi, args=[flag(read_write)])
        return backend_of(found, vdi, self.plugin.type)

    async def detach_disk(self, vdi: str) -> None:
        await self._call("vdi_detach", vdi)

    async def activate_disk(self, vdi: str, read_write: bool) -> None:
        if self.plugin.supports("VDI_ACTIVATE"):
            await self._call("vdi_activate", vdi, args=[flag(read_write)])

    async def deactivate_disk(self, vdi: str) -> None:
        if self.plugin.supports("VDI_DEACTIVATE"):
            await self._call("vdi_deactivate", vdi)


def backend_of(found: Any, vdi: str, sr_type: str) -> Backend:
    """Read what ``vdi_attach`` answered; old drivers give a path, newer ones an NBD export too."""
    members: Mapping[str, Any] = found if isinstance(found, Mapping) else {"params": str(found)}
    extra = {str(k): str(v) for k, v in dict(members.get("xenstore_data") or {}).items()}
    extra |= {"vdi-uuid": vdi, "storage-type": sr_type}
    path, nbd = str(members.get("params") or ""), str(members.get("params_nbd") or "")
    if nbd.startswith("nbd:unix:"):
        socket, _, export = nbd.removeprefix("nbd:unix:").partition(":exportname=")
        return Backend("qdisk", nbd, path, extra, f"nbd+unix:///{export}?socket={socket}")
    kind = "vbd3" if path.startswith("/dev/") else "qdisk"
    return Backend(kind, path, path, extra)

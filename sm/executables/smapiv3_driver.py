"""Script plug-ins of the third generation, SMAPIv3, behind the contract.

A plug-in is a folder ``volume/org.xen.xapi.storage.TYPE`` of programs, one for
each operation (``SR.attach``, ``Volume.create``...); how a volume is reached says
its URI, whose scheme names a folder below ``datapath``.  A program is called
with ``--json``, reads its arguments as a JSON object and writes a JSON answer;
it fails with an exit status and ``{code, params}``.
Source: briefs, storage section 2.2.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from sm import errors
from sm.contract import AttachedSr, Backend, Config, ProbeResult, SrStat, Vdi, VdiSpec
from sm.executables.base import ExecutableSr
from sm.executables.smapiv1_driver import Tools
from sm.plugins import Plugin, parse_features
from xapi_py.base.rpc.errors import RpcError

log = logging.getLogger(__name__)
PREFIX: Final = "org.xen.xapi.storage."
_IMPLIED: Final = ("VDI_ATTACH", "VDI_DETACH", "VDI_ACTIVATE", "VDI_DEACTIVATE", "SR_SCAN")
DOMAIN: Final = "0"


@dataclass(frozen=True, slots=True)
class Scripts:
    """A folder of programs, one for each operation."""

    folder: Path
    tools: Tools

    async def call(self, operation: str, about: str = "", /, **arguments: object) -> Any:
        """Run the program of an operation.  Errors: RpcError as clients know them."""
        path = self.folder / operation
        if not path.is_file():
            raise errors.unsupported(about)
        text = json.dumps({"dbg": "smd", **arguments})
        try:
            ended = await self.tools.programs.run(path, ("--json",), self.tools.call_s, text)
        except OSError as problem:
            raise errors.backend_failure(errors.SR_UNAVAILABLE, str(problem)) from problem
        if ended.late:
            raise _plain("the plug-in did not answer in time", ended.output, ended.errors)
        if ended.status is None:
            raise _plain(f"received signal: {ended.signal}", ended.output, ended.errors)
        try:
            found = json.loads(ended.output) if ended.output.strip() else None
        except ValueError as problem:
            raise _plain(f"unparsable answer: {problem}", ended.output, ended.errors) from problem
        if ended.status:
            raise refusal(found, about, ended.output, ended.errors)
        return found


def _plain(text: str, output: str, stderr: str) -> RpcError:
    return RpcError(errors.BACKEND_ERROR, "SR_BACKEND_FAILURE", text, output, stderr)


def refusal(found: Any, sr: str, output: str, stderr: str) -> RpcError:
    """Give the error of a program that failed."""
    if not isinstance(found, Mapping) or "code" not in found:
        return _plain("non-zero exit", output, stderr)
    code = str(found["code"])
    params = [p if isinstance(p, str) else json.dumps(p) for p in found.get("params") or ()]
    match code:
        case "Unimplemented":
            return errors.unsupported(sr)
        case "Volume_does_not_exist":
            return errors.vdi_does_not_exist(*(params[:1] or [""]))
        case "Sr_not_attached" | "SR_does_not_exist":
            return errors.backend_failure(errors.SR_UNAVAILABLE, " ".join([code, *params]))
        case "Activated_on_another_host":
            return errors.activated_elsewhere(*(params[:1] or [""]))
    return RpcError(errors.BACKEND_ERROR, code, *params)


async def drivers_in(folder: Path, tools: Tools) -> dict[str, "SmapiV3Driver"]:
    """Find the plug-ins below a folder by SR type; those that do not answer are left out."""
    found: dict[str, SmapiV3Driver] = {}
    volumes = folder / "volume"
    for path in sorted(volumes.glob(f"{PREFIX}*")) if volumes.is_dir() else ():
        scripts = Scripts(path, tools)
        try:
            query = await scripts.call("Plugin.Query")
            plugin = plugin_of(query, str(path))
        except (RpcError, ValueError) as problem:
            log.error("the plug-in %s is left out: %s", path, problem)
            continue
        found[plugin.type] = SmapiV3Driver(plugin, scripts, folder / "datapath")
    return found


def plugin_of(query: Any, path: str) -> Plugin:
    """Describe a plug-in by its answer to ``Plugin.Query``.  Errors: ValueError."""
    try:
        sr_type = str(query["plugin"]).removeprefix(PREFIX).lower()
        features = parse_features(tuple(map(str, query.get("features", ()))))
        return Plugin(
            type=sr_type,
            name_label=str(query["name"]),
            name_description=str(query.get("description", "")),
            vendor=str(query.get("vendor", "")),
            copyright=str(query.get("copyright", "")),
            version=str(query.get("version", "1.0")),
            required_api_version=str(query.get("required_api_version", "3.0")),
            features={**dict.fromkeys(_IMPLIED, 1), **features},
            configuration={str(k): str(v) for k, v in dict(query["configuration"]).items()},
            driver_filename=path,
            required_cluster_stack=tuple(map(str, query.get("required_cluster_stack", ()))),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise ValueError(f"{path}: {problem!r}") from problem


@dataclass(frozen=True, slots=True)
class SmapiV3Driver:
    """One plug-in."""

    plugin: Plugin
    scripts: Scripts
    datapaths: Path

    async def create(
        self,
        sr: str,
        device_config: Config,
        sm_config: Config,
        name_label: str,
        name_description: str,
        physical_size: int,
    ) -> tuple[Config, Config]:
        names = {"name": name_label, "description": name_description}
        configuration = await self.scripts.call(
            "SR.create", sr, uuid=sr, configuration=dict(device_config), **names
        )
        stored = configuration if isinstance(configuration, Mapping) else device_config
        return {str(k): str(v) for k, v in stored.items()}, sm_config

    async def attach(self, sr: str, device_config: Config, sm_config: Config) -> AttachedSr:
        handle = await self.scripts.call("SR.attach", sr, configuration=dict(device_config))
        attached = SmapiV3Sr(sr, self, str(handle))
        await attached.scan()
        return attached

    async def probe(self, device_config: Config, sm_config: Config) -> str:
        lines = ["<SRlist>"]
        for result in await self.probe_ext(device_config, sm_config):
            if result.sr is not None:
                lines.append(f"<SR><UUID>{result.sr.uuid}</UUID></SR>")
        return "\n".join([*lines, "</SRlist>"])

    async def probe_ext(self, device_config: Config, sm_config: Config) -> list[ProbeResult]:
        found = await self.scripts.call("SR.probe", "", configuration=dict(device_config))
        return [self._probed(entry) for entry in found or ()]

    def _probed(self, entry: Mapping[str, Any]) -> ProbeResult:
        stat = entry.get("sr")
        described = None
        if stat:
            described = stat_of(str(stat.get("uuid") or ""), self.plugin.type, stat, 0)
        configuration = {str(k): str(v) for k, v in dict(entry.get("configuration", {})).items()}
        extra = {str(k): str(v) for k, v in dict(entry.get("extra_info", {})).items()}
        return ProbeResult(configuration, bool(entry.get("complete")), described, extra)


def stat_of(uuid: str, sr_type: str, stat: Mapping[str, Any], generation: int) -> SrStat:
    """Read what ``SR.stat`` answered."""
    total, free = int(stat.get("total_space", 0)), int(stat.get("free_space", 0))
    health = stat.get("health", "healthy")
    word = str(
        health[0] if isinstance(health, Sequence) and not isinstance(health, str) else health
    )
    return SrStat(
        uuid=uuid,
        type=sr_type,
        name_label=str(stat.get("name", "")),
        name_description=str(stat.get("description", "")),
        physical_size=total,
        physical_utilisation=max(0, total - free),
        virtual_allocation=max(0, total - free),
        sm_config={},
        generation=generation,
        clustered=bool(stat.get("clustered", False)),
        health=word.lower(),
    )


class SmapiV3Sr(ExecutableSr):
    """An attached SR of a plug-in; disks are known by uuid here, by key to the plug-in."""

    def __init__(self, uuid: str, driver: SmapiV3Driver, handle: str) -> None:
        super().__init__(uuid, driver.plugin, driver.scripts.tools.children)
        self._driver = driver
        self._handle = handle
        self._volumes: dict[str, Mapping[str, Any]] = {}
        self._generation = 0
        self._open: dict[str, Scripts] = {}

    async def _call(self, operation: str, **arguments: object) -> Any:
        self._generation += 1
        return await self._driver.scripts.call(operation, self.uuid, sr=self._handle, **arguments)

    def _key(self, vdi: str) -> str:
        if vdi not in self._volumes:
            raise errors.vdi_does_not_exist(vdi)
        return str(self._volumes[vdi]["key"])

    def _note(self, volume: Mapping[str, Any]) -> Vdi:
        uuid = str(volume.get("uuid") or volume["key"])
        self._volumes[uuid] = volume
        return self._vdi(uuid, volume)

    def _vdi(self, uuid: str, volume: Mapping[str, Any]) -> Vdi:
        keys = {str(k): str(v) for k, v in dict(volume.get("keys") or {}).items()}
        original = keys.get("vdi-snapshot-of", "")
        return Vdi(
            uuid=uuid,
            location=str(volume["key"]),
            name_label=str(volume.get("name", "")),
            name_description=str(volume.get("description", "")),
            type=keys.get("vdi-type", "user"),
            sharable=bool(volume.get("sharable", False)),
            read_only=not volume.get("read_write", True),
            virtual_size=int(volume["virtual_size"]),
            physical_utilisation=int(volume.get("physical_utilisation", 0)),
            cbt_enabled=bool(volume.get("cbt_enabled", False)),
            is_a_snapshot=keys.get("vdi-is-a-snapshot") == "true",
            snapshot_of=original,
            snapshot_time=int(keys.get("vdi-snapshot-time") or 0),
            persistent=keys.get("vdi-persistent", "true") == "true",
            content_id=keys.get("vdi-content-id", ""),
        )

    async def detach(self) -> None:
        await self._call("SR.detach")

    async def destroy(self) -> None:
        await self._call("SR.destroy")

    async def stat(self) -> SrStat:
        found = await self._driver.scripts.call("SR.stat", self.uuid, sr=self._handle)
        return stat_of(self.uuid, self.plugin.type, found, self._generation)

    async def set_name(self, name_label: str | None, name_description: str | None) -> None:
        if name_label is not None:
            await self._call("SR.set_name", new_name=name_label)
        if name_description is not None:
            await self._call("SR.set_description", new_description=name_description)

    async def scan(self) -> list[Vdi]:
        volumes = await self._call("SR.ls")
        self._volumes.clear()
        return [self._note(volume) for volume in volumes or ()]

    async def vdi_stat(self, vdi: str) -> Vdi:
        return self._note(await self._call("Volume.stat", key=self._key(vdi)))

    async def vdi_create(self, spec: VdiSpec) -> Vdi:
        self.require("VDI_CREATE")
        names = {"name": spec.name_label, "description": spec.name_description}
        volume = await self._call(
            "Volume.create", size=spec.virtual_size, sharable=spec.sharable, **names
        )
        made = self._note(volume)
        await self._keep(made.uuid, {"vdi-type": spec.type})
        return replace(made, type=spec.type)

    async def _keep(self, vdi: str, keys: Mapping[str, str]) -> None:
        for name, value in keys.items():
            await self._call("Volume.set", key=self._key(vdi), k=name, v=value)

    async def vdi_destroy(self, vdi: str) -> None:
        self.require("VDI_DELETE")
        await self._call("Volume.destroy", key=self._key(vdi))
        self._volumes.pop(vdi, None)

    async def vdi_snapshot(self, vdi: str, spec: VdiSpec) -> Vdi:
        self.require("VDI_SNAPSHOT")
        made = self._note(await self._call("Volume.snapshot", key=self._key(vdi)))
        keys = {"vdi-is-a-snapshot": "true", "vdi-snapshot-of": vdi}
        keys["vdi-snapshot-time"] = str(spec.snapshot_time)
        await self._named(made.uuid, spec)
        await self._keep(made.uuid, keys)
        return await self.vdi_stat(made.uuid)

    async def vdi_clone(self, vdi: str, spec: VdiSpec) -> Vdi:
        self.require("VDI_CLONE")
        made = self._note(await self._call("Volume.clone", key=self._key(vdi)))
        await self._named(made.uuid, spec)
        return await self.vdi_stat(made.uuid)

    async def _named(self, vdi: str, spec: VdiSpec) -> None:
        names = {"name_label": spec.name_label, "name_description": spec.name_description}
        await self.vdi_set(vdi, names)

    async def vdi_resize(self, vdi: str, virtual_size: int) -> Vdi:
        self.require("VDI_RESIZE_ONLINE" if self._active.get(vdi) else "VDI_RESIZE")
        await self._call("Volume.resize", key=self._key(vdi), new_size=virtual_size)
        return await self.vdi_stat(vdi)

    async def vdi_set(self, vdi: str, changes: Mapping[str, object]) -> Vdi:
        key = self._key(vdi)
        if "name_label" in changes:
            await self._call("Volume.set_name", key=key, new_name=changes["name_label"])
        if "name_description" in changes:
            text = changes["name_description"]
            await self._call("Volume.set_description", key=key, new_description=text)
        kept = {"persistent": "vdi-persistent", "content_id": "vdi-content-id"}
        words = {k: str(changes[n]).lower() for n, k in kept.items() if n in changes}
        await self._keep(vdi, words)
        return await self.vdi_stat(vdi)

    async def _tracked(self, command: str, vdi: str) -> Vdi:
        self.require("VDI_CONFIG_CBT")
        await self._call(f"Volume.{command}", key=self._key(vdi))
        return await self.vdi_stat(vdi)

    async def vdi_list_changed_blocks(self, vdi_from: str, vdi_to: str) -> str:
        self.require("VDI_CONFIG_CBT")
        size = int(self._volumes[vdi_to]["virtual_size"]) if vdi_to in self._volumes else 0
        keys = {"key": self._key(vdi_from), "key2": self._key(vdi_to)}
        found = await self._call("Volume.list_changed_blocks", **keys, offset=0, length=size)
        return str(found["bitmap"] if isinstance(found, Mapping) else found)

    # -- how a volume is reached

    async def _path_of(self, vdi: str) -> tuple[Scripts, str]:
        uris = [str(u) for u in self._volumes.get(vdi, {}).get("uri", ())]
        for uri in uris:
            scripts = Scripts(
                self._driver.datapaths / uri.partition(":")[0], self._driver.scripts.tools
            )
            if scripts.folder.is_dir():
                return scripts, uri
        raise errors.backend_failure(errors.VDI_UNAVAILABLE, f"no data path for {uris}")

    async def attach_disk(self, vdi: str, read_write: bool) -> Backend:
        await self.vdi_stat(vdi)
        scripts, uri = await self._path_of(vdi)
        if (scripts.folder / "Datapath.open").is_file():
            await scripts.call("Datapath.open", self.uuid, uri=uri, persistent=True)
        found = await scripts.call("Datapath.attach", self.uuid, uri=uri, domain=DOMAIN)
        return backend_of(found, vdi, self.plugin.type)

    async def detach_disk(self, vdi: str) -> None:
        scripts, uri = await self._path_of(vdi)
        await scripts.call("Datapath.detach", self.uuid, uri=uri, domain=DOMAIN)
        if (scripts.folder / "Datapath.close").is_file():
            await scripts.call("Datapath.close", self.uuid, uri=uri)

    async def activate_disk(self, vdi: str, read_write: bool) -> None:
        scripts, uri = await self._path_of(vdi)
        await scripts.call("Datapath.activate", self.uuid, uri=uri, domain=DOMAIN)

    async def deactivate_disk(self, vdi: str) -> None:
        scripts, uri = await self._path_of(vdi)
        await scripts.call("Datapath.deactivate", self.uuid, uri=uri, domain=DOMAIN)


def backend_of(found: Any, vdi: str, sr_type: str) -> Backend:
    """Read the implementations ``Datapath.attach`` answered."""
    given = found.get("implementations", ()) if isinstance(found, Mapping) else ()
    kinds = {str(kind): dict(members) for kind, members in given}
    disk = kinds.get("XenDisk", {})
    extra = {str(k): str(v) for k, v in dict(disk.get("extra") or {}).items()}
    extra |= {"vdi-uuid": vdi, "storage-type": sr_type}
    path = str((kinds.get("BlockDevice") or kinds.get("File") or {}).get("path", ""))
    uri = str(kinds.get("Nbd", {}).get("uri", ""))
    params = str(disk.get("params") or path)
    kind = str(disk.get("backend_type") or ("vbd3" if path.startswith("/dev/") else "qdisk"))
    return Backend(kind, params, path, extra, uri)

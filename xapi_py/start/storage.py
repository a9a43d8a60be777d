"""Storage at start: driver records, the SRs of a fresh host, plugging what there is.

Orphans of a killed server: an SR whose making was cut short loses its record
here; disks are brought in step by the scan of every attached SR, so a disk
that was made without its record shows up as an ordinary one.
"""

import logging
from collections.abc import Coroutine, Mapping
from typing import Any

from xapi_py.api import pbd
from xapi_py.api.internal import finish, internal_call
from xapi_py.api.message import create_alert
from xapi_py.api.sr import create as sr_create
from xapi_py.api.sr.create import Wanted
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.waiting import all_of, sleep
from xapi_py.datamodel import defaults
from xapi_py.db.row import Row
from xapi_py.pool.following import TROUBLE, result_of
from xapi_py.pool.garbage_tasks import GarbageTasks
from xapi_py.pool.storage_updates import StorageUpdates
from xapi_py.start import local_disks
from xapi_py.start.identity import BRAND
from xapi_py.start.local_disks import LocalDisks

log = logging.getLogger(__name__)

RETRY_S = 0.1
PLUG_RETRIES_S = (0.5, 2.0)
"""Pauses between the attempts to plug a PBD at start."""

FIRST_DONE = "first-storage-done"
"""File that says that the SRs of a fresh installation were made once."""

LOCAL_DEVICE = "/dev/sda3"
_NFS = "192.0.2.20"
SHARED = Wanted(
    "nfs",
    {"server": _NFS, "serverpath": "/export/vms"},
    "NFS virtual disk storage",
    f"NFS SR [{_NFS}:/export/vms]",
    "user",
    shared=True,
    other_config={"auto-scan": "false"},
)
LIBRARY = Wanted(
    "iso",
    {"location": f"{_NFS}:/export/iso", "type": "nfs_iso"},
    "NFS ISO library",
    f"NFS ISO Library [{_NFS}:/export/iso]",
    "iso",
    shared=True,
    other_config={"auto-scan": "true"},
)
"""Shared storage of the simulator's default array; see ``sm.config``."""

_SM_FIELDS = (
    "name_label",
    "name_description",
    "vendor",
    "copyright",
    "version",
    "required_api_version",
    "configuration",
    "features",
    "driver_filename",
)
_SM_SETS = ("capabilities", "required_cluster_stack", "supported_image_formats")


async def prepare(toolstack: Toolstack) -> StorageUpdates:
    """Write the driver records and follow the local storage daemon, once in step with it."""
    call = internal_call(toolstack, "start of storage")
    sr_create.discard_unfinished(call)
    put_drivers(toolstack, await _drivers(toolstack))
    return await follow(toolstack)


async def follow(toolstack: Toolstack) -> StorageUpdates:
    """Follow the local storage daemon, once in step with it."""
    daemon = toolstack.hosts.get(toolstack.localhost).sm
    updates = StorageUpdates(toolstack.db, daemon, toolstack.localhost, toolstack.clock)
    garbage = GarbageTasks(toolstack.db, toolstack.tasks, daemon, toolstack.clock)
    updates.on_merging = garbage.merging
    updates.start()
    await updates.synced()
    return updates


async def _drivers(toolstack: Toolstack) -> list[Mapping[str, Any]]:
    """Ask the daemon what drivers it has, waiting until it answers."""
    daemon = toolstack.hosts.get(toolstack.localhost).sm
    while True:
        try:
            params = {"profile": toolstack.model.profile}
            found: Any = result_of(await daemon.read("Query.list", params, dbg="start"))
            return list(found)
        except TROUBLE as problem:
            log.info("waiting for the storage daemon: %s", problem)
        await sleep(toolstack.clock, RETRY_S)


def put_drivers(toolstack: Toolstack, plugins: list[Mapping[str, Any]]) -> None:
    """Make the SM records what the daemon says; known by their type."""
    db = toolstack.db
    known: dict[str, Row] = {row.type: row for row in db.rows("SM")}
    changed: set[str] = set()
    with db.transaction() as tx:
        for plugin in plugins:
            fields: dict[str, Any] = {name: plugin[name] for name in _SM_FIELDS}
            fields |= {name: tuple(plugin[name]) for name in _SM_SETS}
            row = known.pop(plugin["type"], None)
            if row is None:
                tx.create("SM", {"type": plugin["type"], **fields})
                changed.add(plugin["type"])
                continue
            if row.features != fields["features"]:
                changed.add(plugin["type"])
            tx.update("SM", row.ref, **fields)
        for row in known.values():
            tx.delete("SM", row.ref)
            changed.add(row.type)
        for sr in db.rows("SR"):
            if sr.type in changed:
                tx.touch("SR", sr.ref)
                for vdi in sr.VDIs:
                    tx.touch("VDI", vdi)


async def bring_up(toolstack: Toolstack) -> None:
    """Make the SRs a host must have and plug all its PBDs; what fails becomes an alert."""
    await _plug_all(toolstack)
    await _attempt("Removable storage", _ensure_drives(toolstack, "removable"))
    await _attempt("DVD drives", _ensure_drives(toolstack, "dvd"))
    await _attempt("tools", _ensure_tools(toolstack))
    marker = toolstack.settings.state / FIRST_DONE
    if not marker.exists():
        await _first_storage(toolstack)
        marker.touch()


async def _attempt(name: str, work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except ApiError as problem:
        log.warning("%s: the SR cannot be made: %s", name, problem.description)


async def _make(toolstack: Toolstack, wanted: Wanted) -> Ref:
    call = internal_call(toolstack, "first storage")
    try:
        return await sr_create.make(call, toolstack.localhost, wanted)
    finally:
        finish(call)


def _wanted(key: str, sr_type: str = "", config: Mapping[str, str] | None = None) -> Wanted:
    """Give an SR of a fresh installation as ``defaults`` has it."""
    values, device_config = defaults.storage(key, BRAND)
    return Wanted(
        sr_type or values["type"],
        config or device_config,
        values["name_label"],
        values.get("name_description", ""),
        values["content_type"],
        values["shared"],
        sm_config=values.get("sm_config", {}),
        other_config=values["other_config"],
        extra={"is_tools_sr": values.get("is_tools_sr", False)},
    )


async def _ensure_drives(toolstack: Toolstack, key: str) -> None:
    wanted = _wanted(key)
    db = toolstack.db
    for ref in db.row("host", toolstack.localhost).PBDs:
        row = db.row("PBD", ref)
        if row.device_config.get("location") == wanted.device_config["location"]:
            return
    await _make(toolstack, wanted)


async def _ensure_tools(toolstack: Toolstack) -> None:
    db, here = toolstack.db, toolstack.localhost
    wanted = _wanted("tools")
    for sr in db.rows("SR"):
        if not sr.is_tools_sr:
            continue
        if all(db.row("PBD", ref).host != here for ref in sr.PBDs):
            call = internal_call(toolstack, "tools")
            config = dict(wanted.device_config)
            made = pbd.create(call, {"host": here, "SR": sr.ref, "device_config": config})
            await pbd.plug(call, made)
            finish(call)
        return
    await _make(toolstack, wanted)


async def _first_storage(toolstack: Toolstack) -> None:
    """Make the disk storage of a fresh host: local, and shared where the array has it.

    On a real host only disks that were named for it are touched.
    """
    sr_type = "lvm" if toolstack.model.profile == "7.1" else "ext"
    if toolstack.settings.backend == "simulator":
        simulated = LocalDisks((LOCAL_DEVICE,), sr_type)
        await _attempt("Local storage", _first_local(toolstack, simulated))
        await _attempt(SHARED.name_label, _first_shared(toolstack))
        await _attempt(LIBRARY.name_label, _make_once(toolstack, LIBRARY))
    elif disks := local_disks.noted(sr_type):
        await _attempt("Local storage", _first_local(toolstack, disks))


async def _first_local(toolstack: Toolstack, disks: LocalDisks) -> None:
    db, here = toolstack.db, toolstack.localhost
    wanted = _wanted("local", disks.sr_type, {"device": ",".join(disks.devices)})
    sr = await _make_once(toolstack, wanted, local=True)
    with db.transaction() as tx:
        tx.update("host", here, suspend_image_sr=sr, crash_dump_sr=sr)
    _set_default(toolstack, sr)


async def _first_shared(toolstack: Toolstack) -> None:
    _set_default(toolstack, await _make_once(toolstack, SHARED))


async def _make_once(toolstack: Toolstack, wanted: Wanted, *, local: bool = False) -> Ref:
    """Make an SR unless one of that label was made by a start that was cut short."""
    db = toolstack.db
    for ref in db.by_name_label("SR", wanted.name_label):
        hosts = {db.row("PBD", p).host for p in db.row("SR", ref).PBDs}
        if not local or toolstack.localhost in hosts:
            return ref
    return await _make(toolstack, wanted)


def _set_default(toolstack: Toolstack, sr: Ref) -> None:
    """Make an SR the pool's default unless a shared one is that already."""
    db = toolstack.db
    current = db.find("SR", db.row("pool", toolstack.pool).default_SR)
    if current is not None and (current.shared or not db.row("SR", sr).shared):
        return
    with db.transaction() as tx:
        tx.set("pool", toolstack.pool, "default_SR", sr)


async def _plug_all(toolstack: Toolstack) -> None:
    """Plug the host's PBDs side by side, each tried several times."""
    db = toolstack.db
    host = db.row("host", toolstack.localhost)
    pbds = [ref for ref in host.PBDs if not db.row("PBD", ref).currently_attached]
    outcomes = await all_of(_plug(toolstack, ref) for ref in pbds)
    failed = [ref for ref, fine in zip(pbds, outcomes, strict=True) if fine is not True]
    if failed:
        names = ", ".join(_label(toolstack, ref) for ref in failed)
        body = f"Not plugged at the start of the server: {names}"
        create_alert(toolstack, "PBD_PLUG_FAILED_ON_SERVER_START", "Host", host.uuid, body)


async def _plug(toolstack: Toolstack, ref: Ref) -> bool:
    for pause_s in (*PLUG_RETRIES_S, None):
        call = internal_call(toolstack, "PBD.plug")
        try:
            await pbd.plug(call, ref)
            return True
        except ApiError as problem:
            log.warning("%s: %s", _label(toolstack, ref), problem.description)
        finally:
            finish(call)
        if pause_s is not None:
            await sleep(toolstack.clock, pause_s)
    return False


def _label(toolstack: Toolstack, ref: Ref) -> str:
    row = toolstack.db.find("PBD", ref)
    sr = toolstack.db.find("SR", NULL_REF if row is None else row.SR)
    return ref if sr is None else str(sr.name_label)

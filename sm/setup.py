"""Put the storage daemon together: simulated SR types, real ones, or both."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from twisted.internet.threads import deferToThreadPool

from sm import config
from sm.attached_srs import AttachedSrs
from sm.contract import Driver, Notify
from sm.daemon import DatapathMethods, SrMethods, VdiMethods, method_table
from sm.datapath import DatapathStore
from sm.drivers.array import Array, Disc
from sm.drivers.child_process import Children
from sm.drivers.file_based import FileDriver, Settings
from sm.drivers.medium import Runner
from sm.drivers.simulator import SimulatorDriver, World
from sm.executables import smapiv1_driver, smapiv3_driver
from sm.executables.program import Programs
from sm.executables.records import Records
from sm.executables.smapiv1_driver import Tools
from sm.faults import Faults
from sm.kinds import KINDS
from sm.moving import Moves
from sm.plugins import as_real, every_plugin
from xapi_py.base.config import ConfigError
from xapi_py.base.names import new_uuid
from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.server import CallContext, Method
from xapi_py.base.rpc.updates import UpdateFeed
from xapi_py.base.waiting import sleep

SMAPIV1_FOLDER: Final = "/opt/xensource/sm"
SMAPIV3_FOLDER: Final = "/usr/libexec/xapi-storage-script"
"""Where drivers of others are installed on real hosts."""


def thread_runner(reactor: Any) -> Runner:
    """Run blocking work in the reactor's threads."""
    return lambda work: deferToThreadPool(reactor, reactor.getThreadPool(), work)


def default_array(state: Path) -> Path:
    """Where the array is when the configuration does not say.

    Beside the hosts when the state folder is that of a host of several,
    ``STATE/host-N/smd``, so that they share it; else below the state folder.
    """
    host = state.absolute().parent
    return (host.parent if host.name.startswith("host-") else state) / "array"


def real_drivers(
    settings: config.SmConfig, state: Path, children: Children, notify: Notify, faults: Faults
) -> dict[str, Driver]:
    """Drivers that keep disks on real files, for the types in ``settings.real``.

    Errors: ConfigError for a type that has none.
    """
    unknown = sorted(set(settings.real) - set(KINDS))
    if unknown:
        raise ConfigError(f"sm: real: {unknown[0]!r} is none of {sorted(KINDS)}")
    shared = Settings(
        state.absolute() / "run",
        settings.host_uuid,
        children,
        notify,
        call_s=settings.driver_timeout_s,
        crash=faults.take_crash,
    )
    known = every_plugin(frozenset(settings.real))
    return {name: FileDriver(as_real(plugin), shared) for name, plugin in known.items()}


async def foreign_drivers(
    settings: config.SmConfig, state: Path, reactor: Any, children: Children, run: Runner
) -> dict[str, Driver]:
    """Drivers that are programs of others, from the folders the settings name."""
    api = Path(settings.api_socket) if settings.api_socket else state.absolute().parent / "run/xapi"
    programs = Programs(reactor, {"ORIGINATOR": "SM", "XAPI_SOCKET": str(api)})
    tools = Tools(
        programs, Records(api, settings.host_uuid), run, children, settings.driver_timeout_s
    )
    found: dict[str, Driver] = {}
    if settings.smapiv1_folder:
        found |= await smapiv1_driver.drivers_in(Path(settings.smapiv1_folder), tools)
    if settings.smapiv3_folder:
        found |= await smapiv3_driver.drivers_in(Path(settings.smapiv3_folder), tools)
    return found


def own_uuid(state: Path) -> str:
    """Give the uuid of a real host: made up at the first start, then kept."""
    kept = state / "host_uuid"
    if not kept.exists():
        kept.write_text(new_uuid(), encoding="ascii")
    return kept.read_text(encoding="ascii").strip()


def settings_for_xen(found: config.StorageConfig, state: Path) -> config.StorageConfig:
    """Give the settings of a host that simulates nothing."""
    kinds = tuple(sorted(KINDS))
    sm = replace(found.sm, real=kinds, plugins=kinds, host_uuid=own_uuid(state))
    sm = replace(
        sm,
        smapiv1_folder=sm.smapiv1_folder or SMAPIV1_FOLDER,
        smapiv3_folder=sm.smapiv3_folder or SMAPIV3_FOLDER,
    )
    return replace(found, sm=sm)


async def build(
    settings: config.StorageConfig,
    state: Path,
    reactor: Clock,
    run: Runner,
    children: Children | None = None,
) -> Mapping[str, Method]:
    """Give the RPC methods, with everything attached that was attached before.

    ``children`` run the work of real drivers; needed when the settings name some.
    """
    sm, epoch = settings.sm, new_uuid()
    feed = UpdateFeed(reactor, epoch)
    faults = Faults(reactor, sm.latencies_s)
    for fault in sm.faults:
        faults.add(fault)
    shared = Path(settings.array.folder) if settings.array.folder else default_array(state)
    array = Array(settings.array)
    world = World(array, sm, state / "local", shared, run, feed.add, faults.commit_hook)
    allowed = frozenset(sm.plugins) or None
    drivers: dict[str, Driver] = {
        name: SimulatorDriver(plugin, world) for name, plugin in every_plugin(allowed).items()
    }
    foreign: dict[str, Driver] = {}
    if children is not None:
        foreign = await foreign_drivers(sm, state, reactor, children, run)
        drivers = {**foreign, **drivers, **real_drivers(sm, state, children, feed.add, faults)}
    store = DatapathStore(state / "datapaths.sqlite")
    srs = AttachedSrs(reactor, drivers, store, sm.gc_delay_s)
    await srs.restore()
    moves = Moves(srs, store, lambda seconds: sleep(reactor, seconds))
    await moves.recover()
    calls = {
        **SrMethods(srs, sm.profile, allowed, frozenset(sm.real), foreign).methods(),
        **VdiMethods(srs, store, moves).methods(),
        **DatapathMethods(srs, store).methods(),
    }

    def set_server(context: CallContext, address: str, down: bool) -> object:
        (array.down.add if down else array.down.discard)(address)
        return None

    def set_disc(context: CallContext, device: str, name: str, size_bytes: int = 0) -> object:
        array.discs[device] = Disc(name, size_bytes if name else 0)
        for sr in srs.uuids():
            if srs.get(sr).plugin.type == "udev":
                feed.add("sr", sr)
        return None

    return {
        **method_table(calls, feed, epoch, faults),
        "DEBUG.set_server": set_server,
        "DEBUG.set_disc": set_disc,
    }

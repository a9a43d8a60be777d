"""Put the storage daemon together with the simulated backend."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThreadPool

from sm import config
from sm.attached_srs import AttachedSrs
from sm.contract import Driver
from sm.daemon import DatapathMethods, SrMethods, VdiMethods, method_table
from sm.datapath import DatapathStore
from sm.drivers.array import Array, Disc
from sm.drivers.medium import Runner
from sm.drivers.simulator import SimulatorDriver, World
from sm.faults import Faults
from sm.plugins import every_plugin
from xapi_py.base.names import new_uuid
from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.server import CallContext, Method
from xapi_py.base.rpc.updates import UpdateFeed


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


async def build(
    settings: config.StorageConfig, state: Path, reactor: Clock, run: Runner
) -> Mapping[str, Method]:
    """Give the RPC methods, with everything attached that was attached before."""
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
    store = DatapathStore(state / "datapaths.sqlite")
    srs = AttachedSrs(reactor, drivers, store, sm.gc_delay_s)
    await srs.restore()
    calls = {
        **SrMethods(srs, sm.profile, allowed).methods(),
        **VdiMethods(srs, store).methods(),
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

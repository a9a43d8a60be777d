"""The domain daemon, xenopsd."""

import time
from pathlib import Path
from typing import Any

from xapi_py.base import service, simulator_config
from xapi_py.base.config import ConfigError
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.client import RpcClient
from xapi_py.base.rpc.updates import UpdateFeed
from xapi_py.base.service import Arguments, Service
from xenops.backends.contract import Backend
from xenops.backends.simulator.backend import SimulatorBackend
from xenops.backends.simulator.config import settings
from xenops.backends.simulator.consoles import Consoles
from xenops.backends.xen.start import open_backend
from xenops.effects import Surroundings, Timeouts
from xenops.executor import Executor
from xenops.hooks import ScriptHooks
from xenops.methods import all_methods
from xenops.network import Network, NetworkDaemon, NoNetwork
from xenops.operations import Operations
from xenops.queues import Slots
from xenops.storage import NoStorage, Storage, StorageDaemon
from xenops.vms import VmTable
from xenops.watch import Watch

HEAVY_SLOTS = 16


async def setup(arguments: Arguments, reactor: Any) -> Service:
    """Build the daemon; domains of an earlier life are adopted, not disturbed."""
    backend, storage = await _surroundings(arguments, reactor)
    hooks = ScriptHooks(reactor, _hooks_folder(arguments, backend))
    around = Surroundings(backend, storage, hooks, reactor, Timeouts())
    feed = UpdateFeed(reactor, new_uuid(), first=time.time_ns() // 1000)
    executor = Executor(reactor, Slots(HEAVY_SLOTS))
    operations = Operations(VmTable(arguments.state / "vms.journal"), around, executor, feed)
    watch = Watch(operations, around, feed)
    backend.listen(watch.changed)
    watch.recover()
    return Service(all_methods(operations, backend, feed), backend.stop)


async def _surroundings(arguments: Arguments, reactor: Any) -> tuple[Backend, Storage]:
    run_folder = arguments.socket.parent
    daemon = StorageDaemon(reactor, RpcClient(reactor, str(run_folder / "smd.sock")))
    match _kind_of_host() if arguments.backend == "auto" else arguments.backend:
        case "xen":
            return await open_backend(reactor, run_folder, arguments.state), daemon
        case "simulator":
            host = settings(simulator_config.load(arguments.config), arguments.host)
            network: Network = NoNetwork()
            if host.section.network == "daemon":
                network = NetworkDaemon(reactor, RpcClient(reactor, f"{run_folder}/networkd.sock"))
            consoles = Consoles(reactor, run_folder)
            folder = arguments.state / "hypervisor"
            backend = SimulatorBackend(reactor, folder, host, consoles, network)
            return backend, daemon if host.section.storage == "daemon" else NoStorage()
        case _:
            raise ConfigError(f"no such backend: {arguments.backend}")


def _kind_of_host() -> str:
    """Tell a control domain of Xen from any other machine."""
    try:
        capabilities = Path("/proc/xen/capabilities").read_text(encoding="ascii")
    except OSError:
        return "simulator"
    return "xen" if "control_d" in capabilities else "simulator"


def _hooks_folder(arguments: Arguments, backend: Backend) -> Path:
    system = Path("/etc/xapi.d")
    return system if backend.name == "xen" else arguments.state / "hooks"


if __name__ == "__main__":
    service.main("xenopsd", setup)

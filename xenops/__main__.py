"""The domain daemon, xenopsd."""

import time
from pathlib import Path
from typing import Any

from xapi_py.base import service, simulator_config
from xapi_py.base.config import ConfigError
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.updates import UpdateFeed
from xapi_py.base.service import Arguments, Service
from xenops.backends.contract import Backend
from xenops.backends.simulator.backend import SimulatorBackend
from xenops.backends.simulator.config import settings
from xenops.backends.simulator.consoles import Consoles
from xenops.effects import Surroundings, Timeouts
from xenops.executor import Executor
from xenops.hooks import ScriptHooks
from xenops.methods import all_methods
from xenops.operations import Operations
from xenops.queues import Slots
from xenops.storage import NoStorage
from xenops.vms import VmTable
from xenops.watch import Watch

HEAVY_SLOTS = 16


async def setup(arguments: Arguments, reactor: Any) -> Service:
    """Build the daemon; domains of an earlier life are adopted, not disturbed."""
    backend = _backend(arguments, reactor)
    around = Surroundings(
        backend, NoStorage(), ScriptHooks(reactor, _hook_folder(arguments)), reactor, Timeouts()
    )
    feed = UpdateFeed(reactor, new_uuid(), first=time.time_ns() // 1000)
    executor = Executor(reactor, Slots(HEAVY_SLOTS))
    operations = Operations(VmTable(arguments.state / "vms"), around, executor, feed)
    watch = Watch(operations, around, feed)
    backend.listen(watch.changed)
    watch.recover()
    return Service(all_methods(operations, backend, feed), backend.stop)


def _backend(arguments: Arguments, reactor: Any) -> Backend:
    if arguments.backend != "simulator":
        raise ConfigError(f"no such backend: {arguments.backend}")
    config = simulator_config.load(arguments.config)
    folder = arguments.state / "hypervisor"
    consoles = Consoles(reactor, arguments.socket.parent)
    return SimulatorBackend(reactor, folder, settings(config, arguments.host), consoles)


def _hook_folder(arguments: Arguments) -> Path | None:
    return Path("/etc/xapi.d") if arguments.backend == "xen" else arguments.state / "hooks"


if __name__ == "__main__":
    service.main("xenopsd", setup)

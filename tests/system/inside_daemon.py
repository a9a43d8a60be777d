"""The network daemon's parts in the test's own process, on the real kernel.

For machines where starting a process takes long, such as an emulated one: what the
daemon does between calls, following the kernel's notices, is not there.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.system.namespaces import Namespace
from xapi_py.base.config import build
from xapi_py.base.rpc.server import CallContext
from xapi_py.base.rpc.updates import UpdateFeed
from xcp_networkd import daemon, host_setup
from xcp_networkd.backends.bridge.backend import BridgeNetwork
from xcp_networkd.backends.openvswitch.backend import OpenVSwitchNetwork
from xcp_networkd.config import SystemConfig
from xcp_networkd.desired import DesiredNetwork
from xcp_networkd.dhcp_server.packets import Leases
from xcp_networkd.linux.host import at_once, boot_id
from xcp_networkd.nic_positions import NicPositions
from xcp_networkd.reset import NetworkReset

INSIDE = bool(os.environ.get("XAPI_PY_DAEMON_INSIDE"))


def needs_process() -> None:
    """Skip the calling test where the daemon does not run by itself."""
    if INSIDE:
        pytest.skip("needs the daemon as a process")


class Unserved:
    """Leases nobody serves."""

    def set_leases(self, bridge: str, leases: Leases) -> None:
        raise NotImplementedError

    def leases_of(self, bridge: str) -> dict[str, str]:
        return {}


@dataclass
class Parts:
    """A daemon put together, its persistent configuration in place."""

    backend: BridgeNetwork | OpenVSwitchNetwork
    desired: DesiredNetwork
    feed: UpdateFeed
    methods: Any


async def assemble(system: str, config: SystemConfig, state: Path, clock: Clock) -> Parts:
    """Put the daemon together for the network namespace this thread is in."""
    kind = OpenVSwitchNetwork if system == "openvswitch" else BridgeNetwork
    backend = kind(host_setup.linux_host(config, state), at_once)
    feed = UpdateFeed(clock, "inside")
    desired = DesiredNetwork(
        *(backend, state / "networkd.json", feed, clock, config.management_timeout_s),
        boot=boot_id(),
    )
    nics = [link for link in (await backend.links()).values() if link.kind == "nic"]
    reset = NetworkReset(Path(config.network_reset), state / "followed")
    await host_setup.begin(desired, reset, Path(config.management_conf), nics)
    table = daemon.calls(backend, desired, NicPositions(state), reset, Unserved())

    async def no_delay(method: str) -> None:
        return None

    return Parts(backend, desired, feed, daemon.method_table(table, feed, "inside", no_delay))


class InsideDaemon:
    """Takes the calls of ``DaemonProcess``; time passes while one waits."""

    def __init__(self, space: Namespace, folder: Path, config: dict[str, Any], system: str) -> None:
        self._space = space
        self._state = folder / "xcp_networkd-1"
        self._state.mkdir(exist_ok=True)
        self._config = build(dict(config["network"]), SystemConfig, "network")
        self._system = system
        self.start()

    def start(self) -> None:
        with self._space.entered():
            self._clock = Clock()
            building = assemble(self._system, self._config, self._state, self._clock)
            self._parts: Parts = self._wait(Deferred.fromCoroutine(building))
        self._methods: Any = self._parts.methods

    def kill(self) -> None:
        self._parts.backend.close()

    stop: Callable[["InsideDaemon"], None] = kill

    def answer(self, method: str, /, **params: object) -> Any:
        with self._space.entered():
            context = CallContext(method, "test", 60.0)
            return self._wait(Deferred.fromCoroutine(self._methods[method](context, **params)))

    def call(self, method: str, /, **params: object) -> Any:
        return self.answer(method, **params)["result"]

    def _wait(self, running: "Deferred[Any]") -> Any:
        found: list[Any] = []
        running.addBoth(found.append)
        while not found:
            step_s = min(call.getTime() for call in self._clock.getDelayedCalls())
            step_s = max(0.0, step_s - self._clock.seconds())
            time.sleep(step_s)
            self._clock.advance(step_s)
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return found[0]

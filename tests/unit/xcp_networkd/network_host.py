"""A network daemon in this process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.rpc.server import CallContext
from xapi_py.base.simulator_config import NicConfig, SimulatorConfig
from xcp_networkd import simulator_setup
from xcp_networkd.config import HostNetwork, NetworkConfig


class NetworkHost:
    """One simulated host's network daemon."""

    def __init__(
        self, state: Path, *, nics: tuple[NicConfig, ...] | None = None, **network: Any
    ) -> None:
        self.clock = Clock()
        nics = SimulatorConfig().host(1).nics if nics is None else nics
        self.host = HostNetwork(1, nics, NetworkConfig(**network))
        self.state = state
        self.restart()

    def restart(self) -> None:
        """Start over as a new process would."""
        build = simulator_setup.build(self.host, self.state, self.clock)
        self.methods: Mapping[str, Any] = done(Deferred.fromCoroutine(build))

    def answer(self, method: str, /, **params: object) -> Any:
        context = CallContext(method, "test", 60.0)
        return done(maybeDeferred(self.methods[method], context, **params))

    def call(self, method: str, /, **params: object) -> Any:
        return self.answer(method, **params)["result"]

    def error(self, method: str, /, **params: object) -> tuple[object, ...]:
        try:
            self.call(method, **params)
        except RpcError as problem:
            return (problem.name, *problem.params)
        raise AssertionError(f"{method} did not fail")

    def links(self) -> dict[str, dict[str, Any]]:
        return {link["name"]: link for link in self.call("Interface.scan")}


def done(deferred: "Deferred[Any]") -> Any:
    """Give the result of a Deferred that has fired."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "the call has not ended"
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]

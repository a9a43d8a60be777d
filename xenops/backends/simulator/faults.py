"""Latencies and failures of the simulated hypervisor's effects."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from xapi_py.base.config import ConfigError, build
from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.errors import RpcError
from xenops import errors
from xenops.backends.simulator.config import FaultConfig
from xenops.waiting import sleep


class _Armed:
    __slots__ = ("config", "skip", "times")

    def __init__(self, config: FaultConfig) -> None:
        self.config = config
        self.skip = config.skip
        self.times = config.times


class Faults:
    """Slow effects down and make them fail, as configured or told at run time."""

    def __init__(
        self, clock: Clock, latencies: Mapping[str, float], faults: tuple[FaultConfig, ...]
    ) -> None:
        self._clock = clock
        self._latencies = latencies
        self._armed = [_Armed(fault) for fault in faults]

    def inject(self, fault: Mapping[str, object]) -> None:
        """Arm one more fault.  Errors: Invalid_metadata names what does not fit."""
        try:
            self._armed.append(_Armed(build(dict(fault), FaultConfig, "fault")))
        except ConfigError as error:
            raise errors.invalid_metadata(str(error)) from error

    def clear(self) -> None:
        """Disarm all faults."""
        self._armed.clear()

    async def step(self, at: str, vm: str, name: str) -> None:
        """Take the time the effect ``at`` takes; fail when it is to fail."""
        delay = self._latencies.get(at)
        if delay:
            await sleep(self._clock, delay)
        if self._armed:
            fault = self._take(at, vm, name)
            if fault is not None:
                raise RpcError(fault.error, *fault.params)

    def guest(self, vm: str, name: str, misdeed: str) -> bool:
        """Whether the guest is to misbehave this way now."""
        return bool(self._armed) and self._take("guest", vm, name, misdeed) is not None

    def _take(self, at: str, vm: str, name: str, error: str | None = None) -> FaultConfig | None:
        for armed in self._armed:
            fault = armed.config
            if fault.at != at or (error is not None and fault.error != error):
                continue
            if not fnmatchcase(vm, fault.vm) and not fnmatchcase(name, fault.vm):
                continue
            if armed.skip > 0:
                armed.skip -= 1
                continue
            if armed.times > 0:
                armed.times -= 1
                if armed.times == 0:
                    self._armed.remove(armed)
            return fault
        return None

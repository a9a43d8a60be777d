"""Delays and failures that tests and operators inject into calls."""

import os
import signal
from collections.abc import Mapping

from twisted.internet.defer import Deferred

from sm.config import FaultConfig
from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.errors import RpcError


class Faults:
    """Apply configured latencies and faults to calls by method name."""

    def __init__(self, reactor: Clock, latencies_s: Mapping[str, float]) -> None:
        self._reactor = reactor
        self._latencies_s = dict(latencies_s)
        self._armed: list[tuple[FaultConfig, int]] = []
        self._crash = ""

    def add(self, fault: FaultConfig) -> None:
        """Arm a fault."""
        self._armed.append((fault, 0))

    def clear(self) -> None:
        """Disarm everything."""
        self._armed.clear()
        self._crash = ""

    async def apply(self, method: str, params: Mapping[str, object]) -> None:
        """Delay or fail the call that is about to start."""
        if not self._latencies_s and not self._armed:
            return
        delay_s = self._latencies_s.get(method, self._latencies_s.get("*", 0.0))
        if delay_s > 0:
            await self._sleep(delay_s)
        fault = self._next(method, params)
        if fault is None:
            return
        if fault.kind == "error":
            raise RpcError(*fault.error)
        if fault.kind == "hang":
            await Deferred()
        self._crash = fault.kind.removeprefix("crash_").removesuffix("_commit")

    def commit_hook(self, stage: str) -> None:
        """Kill the process if a crash at this stage of a commit is armed."""
        if self._crash == stage:
            os.kill(os.getpid(), signal.SIGKILL)

    def take_crash(self) -> str:
        """Give the stage at which a driver's process is to die in its next call, once."""
        stage, self._crash = self._crash, ""
        return stage

    def _next(self, method: str, params: Mapping[str, object]) -> FaultConfig | None:
        for index, (fault, seen) in enumerate(self._armed):
            if fault.method not in (method, "*"):
                continue
            if any(str(params.get(k)) != v for k, v in fault.match.items()):
                continue
            self._armed[index] = (fault, seen + 1)
            if seen < fault.skip:
                continue
            if fault.count and seen + 1 >= fault.skip + fault.count:
                del self._armed[index]
            return fault
        return None

    async def _sleep(self, delay_s: float) -> None:
        timer = None
        done: Deferred[None] = Deferred(lambda _: timer.cancel() if timer else None)
        timer = self._reactor.callLater(delay_s, done.callback, None)
        await done

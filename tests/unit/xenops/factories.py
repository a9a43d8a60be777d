"""VMs, a simulated host and operations on it, driven by a test clock."""

from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from xapi_py.base.rpc.updates import UpdateFeed
from xapi_py.base.simulator_config import HostConfig
from xenops import metadata
from xenops.backends.simulator.backend import SimulatorBackend
from xenops.backends.simulator.config import SimulatorSettings, XenopsSection
from xenops.effects import Surroundings, Timeouts
from xenops.executor import Executor
from xenops.hooks import ScriptHooks
from xenops.metadata import VmMetadata
from xenops.operations import Operations
from xenops.queues import Slots
from xenops.storage import NoStorage
from xenops.vms import Vm, VmTable
from xenops.watch import Watch

MIB = 1024 * 1024
UUID = "6f2a3c52-0000-4000-8000-000000000001"
T = TypeVar("T")


def make_md(
    *,
    id: str = UUID,
    memory_mib: tuple[int, int, int] = (256, 256, 256),
    vbds: Sequence[Mapping[str, object]] | None = None,
    vifs: Sequence[Mapping[str, object]] | None = None,
    **vm: object,
) -> VmMetadata:
    """Give metadata; ``memory_mib`` is dynamic min, dynamic max, static max."""
    low, high, most = (size * MIB for size in memory_mib)
    config = {
        "id": id,
        "memory_dynamic_min": low,
        "memory_dynamic_max": high,
        "memory_static_max": most,
        "vcpu_max": 2,
        "vcpus": 1,
    }
    disk = {"device": "xvda", "backend": {"sr": "s", "vdi": "v"}}
    drive = {"device": "xvdd", "mode": "RO", "ty": "CDROM"}
    network = {"device": "0", "mac": "02:16:3e:01:02:03", "bridge": "xenbr0"}
    return metadata.parse(
        {
            "vm": config | vm,
            "vbds": [disk, drive] if vbds is None else list(vbds),
            "vifs": [network] if vifs is None else list(vifs),
        }
    )


class Lab:
    """A simulated host with its operations.  ``again`` is a restarted daemon on it."""

    def __init__(
        self, folder: Path, section: XenopsSection | None = None, memory_mib: int = 4096
    ) -> None:
        self.folder = folder
        self.settings = SimulatorSettings(
            HostConfig(memory_mib=memory_mib), section or XenopsSection()
        )
        self._past: list[object] = []
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self._begin()

    def _begin(self) -> None:
        self.backend = SimulatorBackend(self.clock, self.folder / "hypervisor", self.settings)
        self.feed = UpdateFeed(self.clock, "epoch", first=int(self.clock.seconds()))
        around = Surroundings(
            self.backend, NoStorage(), ScriptHooks(None, None), self.clock, Timeouts()
        )
        executor = Executor(self.clock, Slots(4))
        vms = VmTable(self.folder / "vms.journal")
        self.operations = Operations(vms, around, executor, self.feed)
        self.watch = Watch(self.operations, around, self.feed)
        self.backend.listen(self.watch.changed)
        self.watch.recover()

    def again(self, section: XenopsSection | None = None) -> None:
        """Lose everything but the files, as a killed daemon does, and start anew."""
        for call in self.clock.getDelayedCalls():
            call.cancel()  # type: ignore[misc]
        self._past.append(self.backend)  # what waits there is to wait for ever
        if section is not None:
            self.settings = SimulatorSettings(self.settings.host, section)
        self._begin()

    def put(self, md: VmMetadata | None = None) -> Vm:
        """Tell the host about a VM."""
        return self.operations.vms.put(md or make_md())

    def started(self, md: VmMetadata | None = None) -> Vm:
        """Give a running VM whose agent has reported."""
        vm = self.put(md)
        done(self.operations.start("test", vm.id, paused=False))
        self.clock.advance(2)
        return vm

    def state(self, vm: str = UUID) -> str:
        """Give the power state that others see."""
        return self.operations.power_state(self.operations.vms.get(vm))


def done(work: Coroutine[Any, Any, T]) -> T:
    """Run what ends without waiting, and give its result or raise its error."""
    outcome = begun(work)
    assert outcome.called, "still waiting"
    results: list[Any] = []
    outcome.addBoth(results.append)
    if isinstance(results[0], Failure):
        results[0].raiseException()
    result: T = results[0]
    return result


def begun(work: Coroutine[Any, Any, T]) -> "Deferred[T]":
    """Run until the first wait."""
    return Deferred.fromCoroutine(work)


def outcome(running: "Deferred[Any]") -> Any:
    """Give the result of what has ended, or raise its error."""
    assert running.called, "still waiting"
    results: list[Any] = []
    running.addBoth(results.append)
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]

"""A hypervisor in memory, and guests on it that read xenstore as real ones do."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from tests.unit.xenops.factories import done
from tests.unit.xenops.xenstore.memory_server import MemoryXenStore, connected
from xenops.backends.xen import parts
from xenops.backends.xen.backend import XenBackend
from xenops.backends.xen.control import Control
from xenops.backends.xen.host import XenHost
from xenops.backends.xen.host_facts import HostFacts
from xenops.backends.xen.services import Services, assemble
from xenops.backends.xen.worker import WorkerError
from xenops.bindings.errors import XenError
from xenops.bindings.interface import (
    CreateDomain,
    HvmParam,
    PhysicalInfo,
    VcpuInfo,
    XenDomainInfo,
    XenVersion,
)

PAGES_PER_MIB = 256
AGENT_KEYS = {
    "control/feature-balloon": "1",
    "control/feature-shutdown": "1",
    "control/feature-suspend": "1",
    "data/os_name": "Debian GNU/Linux 12 (bookworm)",
}


class FakeXen:
    """Domains in memory.  ``failures`` names calls that fail, with the errno."""

    def __init__(self, memory_mib: int = 4096, control_domain_mib: int = 1024) -> None:
        self.total_pages = memory_mib * PAGES_PER_MIB
        self.own_pages = 0
        self.table: dict[int, XenDomainInfo] = {}
        self.failures: dict[str, int] = {}
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.params: dict[tuple[int, HvmParam], int] = {}
        self.shadow: dict[int, int] = {}
        self.ring = "(XEN) ready\n"
        self.capable = True
        self.told = lambda: None
        self._ports = itertools.count(1)
        self._next = 1
        pages = control_domain_mib * PAGES_PER_MIB
        own = "00000000-0000-0000-0000-000000000000"
        self.table[0] = XenDomainInfo(
            0, own, False, False, False, True, None, pages, pages, 5 * 10**9, 1, 0
        )

    def _call(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, arguments))
        if name in self.failures:
            raise XenError(name, self.failures[name], "as told")

    def change(self, domid: int, **values: Any) -> None:
        """Change what Xen says of a domain."""
        if domid not in self.table:
            raise XenError("domctl", 3)
        self.table[domid] = dataclasses.replace(self.table[domid], **values)

    def version(self) -> XenVersion:
        return XenVersion(4, 17, ".7", "gcc", "today", "xen-3.0-x86_64 hvm-3.0-x86_64", "abc")

    def physical_info(self) -> PhysicalInfo:
        free = self.total_pages - self.own_pages - sum(d.total_pages for d in self.domains())
        yes = self.capable
        return PhysicalInfo(
            2, 1, 1, 2, 2_000_000, self.total_pages, free, 0, 0, yes, True, yes, False, False
        )

    def cpu_sockets(self) -> int:
        return 1

    def cpu_idle_ns(self) -> Sequence[int]:
        return [0, 0]

    def featureset(self, index: int) -> Sequence[int]:
        return [0x178BFBFF, index]

    def console_ring(self) -> str:
        return self.ring

    def send_debug_keys(self, keys: str) -> None:
        self.ring += f"(XEN) '{keys}' pressed\n"

    def domains(self) -> Sequence[XenDomainInfo]:
        return [self.table[domid] for domid in sorted(self.table)]

    def domain(self, domid: int) -> XenDomainInfo | None:
        return self.table.get(domid)

    def vcpu(self, domid: int, vcpu: int) -> VcpuInfo:
        return VcpuInfo(True, self.table[domid].cpu_time_ns)

    def create(self, config: CreateDomain) -> int:
        self._call("create", config)
        domid, self._next = self._next, self._next + 1
        self.table[domid] = XenDomainInfo(
            domid, config.handle, config.hvm, True, False, False, None, 0, 0, 0, 0, 0
        )
        return domid

    def destroy(self, domid: int) -> None:
        self._call("destroy", domid)
        if self.table.pop(domid, None) is None:
            raise XenError("xc_domain_destroy", 3)
        self.told()

    def pause(self, domid: int) -> None:
        self._call("pause", domid)
        self.change(domid, paused=True)

    def unpause(self, domid: int) -> None:
        self._call("unpause", domid)
        self.change(domid, paused=False)
        self.told()

    def shutdown(self, domid: int, reason: int) -> None:
        self._call("shutdown", domid, reason)
        self.change(domid, shutdown=reason)
        self.told()

    def resume(self, domid: int, *, fast: bool) -> None:
        self._call("resume", domid, fast)
        self.change(domid, shutdown=None)

    def set_handle(self, domid: int, handle: str) -> None:
        self._call("set_handle", domid, handle)
        self.change(domid, handle=handle)

    def set_target(self, domid: int, target: int) -> None:
        self._call("set_target", domid, target)

    def set_max_vcpus(self, domid: int, count: int) -> None:
        self._call("set_max_vcpus", domid, count)
        self.change(domid, online_vcpus=count, max_vcpu=count - 1)

    def set_max_memory(self, domid: int, kib: int) -> None:
        self._call("set_max_memory", domid, kib)
        self.change(domid, max_pages=kib // 4)

    def set_memory_map_limit(self, domid: int, kib: int) -> None:
        self._call("set_memory_map_limit", domid, kib)

    def set_populate_on_demand_target(self, domid: int, pages: int) -> None:
        self._call("set_populate_on_demand_target", domid, pages)

    def shadow_mib(self, domid: int) -> int:
        return self.shadow.get(domid, 0)

    def set_shadow_mib(self, domid: int, mib: int) -> None:
        self._call("set_shadow_mib", domid, mib)
        self.shadow[domid] = mib

    def set_affinity(self, domid: int, vcpu: int, cpus: Sequence[int]) -> None:
        self._call("set_affinity", domid, vcpu, tuple(cpus))

    def set_scheduling(self, domid: int, weight: int, cap: int) -> None:
        self._call("set_scheduling", domid, weight, cap)

    def set_time_offset(self, domid: int, seconds: int) -> None:
        self._call("set_time_offset", domid, seconds)

    def set_tsc_mode(self, domid: int, mode: int) -> None:
        self._call("set_tsc_mode", domid, mode)

    def apply_cpu_policy(self, domid: int, features: Sequence[int] | None, *, nested: bool) -> None:
        self._call("apply_cpu_policy", domid, features, nested)

    def alloc_unbound(self, domid: int, remote: int) -> int:
        self._call("alloc_unbound", domid, remote)
        return next(self._ports)

    def hvm_param(self, domid: int, param: HvmParam) -> int:
        return self.params.get((domid, param), 0)

    def set_hvm_param(self, domid: int, param: HvmParam, value: int) -> None:
        self._call("set_hvm_param", domid, param, value)
        if param is HvmParam.VIRIDIAN and not value & 1:
            raise XenError("xc_hvm_param_set", 22)
        self.params[domid, param] = value

    def send_trigger(self, domid: int, trigger: str) -> None:
        self._call("send_trigger", domid, trigger)


class FakeWorkers:
    """Loads guests at once: their memory is there, their pages have numbers."""

    def __init__(self, xen: FakeXen) -> None:
        self._xen = xen
        self.failure = ""
        self.requests: list[Mapping[str, Any]] = []

    async def run(
        self, name: str, request: Mapping[str, Any], on_line: object = None
    ) -> Mapping[str, Any]:
        self.requests.append({**request, "function": name})
        if self.failure:
            raise WorkerError(self.failure, 22)
        image = request["image"]
        self._xen.change(request["domid"], total_pages=image["target_mib"] * PAGES_PER_MIB)
        return {"store_mfn": 1000 + request["domid"], "console_mfn": 2000 + request["domid"]}

    def warm_up(self) -> None: ...

    def close(self) -> None: ...


class DirectHost(XenHost):
    """A host whose blocking calls are made at once."""

    async def in_thread(self, function: Any, *arguments: object) -> Any:
        return function(*arguments)


class XenBench:
    """A host with Xen in memory: backends on it, and what its guests do.

    Guests have an agent one second after they began to run, and stop one
    second after they were asked.  ``deaf`` ones take no notice.
    """

    def __init__(self, folder: Path, clock: Clock, memory_mib: int = 4096) -> None:
        self.clock = clock
        self.folder = folder
        self.xen = FakeXen(memory_mib)
        self.server = MemoryXenStore()
        self.server.put("/local/domain/0/name", "Domain-0")
        self.workers = FakeWorkers(self.xen)
        self.deaf = False
        self.hangs = False
        self.make_parts: Any = lambda *_: parts.none()
        self._booted: set[int] = set()
        self._guests = done(connected(clock, self.server))
        self._guests.watch("/local/domain", self._seen)
        self.xen.told = self._told

    def backend(self) -> XenBackend:
        """Give a daemon's backend, as after a start or restart of the daemon."""
        store = done(connected(self.clock, self.server))
        host = DirectHost(store, self.xen, self.clock, self.folder, self.folder)
        services: Services = assemble(host, self.make_parts)
        services.build._workers = self.workers  # type: ignore[assignment]
        services = dataclasses.replace(services, workers=self.workers)  # type: ignore[arg-type]
        (self.folder / "cpuinfo").touch()
        facts = HostFacts(host, services.domains, services.memory, self.folder)
        backend = XenBackend(services, facts, Control(host, services.domains))
        done(backend.open())
        return backend

    def _told(self) -> None:
        """Xen tells xenstored that a domain has stopped, ended or begun."""
        self.server.fire([("@releaseDomain", False)])
        for info in self.xen.domains():
            fresh = info.domid and not info.paused and info.domid not in self._booted
            if fresh and info.domid in self.server.introduced:
                self._booted.add(info.domid)
                self.clock.callLater(1.0, self._agent, info.domid)

    def _agent(self, domid: int) -> None:
        if domid in self.xen.table:
            for key, value in AGENT_KEYS.items():
                self.server.put(f"/local/domain/{domid}/{key}", value)

    def _seen(self, path: str) -> None:
        if not path.endswith("/control/shutdown") or self.deaf:
            return
        request, domid = self.server.value(path), int(path.split("/")[3])
        if request:
            self.clock.callLater(0, self.server.put, path, "")
            code = {"poweroff": 0, "halt": 0, "reboot": 1, "suspend": 2}[request]
            if not self.hangs:
                self.clock.callLater(1.0, self._down, domid, code)

    def _down(self, domid: int, code: int) -> None:
        if domid in self.xen.table:
            self.xen.change(domid, shutdown=code)
            self._told()

    def leftovers(self) -> list[str]:
        """Name what is in xenstore and Xen beyond a host without guests."""
        known = {"/", "/local", "/local/domain", "/local/domain/0", "/local/domain/0/name"}
        shared = {"/vm", "/xenops", "/xenops/domain", "/libxl", "/xapi"}
        shared |= {"/local/domain/0/device-model"}
        nodes = sorted(set(self.server.tree) - known - shared)
        return nodes + [f"domain {d.domid}" for d in self.xen.domains() if d.domid]

"""A control domain in memory: xenstore, its drivers and a guest that follows the protocol."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.task import Clock

from tests.unit.xenops.factories import UUID, done
from tests.unit.xenops.xenstore.memory_server import MemoryXenStore, connected
from xenops import errors
from xenops.backends.contract import Change
from xenops.bindings.errors import XenError
from xenops.metadata import Vif
from xenops.xenstore.client import XenStore

T = TypeVar("T")
DOMID = 7
HOME = f"/local/domain/{DOMID}"


@dataclass
class FakePassthrough:
    """Which domain has what of which PCI function.  ``refuse`` names a call that fails."""

    given: set[tuple[str, int, int]] = field(default_factory=set)
    refuse: str = ""

    def _set(self, what: str, domid: int, number: int, allow: bool = True) -> None:
        if self.refuse == what and allow:
            raise XenError(what, 22, "as told")
        (self.given.add if allow else self.given.discard)((what, domid, number))

    def assign(self, domid: int, sbdf: int) -> None:
        self._set("assign", domid, sbdf)

    def deassign(self, domid: int, sbdf: int) -> None:
        self._set("assign", domid, sbdf, False)

    def permit_ports(self, domid: int, first: int, count: int, allow: bool) -> None:
        self._set("ports", domid, first, allow)

    def permit_memory(self, domid: int, first: int, count: int, allow: bool) -> None:
        self._set("memory", domid, first, allow)

    def map_irq(self, domid: int, irq: int) -> int:
        self._set("irq", domid, irq + 100)
        return irq + 100

    def unmap_irq(self, domid: int, pirq: int) -> None:
        self._set("irq", domid, pirq, False)


@dataclass
class FakeXen:
    """Notes who was stopped, and why."""

    stopped: list[tuple[int, int]] = field(default_factory=list)
    pci: FakePassthrough = field(default_factory=FakePassthrough)

    def shutdown(self, domid: int, reason: int) -> None:
        self.stopped.append((domid, reason))


@dataclass
class FakeHost:
    """The host, with threads that are none."""

    store: XenStore
    reactor: Any
    run_folder: Path
    xc: FakeXen = field(default_factory=FakeXen)
    changes: list[Change] = field(default_factory=list)

    def announce(self, change: Change) -> None:
        self.changes.append(change)

    async def in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return function(*arguments)


@dataclass
class FakeDomain:
    domid: int = DOMID
    vm: str = UUID
    hvm: bool = False


@dataclass
class FakeDomains:
    known: dict[int, FakeDomain] = field(default_factory=dict)

    def get(self, domid: int) -> FakeDomain:
        if domid not in self.known:
            raise errors.does_not_exist("domain", str(domid))
        return self.known[domid]


@dataclass
class FakeKernel:
    """Linux: which paths are block devices, loop devices by their tags, drivers that hold on."""

    blocks: set[str] = field(default_factory=set)
    loop_tags: dict[str, str] = field(default_factory=dict)
    held: set[tuple[str, int, int]] = field(default_factory=set)
    interfaces: dict[str, Mapping[str, bool]] = field(default_factory=dict)
    refuse: str = ""

    def is_block_device(self, path: str) -> bool:
        return path in self.blocks

    def open_disk(self, path: str, writable: bool) -> str:
        if self.refuse:
            raise OSError(self.refuse)
        return "7:1"

    def attach_loop(self, path: str, writable: bool, tag: str) -> str:
        name = f"/dev/loop{len(self.loop_tags)}"
        self.loop_tags[name] = tag
        return name

    def detach_loop(self, device: str) -> None:
        self.loop_tags.pop(device, None)

    def loops(self, tag: str) -> list[str]:
        return [name for name, known in self.loop_tags.items() if known.startswith(tag)]

    def has_backend(self, kind: str, domid: int, devid: int) -> bool:
        return (kind, domid, devid) in self.held

    def set_up_interface(self, name: str, mac: str, offloads: Mapping[str, bool]) -> None:
        if self.refuse:
            raise OSError(self.refuse)
        self.interfaces[name] = offloads


@dataclass
class FakeNetwork:
    """Which device is in which bridge; ``refuse`` fails the next attach."""

    bridges: dict[str, str] = field(default_factory=dict)
    locked: list[tuple[str, str]] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)
    refuse: bool = False

    async def attach(self, dbg: str, device: str, vif: Vif, vm: str) -> None:
        if self.refuse:
            raise errors.unimplemented("no such bridge")
        self.bridges[device] = vif.bridge
        self.limits[device] = vif.rate_kbps

    async def lock(self, dbg: str, device: str, vif: Vif) -> None:
        self.locked.append((device, vif.locking_mode))
        self.limits[device] = vif.rate_kbps

    async def detach(self, dbg: str, device: str) -> None:
        self.bridges.pop(device, None)


class Drivers:
    """blkback, netback and a guest's drivers, on a connection of their own.

    ``guest`` false: nobody looks at the frontends.  ``refuses``: devices the
    guest does not let go; ``broken``: what the backend driver says instead of
    taking a device.
    """

    def __init__(self, server: MemoryXenStore, clock: Clock) -> None:
        self.server = server
        self.guest = True
        self.silent = False
        self.refuses = ""
        self.broken = ""
        self.deaf = False
        store = done(connected(clock, server))
        store.watch("/local/domain/0/backend", self._backend)
        store.watch(f"{HOME}/device", self._frontend)

    def _backend(self, path: str) -> None:
        if not path.endswith("/state"):
            return
        base, state = path.removesuffix("/state"), self.server.value(path)
        front = f"{HOME}/device/{base.split('/')[5]}/{base.split('/')[7]}"
        if state == "1" and not self.deaf:
            if self.broken:
                error = base.replace("/local/domain/0/", "/local/domain/0/error/")
                self.server.put(f"{error}/error", self.broken)
                return
            # pciback waits for nobody before it has looked at its functions.
            self.server.put(path, "3" if "/backend/pci/" in path else "2")
            self._connect(base, front)
        elif state == "5":
            self._close(base, front)

    def _frontend(self, path: str) -> None:
        if path.endswith("/state") and self.server.value(path) == "1":
            base = self.server.value(path.removesuffix("/state") + "/backend") or ""
            self._connect(base, path.removesuffix("/state"))

    def _connect(self, base: str, front: str) -> None:
        """Connect once both sides are there and the control domain has set up its own."""
        ready = self.server.value(f"{base}/state") == "2" and self.server.value(f"{front}/state")
        if self.guest and ready == "1":
            self.server.put(f"{front}/state", "4")
            self.server.put(f"{base}/state", "4")

    def _close(self, base: str, front: str) -> None:
        if self.server.value(f"{front}/state") is None:
            self.server.put(f"{base}/state", "6")
        elif self.refuses:
            error = front.replace(HOME, f"{HOME}/error")
            self.server.put(f"{error}/error", self.refuses)
        elif self.guest and not self.silent:
            self.server.put(f"{front}/state", "6")
            self.server.put(f"{base}/state", "6")


class DeviceBench:
    """One domain on such a host."""

    def __init__(self, folder: Path, *, hvm: bool = False) -> None:
        self.clock = Clock()
        self.server = MemoryXenStore()
        self.server.put(f"{HOME}/vm", f"/vm/{UUID}")
        self.before = dict(self.server.tree)
        self.drivers = Drivers(self.server, self.clock)
        self.host = FakeHost(done(connected(self.clock, self.server)), self.clock, folder)
        self.domains = FakeDomains({DOMID: FakeDomain(hvm=hvm)})
        self.kernel = FakeKernel(blocks={"/dev/vg/a", "/dev/vg/b"})
        self.network = FakeNetwork()

    def leftovers(self) -> list[str]:
        """Give the nodes that were not there before, empty parents apart."""
        kept = []
        for path in self.server.tree:
            leaf = not any(other.startswith(path + "/") for other in self.server.tree)
            value = self.server.value(path)
            if path not in self.before and leaf and value:
                kept.append(path)
        return kept

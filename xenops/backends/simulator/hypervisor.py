"""The simulated machine: its domains, its memory, and who waits for a change."""

from collections.abc import Callable, Iterator
from pathlib import Path

from twisted.internet.defer import Deferred

from xapi_py.base.names import new_uuid
from xapi_py.base.reactor import Clock
from xenops import errors, memory
from xenops.backends.contract import Change, CreateRequest, Listener, ShutdownReason
from xenops.backends.simulator.config import SimulatorSettings
from xenops.backends.simulator.domain import Domain, DomainStore
from xenops.metadata import VmMetadata


class Hypervisor:
    """Domains by id and by VM; every one is stored once ``flush`` was called.

    Changes are written once a reactor turn at the latest.
    """

    def __init__(self, clock: Clock, folder: Path, settings: SimulatorSettings) -> None:
        self.clock = clock
        self.settings = settings
        self._store = DomainStore(folder / "domains.journal")
        self.domains: dict[int, Domain] = {}
        self._by_vm: dict[str, int] = {}
        self._dirty: dict[int, Domain] = {}
        self._flush_due = False
        self._waiting: dict[int, list[Deferred[None]]] = {}
        self._listener: Listener = lambda change: None
        self.memory_free = settings.memory_bytes - settings.control_domain_bytes
        self._next_domid = 1
        for domain in self._store.load():
            self._adopt(domain)
        self._next_domid = max(self._next_domid, self._store.highest_noted + 1)

    def _adopt(self, domain: Domain) -> None:
        self.domains[domain.domid] = domain
        self._by_vm[domain.vm] = max(domain.domid, self._by_vm.get(domain.vm, 0))
        self.memory_free -= domain.footprint
        self._next_domid = max(self._next_domid, domain.domid + 1)

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` at changes that nobody asked for."""
        self._listener = listener

    def announce(self, change: Change) -> None:
        """Tell the listener."""
        self._listener(change)

    def get(self, domid: int) -> Domain:
        """Errors: Does_not_exist."""
        domain = self.domains.get(domid)
        if domain is None:
            raise errors.does_not_exist("domain", str(domid))
        return domain

    def find(self, vm: str) -> Domain | None:
        """Give the newest domain of a VM."""
        domid = self._by_vm.get(vm)
        return None if domid is None else self.domains[domid]

    def create(self, md: VmMetadata, request: CreateRequest) -> Domain:
        """Make an empty domain with as much memory as there is, up to the maximum."""
        vm = md.vm
        overhead = memory.overhead_bytes(vm)
        granted = self._reserve(request)
        domain = Domain(
            domid=self._next_domid,
            vm=vm.id,
            name=vm.name,
            hvm=vm.is_hvm,
            created_at=self.clock.seconds(),
            memory_static_max=vm.memory_static_max,
            memory_dynamic_min=vm.memory_dynamic_min,
            memory_dynamic_max=vm.memory_dynamic_max,
            overhead=overhead,
            memory=granted - overhead,
            vcpu_max=vm.vcpu_max,
            vcpus=vm.vcpus,
            shadow_multiplier=vm.shadow_multiplier,
            rtc_timeoffset=vm.platformdata.get("timeoffset", vm.hvm.timeoffset),
            memory_token=new_uuid(),
            xsdata={k: v for k, v in vm.xsdata.items() if k.startswith(("vm-data/", "FIST/"))},
        )
        self._adopt(domain)
        self.changed(domain)
        return domain

    def remove(self, domain: Domain) -> None:
        """End a domain and give its memory to those who could use more."""
        del self.domains[domain.domid]
        if self._by_vm.get(domain.vm) == domain.domid:
            del self._by_vm[domain.vm]
            older = [d.domid for d in self.domains.values() if d.vm == domain.vm]
            if older:
                self._by_vm[domain.vm] = max(older)
        self._dirty.pop(domain.domid, None)
        self._store.remove(domain.domid)
        self.memory_free += domain.footprint
        self.balance()
        self._wake(domain.domid)

    def power_cycle(self) -> None:
        """Lose all domains."""
        for domain in list(self.domains.values()):
            self.remove(domain)
            self.announce(Change("vm", domain.vm))

    def changed(self, domain: Domain) -> None:
        """Note that a domain has to be written, and let those who wait for it look."""
        self._dirty[domain.domid] = domain
        if not self._flush_due:
            self._flush_due = True
            self.clock.callLater(0, self.flush)
        if self._waiting:
            self._wake(domain.domid)

    def flush(self) -> None:
        """Write all changed domains."""
        self._flush_due = False
        dirty, self._dirty = self._dirty, {}
        for domain in dirty.values():
            self._store.save(domain)

    def stop_domain(self, domain: Domain, reason: ShutdownReason) -> None:
        """The guest is down; its domain stays until it is destroyed."""
        if domain.shutdown is None:
            domain.shutdown = reason
            self.changed(domain)
            self.announce(Change("vm", domain.vm))

    async def wait_for(self, domid: int, ready: Callable[[Domain], bool], timeout_s: float) -> bool:
        """Wait until ``ready``; whether it was so in time.

        Errors: Does_not_exist when the domain ends meanwhile.
        """
        deadline = self.clock.seconds() + timeout_s
        while not ready(self.get(domid)):
            left = deadline - self.clock.seconds()
            if left <= 0:
                return False
            waiter: Deferred[None] = Deferred()
            self._waiting.setdefault(domid, []).append(waiter)
            timer = self.clock.callLater(left, self._wake_one, domid, waiter)
            try:
                await waiter
            finally:
                if timer.active():
                    timer.cancel()
                self._forget_waiter(domid, waiter)
        return True

    def _wake(self, domid: int) -> None:
        for waiter in self._waiting.pop(domid, ()):
            waiter.callback(None)

    def _wake_one(self, domid: int, waiter: "Deferred[None]") -> None:
        self._forget_waiter(domid, waiter)
        waiter.callback(None)

    def _forget_waiter(self, domid: int, waiter: "Deferred[None]") -> None:
        waiters = self._waiting.get(domid, [])
        if waiter in waiters:
            waiters.remove(waiter)
        if not waiters:
            self._waiting.pop(domid, None)

    def _balloonable(self) -> Iterator[Domain]:
        for domain in self.domains.values():
            if (
                domain.agent
                and not domain.paused
                and domain.shutdown is None
                and domain.memory_dynamic_min != domain.memory_dynamic_max
            ):
                yield domain

    def _reserve(self, request: CreateRequest) -> int:
        """Find memory for a new domain, squeezing others down to their minimum."""
        if self.memory_free >= request.memory_max_bytes:
            return request.memory_max_bytes
        guests = list(self._balloonable())
        spare = sum(g.memory - g.memory_dynamic_min for g in guests)
        if self.memory_free + spare < request.memory_min_bytes:
            raise errors.cannot_free_this_much_memory(request.memory_min_bytes, self.memory_free)
        ranges = [(g.memory_dynamic_min, g.memory_dynamic_max) for g in guests]
        newcomer = (request.memory_min_bytes, request.memory_max_bytes)
        available = self.memory_free + sum(g.memory for g in guests)
        *shares, granted = memory.share_out([*ranges, newcomer], available)
        self._set_sizes(guests, shares)
        return granted

    def set_range(self, domain: Domain, low: int, high: int) -> None:
        """Let a guest balloon within a range; one that balloons moves at once.

        Errors: Cannot_free_this_much_memory when it would have to grow too far.
        """
        wanted = max(low, min(domain.memory, high)) if domain.agent else domain.memory
        if wanted - domain.memory > self.memory_free:
            raise errors.cannot_free_this_much_memory(wanted - domain.memory, self.memory_free)
        domain.memory_dynamic_min, domain.memory_dynamic_max = low, high
        self._set_sizes([domain], [wanted])
        self.changed(domain)
        self.balance()

    def balance(self) -> None:
        """Let guests that balloon share what is free."""
        guests = list(self._balloonable()) if self._has_ballooning() else []
        if guests:
            available = self.memory_free + sum(g.memory for g in guests)
            ranges = [(g.memory_dynamic_min, g.memory_dynamic_max) for g in guests]
            self._set_sizes(guests, memory.share_out(ranges, available))

    def _has_ballooning(self) -> bool:
        return next(self._balloonable(), None) is not None

    def _set_sizes(self, guests: list[Domain], sizes: list[int]) -> None:
        for guest, size in zip(guests, sizes, strict=True):
            size -= size % 4096
            if guest.memory != size:
                self.memory_free += guest.memory - size
                guest.memory = size
                self.changed(guest)
                self.announce(Change("vm", guest.vm))

"""Which domains there are: an index kept by xenstore's own two watches."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xenops import errors
from xenops.backends.contract import Change
from xenops.backends.xen import paths
from xenops.backends.xen.host import XenHost
from xenops.backends.xen.mirror import Mirror
from xenops.bindings.interface import XenDomainInfo
from xenops.xenstore.client import Watch
from xenops.xenstore.errors import StoreError

log = logging.getLogger(__name__)

DISOWNED: Final = "deadbeef-dead-beef-dead-beef0000"
"""Start of the handle a domain gets before it is destroyed, followed by its id."""


@dataclass(slots=True)
class Record:
    """What has to be remembered of a domain beyond its guest's keys; sizes in bytes.

    ``reserved`` is memory promised to the domain that it does not have yet.
    """

    vm: str
    domain_type: str = "pv"
    vcpu_max: int = 1
    vcpus: int = 1
    static_max: int = 0
    dynamic_min: int = 0
    dynamic_max: int = 0
    target: int = 0
    overhead: int = 0
    video_mib: int = 0
    shadow_multiplier: float = 1.0
    reserved: int = 0
    built: bool = False
    survivable: bool = False
    rtc_timeoffset: str = "0"
    pv_drivers: bool = False


@dataclass(slots=True, eq=False)
class XenDomain:
    """A domain; ``ours`` when this daemon made it, in this life or an earlier one."""

    domid: int
    record: Record
    ours: bool
    mirror: Mirror
    watches: list[Watch] = field(default_factory=list)
    told_shutdown: bool = False

    @property
    def vm(self) -> str:
        """The uuid of its VM."""
        return self.record.vm

    @property
    def domain_type(self) -> str:
        """One of hvm, pv, pv-in-pvh and pvh."""
        return self.record.domain_type

    @property
    def hvm(self) -> bool:
        """Whether the guest sees emulated hardware."""
        return self.record.domain_type == "hvm"

    @property
    def keys(self) -> dict[str, str]:
        """The copy of the guest's keys by path relative to its home."""
        return self.mirror.keys


class Domains:
    """All domains but the control domain, found again at each start."""

    def __init__(self, host: XenHost) -> None:
        self._host = host
        self._domains: dict[int, XenDomain] = {}
        self._by_vm: dict[str, list[int]] = {}
        self._gone: list[Callable[[int], object]] = []
        self._watches: list[Watch] = []
        self._adopting: set[int] = set()

    async def open(self) -> None:
        """Find the domains of now and follow those that come and go."""
        store = self._host.store
        for info in self._living():
            await self._adopt(info)
        self._watches = [
            store.watch("@introduceDomain", self._look),
            store.watch("@releaseDomain", self._look),
        ]

    def close(self) -> None:
        """Follow nothing any more."""
        for watch in self._watches:
            watch.stop()
        for domain in self._domains.values():
            self._unfollow(domain)

    def on_gone(self, callback: Callable[[int], object]) -> None:
        """Call back with the id of each domain that has ended."""
        self._gone.append(callback)

    def all(self) -> list[XenDomain]:
        """Give all domains in order of their ids."""
        return [self._domains[domid] for domid in sorted(self._domains)]

    def get(self, domid: int) -> XenDomain:
        """Errors: Does_not_exist."""
        domain = self._domains.get(domid)
        if domain is None:
            raise errors.does_not_exist("domain", str(domid))
        return domain

    def peek(self, domid: int) -> XenDomain | None:
        """Give a domain, if it is there."""
        return self._domains.get(domid)

    def find(self, vm: str) -> XenDomain | None:
        """Give the newest domain of a VM."""
        domids = self._by_vm.get(vm)
        return self._domains[domids[-1]] if domids else None

    def others(self, domain: XenDomain) -> list[int]:
        """Give the ids of the other domains of the same VM."""
        return [d for d in self._by_vm.get(domain.vm, ()) if d != domain.domid]

    def info(self, domid: int) -> XenDomainInfo:
        """Give what Xen says of a domain now.  Errors: Does_not_exist."""
        info = self._host.xc.domain(domid)
        if info is None or info.dying:
            raise errors.does_not_exist("domain", str(domid))
        return info

    def add(self, domid: int, record: Record, *, ours: bool) -> XenDomain:
        """Take a domain into the index."""
        mirror = Mirror(self._host.store, paths.home(domid), lambda key: self._key(domid, key))
        domain = XenDomain(domid, record, ours, mirror)
        self._domains[domid] = domain
        known = self._by_vm.setdefault(record.vm, [])
        known.append(domid)
        known.sort()
        return domain

    def remove(self, domid: int) -> None:
        """Take a domain out of the index, and tell those who have something of it."""
        domain = self._domains.pop(domid, None)
        if domain is None:
            return
        known = self._by_vm[domain.vm]
        known.remove(domid)
        if not known:
            del self._by_vm[domain.vm]
        self._unfollow(domain)
        for callback in self._gone:
            callback(domid)

    async def follow(self, domain: XenDomain, *, fresh: bool = False) -> None:
        """Keep a copy of the guest's keys from now on; a ``fresh`` guest has written none."""
        watch = self._host.store.watch(
            f"{paths.vm_tree(domain.vm)}/rtc/timeoffset", lambda path: self._clock(domain)
        )
        domain.watches.append(watch)
        if fresh:
            domain.mirror.begin()
        else:
            await domain.mirror.fill()

    async def save(self, domain: XenDomain) -> None:
        """Make what is remembered of a domain outlive this process."""
        path = f"{paths.mirror(domain.domid)}/record"
        await self._host.store.write(path, orjson.dumps(domain.record).decode())

    def _unfollow(self, domain: XenDomain) -> None:
        domain.mirror.stop()
        for watch in domain.watches:
            watch.stop()
        domain.watches.clear()

    def _living(self) -> list[XenDomainInfo]:
        return [
            info
            for info in self._host.xc.domains()
            if info.domid != 0 and not info.dying and not info.handle.startswith(DISOWNED)
        ]

    async def _adopt(self, info: XenDomainInfo) -> None:
        store = self._host.store
        saved = await store.read_or(f"{paths.mirror(info.domid)}/record")
        record = _read_record(saved)
        if record is None:
            # Without a name it is one of ours that was cut short before its first key.
            name = await store.read_or(f"{paths.home(info.domid)}/name")
            kind = "hvm" if info.hvm else "pv"
            known = name is not None
            self.add(
                info.domid, Record(info.handle, kind, built=known, survivable=known), ours=False
            )
            return
        domain = self.add(info.domid, record, ours=True)
        domain.told_shutdown = info.shutdown is not None
        await self.follow(domain)
        request = await store.read_or(f"{paths.home(info.domid)}/action-request")
        record.survivable = request is None and record.built

    def _look(self, event: str) -> None:
        """Compare with Xen: one hypercall, whatever the number of domains."""
        living = {info.domid: info for info in self._living()}
        for domid in [d for d in self._domains if d not in living]:
            vm = self._domains[domid].vm
            self.remove(domid)
            self._host.announce(Change("vm", vm))
        for domid, info in living.items():
            known = self._domains.get(domid)
            if known is None:
                self._meet(info)
            elif info.shutdown is not None and not known.told_shutdown:
                known.told_shutdown = True
                self._host.announce(Change("vm", known.vm))
            elif info.shutdown is None:
                known.told_shutdown = False

    def _meet(self, info: XenDomainInfo) -> None:
        if info.domid in self._adopting or not self.expects(info):
            return
        self._adopting.add(info.domid)

        def met(result: Any) -> None:
            self._adopting.discard(info.domid)
            if isinstance(result, Failure) and not result.check(StoreError):
                log.error("domain %d: %s", info.domid, result.getTraceback())

        Deferred.fromCoroutine(self._adopt(info)).addBoth(met)

    def expects(self, info: XenDomainInfo) -> bool:
        """Whether a domain in Xen that is not in the index is somebody else's."""
        return info.domid not in self._domains

    def _key(self, domid: int, key: str) -> None:
        domain = self._domains.get(domid)
        if domain is not None:
            self._host.announce(Change("vm", domain.vm))

    def _clock(self, domain: XenDomain) -> None:
        path = f"{paths.vm_tree(domain.vm)}/rtc/timeoffset"

        def read(value: str | None) -> None:
            if value is not None and value != domain.record.rtc_timeoffset:
                domain.record.rtc_timeoffset = value
                self._host.announce(Change("vm", domain.vm))

        self._host.store.read_or(path).addCallbacks(read, lambda failure: None)


def _read_record(text: str | None) -> Record | None:
    if text is None:
        return None
    try:
        return Record(**orjson.loads(text))
    except (TypeError, orjson.JSONDecodeError):
        return None

"""Memory: who has how much, who has to give some back.

Guests with a balloon driver are kept within their dynamic range so that all
have the same share of it.  Memory promised to a domain that is being loaded
counts as taken.
"""

import logging
from collections.abc import Sequence
from typing import Final

from twisted.internet.defer import Deferred

from xenops import errors, memory
from xenops.backends.contract import Change, CreateRequest
from xenops.backends.xen import paths
from xenops.backends.xen.domains import Domains, XenDomain
from xenops.backends.xen.host import XenHost
from xenops.bindings.errors import XenError
from xenops.bindings.interface import PAGE
from xenops.waiting import sleep

log = logging.getLogger(__name__)

MIB: Final = 1 << 20
KEPT_FREE: Final = 9 * MIB
"""Never given to guests: the hypervisor needs some for itself at any moment."""

IDLE_S: Final = 5.0
"""A guest that has not moved for this long does not balloon."""

LOOK_S: Final = 0.25
"""Xen does not tell when memory changes hands: how often it is asked meanwhile."""

NEAR: Final = MIB
"""How close to its target a guest counts as having reached it."""


class Memory:
    """The host's memory and the guests' shares of it.  All sizes in bytes."""

    def __init__(self, host: XenHost, domains: Domains) -> None:
        self._host = host
        self._domains = domains
        self._promised = 0
        self._balancing: Deferred[None] | None = None

    def free(self) -> int:
        """Give what a new domain can have without anybody giving memory back."""
        return self._hypervisor_free() - self._outstanding() - self._promised

    def _hypervisor_free(self) -> int:
        info = self._host.xc.physical_info()
        return max(0, (info.free_pages + info.scrub_pages) * PAGE - KEPT_FREE)

    def _outstanding(self) -> int:
        """Give what domains not loaded yet have been promised and do not have."""
        promised = 0
        for domain in self._domains.all():
            if domain.record.reserved:
                info = self._host.xc.domain(domain.domid)
                has = info.total_pages * PAGE if info is not None else 0
                promised += max(0, domain.record.reserved - has)
        return promised

    async def reserve(self, request: CreateRequest) -> int:
        """Promise memory between the two sizes, as much as there is.

        Errors: Cannot_free_this_much_memory.  ``give_back`` ends the promise.
        """
        if self.free() < request.memory_max_bytes:
            await self._squeeze(request)
        free = self.free()
        if free < request.memory_min_bytes:
            raise errors.cannot_free_this_much_memory(request.memory_min_bytes, max(0, free))
        granted = min(free - free % MIB if free >= MIB else free, request.memory_max_bytes)
        granted = max(granted, request.memory_min_bytes)
        self._promised += granted
        return granted

    def give_back(self, granted: int) -> None:
        """End a promise."""
        self._promised -= granted

    def _ballooning(self) -> list[XenDomain]:
        found = []
        for domain in self._domains.all():
            record = domain.record
            able = domain.keys.get("control/feature-balloon") in ("1", "")
            if domain.ours and record.built and able and record.dynamic_min < record.dynamic_max:
                info = self._host.xc.domain(domain.domid)
                if info is not None and not info.paused and info.shutdown is None:
                    found.append(domain)
        return found

    async def _squeeze(self, request: CreateRequest) -> None:
        guests = self._ballooning()
        ranges = [(g.record.dynamic_min, g.record.dynamic_max) for g in guests]
        spare = sum(max(0, g.record.target - g.record.dynamic_min) for g in guests)
        if self.free() + spare < request.memory_min_bytes:
            return
        newcomer = (request.memory_min_bytes, request.memory_max_bytes)
        available = self.free() + sum(g.record.target for g in guests)
        *shares, _ = memory.share_out([*ranges, newcomer], available)
        shrinking = [(g, s) for g, s in zip(guests, shares, strict=True) if s < g.record.target]
        for guest, size in shrinking:
            await self._set_target(guest, size)
        await self._settle([guest for guest, _ in shrinking])

    def changed(self) -> None:
        """Memory has become free, or a range has changed: let guests share it anew."""
        if self._balancing is None and self._ballooning():
            self._balancing = Deferred.fromCoroutine(self._balance())
            self._balancing.addErrback(lambda f: log.warning("balancing: %s", f.value))
            self._balancing.addBoth(self._balanced)

    def _balanced(self, result: object) -> None:
        self._balancing = None

    async def _balance(self) -> None:
        guests = self._ballooning()
        available = max(0, self.free()) + sum(g.record.target for g in guests)
        ranges = [(g.record.dynamic_min, g.record.dynamic_max) for g in guests]
        shares = memory.share_out(ranges, available)
        pairs = list(zip(guests, shares, strict=True))
        shrinking = [(g, s) for g, s in pairs if s < g.record.target]
        for guest, size in shrinking:
            await self._set_target(guest, size)
        await self._settle([guest for guest, _ in shrinking])
        for guest, size in pairs:
            if size > guest.record.target:
                await self._set_target(guest, size)

    async def set_range(self, domid: int, low: int, high: int) -> None:
        """Let a guest balloon within a range.  Errors: Cannot_free_this_much_memory."""
        domain = self._domains.get(domid)
        record = domain.record
        wanted = max(low, min(record.target, high))
        grows = wanted - record.target
        if grows > 0 and grows > self.free():
            raise errors.cannot_free_this_much_memory(grows, max(0, self.free()))
        record.dynamic_min, record.dynamic_max = low, high
        sizes = {"memory/dynamic-min": low // 1024, "memory/dynamic-max": high // 1024}
        home = paths.home(domid)
        await self._host.store.write_many({f"{home}/{k}": str(v) for k, v in sizes.items()})
        if wanted != record.target:
            await self._set_target(domain, wanted)
        await self._domains.save(domain)
        self.changed()

    async def _set_target(self, domain: XenDomain, size: int) -> None:
        """Tell a guest how large to be, and keep it from growing beyond that."""
        size -= size % PAGE
        record, domid = domain.record, domain.domid
        extra = 0 if domain.domain_type == "pv" else MIB
        path = f"{paths.home(domid)}/memory/target"
        try:
            self._host.xc.set_max_memory(domid, (size + extra) // 1024)
        except XenError as error:
            log.warning("domain %d: %s", domid, error)
            return
        guest_size = size - record.video_mib * MIB
        await self._host.store.write(path, str(guest_size // 1024))
        record.target = size
        domain.mirror.put("memory/target", str(guest_size // 1024))
        await self._domains.save(domain)
        self._host.announce(Change("vm", domain.vm))

    async def _settle(self, guests: Sequence[XenDomain]) -> None:
        """Wait until guests have shrunk; those that stand still are called uncooperative."""
        last = {guest.domid: (self._size(guest), 0.0) for guest in guests}
        waiting = list(guests)
        while waiting:
            await sleep(self._host.reactor, LOOK_S)
            for guest in list(waiting):
                size, still_s = self._size(guest), last[guest.domid][1] + LOOK_S
                if size is None or size <= guest.record.target + NEAR:
                    waiting.remove(guest)
                    await self._cooperative(guest, True)
                elif size < (last[guest.domid][0] or 0):
                    last[guest.domid] = (size, 0.0)
                elif still_s >= IDLE_S:
                    waiting.remove(guest)
                    await self._cooperative(guest, False)
                else:
                    last[guest.domid] = (size, still_s)

    def _size(self, guest: XenDomain) -> int | None:
        info = self._host.xc.domain(guest.domid)
        return None if info is None or info.dying else info.total_pages * PAGE

    async def _cooperative(self, guest: XenDomain, does: bool) -> None:
        if self._domains.peek(guest.domid) is not guest:
            return
        path, store = f"{paths.home(guest.domid)}/memory/uncooperative", self._host.store
        if does and "memory/uncooperative" in guest.keys:
            await store.remove(path)
            guest.mirror.drop("memory/uncooperative")
        elif not does:
            log.warning("domain %d does not give memory back", guest.domid)
            await store.write(path, "")
            guest.mirror.put("memory/uncooperative", "")

"""The SRs attached on this host, each with its queue."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred

from sm import errors
from sm.contract import AttachedSr, Driver
from sm.datapath import AttachedRecord, DatapathStore
from sm.operation_queue import OperationQueue
from xapi_py.base.reactor import Clock, Timer

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(slots=True)
class _Entry:
    sr: AttachedSr
    record: AttachedRecord
    queue: OperationQueue
    vdi_queues: dict[str, OperationQueue] = field(default_factory=dict)
    collect_later: Timer | None = None


class AttachedSrs:
    """Attach and detach SRs, and run operations on them in order.

    What is attached survives a restart of the process: ``restore`` attaches it again.
    """

    def __init__(
        self,
        reactor: Clock,
        drivers: dict[str, Driver],
        store: DatapathStore,
        gc_delay_s: float,
    ) -> None:
        self._reactor = reactor
        self._drivers = drivers
        self._store = store
        self._gc_delay_s = gc_delay_s
        self._entries: dict[str, _Entry] = {}
        self._attaching: dict[str, OperationQueue] = {}

    def driver(self, sr_type: str) -> Driver:
        """Find the driver of a type; No_storage_plugin_for_type."""
        found = self._drivers.get(sr_type)
        if found is None:
            raise errors.unknown_type(sr_type)
        return found

    def uuids(self) -> list[str]:
        return list(self._entries)

    def get(self, sr: str) -> AttachedSr:
        """Give an attached SR; Sr_not_attached."""
        return self._entry(sr).sr

    def _entry(self, sr: str) -> _Entry:
        entry = self._entries.get(sr)
        if entry is None:
            raise errors.sr_not_attached(sr)
        return entry

    async def attach(self, record: AttachedRecord) -> AttachedSr:
        """Attach an SR; one that is attached already stays as it is."""
        queue = self._attaching.setdefault(record.sr, OperationQueue(1))
        try:
            return await queue.run(lambda: self._attach(record))
        finally:
            if queue.idle:
                self._attaching.pop(record.sr, None)

    async def _attach(self, record: AttachedRecord) -> AttachedSr:
        known = self._entries.get(record.sr)
        if known is not None:
            return known.sr
        driver = self.driver(record.type)
        attached = await driver.attach(record.sr, record.device_config, record.sm_config)
        self._entries[record.sr] = _Entry(attached, record, OperationQueue(attached.concurrency))
        self._store.put_sr(record)
        return attached

    async def restore(self) -> None:
        """Attach what the last process had attached; failures are logged and left out."""
        for record in self._store.attached_srs():
            try:
                await self.attach(record)
            except Exception:
                log.exception("SR %s cannot be attached again", record.sr)

    async def detach(self, sr: str, *, destroy: bool = False) -> None:
        """Detach an SR, after erasing it if asked; VDI_IN_USE while disks are held."""
        if sr not in self._entries and not destroy:
            self._store.remove_sr(sr)
            return
        if not self._store.of_sr(sr):
            self.get(sr).stop_collecting("the SR is detached")
        await self.run(sr, lambda attached: self._detach(attached, destroy), exclusive=True)

    async def _detach(self, attached: AttachedSr, destroy: bool) -> None:
        if self._store.of_sr(attached.uuid):
            raise errors.backend_failure(errors.VDI_IN_USE)
        if destroy:
            await attached.destroy()
        entry = self._entries.pop(attached.uuid)
        self._store.remove_sr(attached.uuid)
        if entry.collect_later is not None and entry.collect_later.active():
            entry.collect_later.cancel()
        await attached.detach()

    async def run(
        self, sr: str, work: Callable[[AttachedSr], Awaitable[T]], *, exclusive: bool = False
    ) -> T:
        """Run a metadata operation on an SR when its turn has come."""
        entry = self._entry(sr)

        async def start() -> T:
            return await work(self._entry(sr).sr)

        return await entry.queue.run(start, exclusive=exclusive)

    async def run_on_vdi(self, sr: str, vdi: str, work: Callable[[AttachedSr], Awaitable[T]]) -> T:
        """Run a datapath operation on a disk, one at a time for each disk."""
        entry = self._entry(sr)
        queue = entry.vdi_queues.get(vdi)
        if queue is None:
            queue = entry.vdi_queues[vdi] = OperationQueue(1)
        try:
            return await queue.run(lambda: work(entry.sr))
        finally:
            if queue.idle:
                entry.vdi_queues.pop(vdi, None)

    def collect_later(self, sr: str) -> None:
        """Collect garbage of an SR after a while, once for many requests."""
        entry = self._entry(sr)
        if entry.collect_later is None or not entry.collect_later.active():
            entry.collect_later = self._reactor.callLater(self._gc_delay_s, self._collect, sr)

    def _collect(self, sr: str) -> None:
        if sr in self._entries:
            running = Deferred.fromCoroutine(self.run(sr, lambda s: s.collect_garbage()))
            running.addErrback(lambda failure: log_failure(sr, failure))


def log_failure(sr: str, failure: object) -> None:
    """Note that collecting failed; the next delete tries again."""
    if not getattr(failure, "check", lambda _: None)(CancelledError):
        log.error("collecting garbage of SR %s failed: %s", sr, failure)

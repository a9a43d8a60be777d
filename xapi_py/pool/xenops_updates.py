"""Follows the domain daemon of one host and keeps the database in step with it.

One transaction a batch.  After a restart of either side everything is read
again: VMs that run keep running, VMs that are gone become Halted.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.base.reactor import Clock
from xapi_py.db.database import Database
from xapi_py.pool.domain_state import Ended, Place, Stat, apply
from xapi_py.pool.following import TROUBLE, Following, ended_badly
from xapi_py.pool.gateway import Daemon

log = logging.getLogger(__name__)

Alert = Callable[[str, Ref], None]
"""Called with the name of an alert and the VM it is about."""


class XenopsUpdates(Following):
    """The consumer of one daemon's update feed; ``start`` it once, ``stop`` it at the end.

    ``alert`` is told of domains that ended by themselves, ``progress`` of how
    far the operation of a debug string is.
    """

    asks: ClassVar[Mapping[str, Any]] = {"stat": True}

    def __init__(
        self,
        db: Database,
        daemon: Daemon,
        place: Place,
        clock: Clock,
        *,
        alert: Alert,
        progress: Callable[[str, float], None],
    ) -> None:
        super().__init__("the domain daemon", daemon, clock)
        self._db = db
        self._place = place
        self._alert = alert
        self._progress = progress

    async def read_all(self) -> None:
        """Write the state of every VM the daemon or the database has on this host."""
        listed: Any = await self._daemon.read("VM.list", {}, dbg="resync")
        stats: dict[str, Stat | None] = {stat["id"]: stat for stat in listed}
        host = self._db.find("host", self._place.host)
        for ref in tuple(host.resident_VMs) if host is not None else ():
            vm = self._db.find("VM", ref)
            if vm is not None and not vm.is_control_domain:
                stats.setdefault(vm.uuid, None)
        self._write(stats)

    async def read_changed(self, answer: Mapping[str, Any]) -> None:
        """Write the states that came with the changes."""
        self._write(answer.get("vms", {}))
        self._report(answer["updates"])

    def _write(self, stats: Mapping[str, Stat | None]) -> None:
        if not stats:
            return
        now = int(self._clock.seconds())
        ended: list[Ended] = []
        with self._db.transaction() as tx:
            for uuid, stat in stats.items():
                try:
                    vm = self._db.row("VM", self._db.by_uuid("VM", uuid))
                except ApiError:
                    continue
                outcome = apply(self._db, tx, self._place, vm, stat, now)
                if outcome is not None:
                    ended.append(outcome)
                    tx.set("VM", vm.ref, "ha_always_run", False)
        for end in ended:
            self._after_end(end)

    def _after_end(self, end: Ended) -> None:
        """Tell of a domain that stopped by itself, and let the daemon forget the VM."""
        self._alert("VM_CRASHED" if end.reason == "crash" else "VM_SHUTDOWN", end.vm)
        vm = self._db.find("VM", end.vm)
        if vm is not None and not vm.current_operations:
            forgetting = self._daemon.call("VM.remove", {"id": vm.uuid}, dbg="forget")
            Deferred.fromCoroutine(forgetting).addErrback(_forget_failed)

    def _report(self, updates: Iterable[list[str]]) -> None:
        for update in updates:
            if update[0] == "task":
                asking = Deferred.fromCoroutine(self._ask_progress(update[1]))
                asking.addErrback(ended_badly)

    async def _ask_progress(self, dbg: str) -> None:
        try:
            stat: Any = await self._daemon.read("TASK.stat", {"id": dbg}, dbg="progress")
        except TROUBLE:
            return  # it is over
        self._progress(dbg, float(stat["progress"]))


def _forget_failed(failure: Failure) -> None:
    failure.trap(*TROUBLE)
    log.info("the domain daemon keeps a VM: %s", failure.value)

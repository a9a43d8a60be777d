"""Follows the domain daemon of one host and keeps the database in step with it.

One transaction a batch.  After a restart of either side everything is read
again: VMs that run keep running, VMs that are gone become Halted.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.errors import RpcError, RpcInternalError, RpcTimeout, RpcUnreachable
from xapi_py.base.waiting import sleep
from xapi_py.db.database import Database
from xapi_py.pool.domain_state import Ended, Place, Stat, apply
from xapi_py.pool.gateway import Daemon

log = logging.getLogger(__name__)

POLL_S = 30.0
FIRST_RETRY_S = 0.05
LAST_RETRY_S = 2.0
_TROUBLE = (RpcError, RpcInternalError, RpcTimeout, RpcUnreachable)

Alert = Callable[[str, Ref], None]
"""Called with the name of an alert and the VM it is about."""


class XenopsUpdates:
    """The consumer of one daemon's update feed; ``start`` it once, ``stop`` it at the end.

    ``alert`` is told of domains that ended by themselves, ``progress`` of how
    far the operation of a debug string is.
    """

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
        self._db = db
        self._daemon = daemon
        self._place = place
        self._clock = clock
        self._alert = alert
        self._progress = progress
        self._epoch = ""
        self._cursor = 0
        self._running: Deferred[None] | None = None
        self._synced: list[Deferred[None]] = []
        self._in_step = False

    def start(self) -> None:
        """Follow the daemon until ``stop``; lost connections are made again."""
        self._running = Deferred.fromCoroutine(self._follow())
        self._running.addErrback(_ended_badly)

    def stop(self) -> None:
        """End following."""
        if self._running is not None:
            self._running.cancel()

    async def synced(self) -> None:
        """Wait until the database shows the daemon's state once."""
        if not self._in_step:
            waiter: Deferred[None] = Deferred()
            self._synced.append(waiter)
            await waiter

    async def _follow(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            try:
                await self.step()
                retry_s = FIRST_RETRY_S
            except _TROUBLE as problem:
                log.info("the domain daemon cannot be followed: %s", problem)
            except Exception:  # outermost: one bad report must not stop all others
                log.exception("a report of the domain daemon cannot be used")
            else:
                continue
            self._lost()
            await sleep(self._clock, retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)

    def _lost(self) -> None:
        self._epoch = ""
        self._daemon.restarted()

    async def step(self) -> None:
        """Wait for one batch of changes and write it."""
        params = {"epoch": self._epoch, "cursor": self._cursor, "timeout_s": POLL_S, "stat": True}
        answer: Any = await self._daemon.updates(params, POLL_S)
        if answer.get("reset"):
            await self._resync(answer)
        else:
            self._write(answer.get("vms", {}))
            self._report(answer["updates"])
        self._cursor = answer["cursor"]
        self._daemon.processed(self._cursor)

    async def _resync(self, answer: Mapping[str, Any]) -> None:
        self._daemon.restarted()
        listed: Any = await self._daemon.read("VM.list", {}, dbg="resync")
        stats: dict[str, Stat | None] = {stat["id"]: stat for stat in listed}
        host = self._db.find("host", self._place.host)
        for ref in tuple(host.resident_VMs) if host is not None else ():
            vm = self._db.find("VM", ref)
            if vm is not None and not vm.is_control_domain:
                stats.setdefault(vm.uuid, None)
        self._write(stats)
        self._epoch = answer["epoch"]
        self._in_step = True
        waiting, self._synced = self._synced, []
        for waiter in waiting:
            waiter.callback(None)

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
                asking.addErrback(_ended_badly)

    async def _ask_progress(self, dbg: str) -> None:
        try:
            stat: Any = await self._daemon.read("TASK.stat", {"id": dbg}, dbg="progress")
        except _TROUBLE:
            return  # it is over
        self._progress(dbg, float(stat["progress"]))


def _forget_failed(failure: Failure) -> None:
    failure.trap(*_TROUBLE)
    log.info("the domain daemon keeps a VM: %s", failure.value)


def _ended_badly(failure: Failure) -> None:
    if not failure.check(CancelledError):
        log.error("following the domain daemon ended\n%s", failure.getTraceback())


def console_base(address: str, https_port: int) -> str:
    """Give the address of a host's consoles; the port is named only when it is not 443."""
    name = f"[{address}]" if ":" in address else address
    port = "" if https_port == 443 else f":{https_port}"
    return f"https://{name}{port}/console?ref="

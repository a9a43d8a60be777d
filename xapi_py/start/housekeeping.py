"""What is done every so often: tidying, and figures that nobody reports.

Source: briefs POOL 7.2 and 11.4.
"""

import logging
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xapi_py.api.toolstack import Toolstack
from xapi_py.base.names import Ref
from xapi_py.base.rpc.errors import RpcError, RpcInternalError, RpcTimeout, RpcUnreachable
from xapi_py.pool.dangling import DanglingRows
from xapi_py.pool.gateway import HostGateway

log = logging.getLogger(__name__)

PERIOD_S = 30.0
"""Time between passes.  Source: brief POOL 7.2."""

REVALIDATION_S = 300.0
"""Time between looks at the roles of running sessions.  Source: brief POOL 7.2."""

MEMORY_DELAY_S = 1.0
"""How late ``host_metrics.memory_free`` may be: changes in between are one."""

_DAEMON_FAILURES = (RpcError, RpcInternalError, RpcTimeout, RpcUnreachable)


class Housekeeping:
    """One server's; ``tidy`` is called every PERIOD_S seconds."""

    def __init__(self, toolstack: Toolstack) -> None:
        self._toolstack = toolstack
        self._dangling = DanglingRows(toolstack.db)
        self._waiting = False
        toolstack.db.subscribe(self._changed)

    def tidy(self) -> "Deferred[None] | None":
        """Remove what is too old or belongs to nothing; fires when all of it is gone."""
        self._toolstack.tasks.tidy()
        self._toolstack.sessions.remove_inactive()
        return self._toolstack.slices.run(self._dangling.tidy())

    def _changed(self, classes: frozenset[str], generation: int) -> None:
        """Look at the memory of hosts soon after domains came or went."""
        if "VM_metrics" in classes and not self._waiting:
            self._waiting = True
            self._toolstack.clock.callLater(MEMORY_DELAY_S, self._refresh)

    def _refresh(self) -> None:
        self._waiting = False
        for gateway in self._toolstack.hosts.live():
            Deferred.fromCoroutine(self.refresh_memory(gateway)).addErrback(_unread, gateway.host)

    async def refresh_memory(self, gateway: HostGateway) -> None:
        """Write the free memory of a host as its daemon sees it, if it changed."""
        figures: Any = await gateway.xenops.read("HOST.metrics", {}, dbg="housekeeping")
        db = self._toolstack.db
        host = db.find("host", gateway.host)
        metrics = None if host is None else db.find("host_metrics", host.metrics)
        free = int(figures["memory_free"])
        if metrics is None or metrics.memory_free == free:
            return
        now = int(self._toolstack.clock.seconds())
        with db.transaction() as tx:
            tx.update("host_metrics", metrics.ref, memory_free=free, last_updated=now)


def _unread(failure: Failure, host: Ref) -> None:
    failure.trap(*_DAEMON_FAILURES)
    log.info("host %s does not tell its memory: %s", host, failure.value)

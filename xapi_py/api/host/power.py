"""Switching a host off and on: what happens once every check has passed.

A simulated host loses its domains and is away for a moment; a real one runs
its own shutdown program after the answer had time to reach the client.
"""

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from xapi_py.api.call import Call
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.names import Ref
from xapi_py.pool.local_state import AUTO_ENABLE, DISABLED_UNTIL_REBOOT, LocalState

BOOT_S = 3.0
"""How long a simulated host is away when it reboots."""

REAL_DELAY_S = 10.0
"""Time between the answer and the real shutdown.  Source: brief POOL 16."""

SHUTDOWN_PROGRAM = Path("/sbin/shutdown")


async def leave(call: Call, host: Ref, *, comes_back: bool) -> None:
    """Switch a host off; with ``comes_back`` it starts again by itself."""
    toolstack = call.toolstack
    LocalState(toolstack.settings.state).put({DISABLED_UNTIL_REBOOT: "true"})
    if toolstack.settings.backend == "xen":
        flag = "-r" if comes_back else "-h"
        toolstack.clock.callLater(REAL_DELAY_S, _really, toolstack, flag)
        return
    for gateway in toolstack.hosts.live():
        if gateway.host == host:
            await gateway.xenops.call("DEBUG.power_cycle", {}, dbg=call.dbg)
    mark(toolstack, host, live=False)
    if comes_back:
        toolstack.clock.callLater(BOOT_S, boot, toolstack, host)


def _really(toolstack: Toolstack, flag: str) -> None:
    program: Any = toolstack.programs.run(SHUTDOWN_PROGRAM, (flag, "now"))
    Deferred.fromCoroutine(program)


def boot(toolstack: Toolstack, host: Ref) -> None:
    """Note that a simulated host has started; a host removed meanwhile is no error."""
    row = toolstack.db.find("host", host)
    if row is None:
        return
    local = LocalState(toolstack.settings.state)
    local.put({DISABLED_UNTIL_REBOOT: "false"})
    now = f"{int(toolstack.clock.seconds())}."
    other_config = {**row.other_config, "boot_time": now, "agent_start_time": now}
    with toolstack.db.transaction() as tx:
        mark(toolstack, host, live=True)
        enabled = local.get(AUTO_ENABLE, "true") == "true"
        tx.update("host", host, other_config=other_config, enabled=enabled)


def mark(toolstack: Toolstack, host: Ref, *, live: bool) -> None:
    """Write whether a host is up; its offers follow."""
    db = toolstack.db
    with db.transaction() as tx:
        metrics = db.row("host", host).metrics
        if db.find("host_metrics", metrics) is not None:
            now = int(toolstack.clock.seconds())
            tx.update("host_metrics", metrics, live=live, last_updated=now)
        tx.touch("host", host)

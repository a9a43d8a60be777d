"""Follows the network daemon of one host: carrier, speed, leases, state of bonds."""

from collections.abc import Callable, Mapping
from typing import Any

from xapi_py.base.names import Ref
from xapi_py.base.reactor import Clock
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.pool.following import Following, result_of
from xapi_py.pool.gateway import Daemon
from xapi_py.pool.host_address import management_address, moved
from xapi_py.pool.network_records import by_name, refresh

BondAlert = Callable[[Row, int], None]
"""Called with a bond whose number of good links changed, and the number before."""


class NetworkUpdates(Following):
    """The consumer of one network daemon's updates."""

    def __init__(
        self,
        db: Database,
        daemon: Daemon,
        host: Ref,
        clock: Clock,
        *,
        alert: BondAlert,
        real: bool = False,
    ) -> None:
        """``real``: clients reach the host at the address of its management interface."""
        super().__init__("the network daemon", daemon, clock)
        self._db = db
        self._host = host
        self._alert = alert
        self._real = real

    async def read_all(self) -> None:
        """Read every device."""
        await self._refresh()

    async def read_changed(self, answer: Mapping[str, Any]) -> None:
        """Read every device: one call gives them all."""
        await self._refresh()

    async def _refresh(self) -> None:
        answer: Any = await self._daemon.read("Interface.scan", {}, dbg="updates")
        links = by_name(result_of(answer))
        now = int(self._clock.seconds())
        changed = refresh(self._db, self._host, links, now)
        if self._real:
            host = self._db.row("host", self._host)
            with self._db.transaction() as tx:
                moved(self._db, tx, host, management_address(self._db, host))
        for bond, before in changed:
            self._alert(bond, before)

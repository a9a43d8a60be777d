"""Follows the network daemon of one host: carrier, speed, leases, state of bonds."""

from collections.abc import Callable, Mapping
from typing import Any

from xapi_py.base.names import Ref
from xapi_py.base.reactor import Clock
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.pool.following import Following, result_of
from xapi_py.pool.gateway import Daemon
from xapi_py.pool.network_records import by_name, refresh

BondAlert = Callable[[Row, int], None]
"""Called with a bond whose number of good links changed, and the number before."""


class NetworkUpdates(Following):
    """The consumer of one network daemon's updates."""

    def __init__(
        self, db: Database, daemon: Daemon, host: Ref, clock: Clock, *, alert: BondAlert
    ) -> None:
        super().__init__("the network daemon", daemon, clock)
        self._db = db
        self._host = host
        self._alert = alert

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
        for bond, before in refresh(self._db, self._host, links, now):
            self._alert(bond, before)

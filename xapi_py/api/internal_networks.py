"""Networks without a PIF on a host: private ones, and the one between a host and its guests.

Their bridges come with the first guest and go with the last.  On the host's internal network
guests get fixed addresses.  Source: brief NETWORK 9, 11 and 13.
"""

import logging
from collections.abc import Set as AbstractSet
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xapi_py.api import host_network
from xapi_py.api.call import Call
from xapi_py.api.internal import finish, internal_call
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.reactor import Timer
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.plan import internal_leases
from xapi_py.plan.network_config import is_internal_management
from xapi_py.pool.following import TROUBLE

log = logging.getLogger(__name__)

IDLE_S = 2.0
"""How long after a change nobody's bridges are looked for: guests come and go in groups."""


def local_pif(db: Database, network: Row, host: Ref) -> Row | None:
    """Find the PIF of a host on a network."""
    for ref in network.PIFs:
        pif = db.row("PIF", ref)
        if pif.host == host:
            return pif
    return None


def users(db: Database, network: Row, host: Ref, coming: Ref = NULL_REF) -> list[Ref]:
    """List the VIFs on a network that a host's guests use or are about to; ``coming`` is a VM."""
    found: list[Ref] = []
    for ref in network.VIFs:
        vif = db.row("VIF", ref)
        vm = db.find("VM", vif.VM)
        if vm is None:
            continue
        homes = {vm.resident_on, vm.scheduled_to_be_resident_on} - {"", NULL_REF}
        here = not homes or host in homes
        busy = vif.current_operations or vm.current_operations
        if vm.ref == coming or (here and (vif.currently_attached or vif.reserved or busy)):
            found.append(Ref(ref))
    return found


async def give_addresses(call: Call, host: Ref, network: Row, coming: Ref = NULL_REF) -> None:
    """Give every guest on the host's internal network its address."""
    refs = users(call.db, network, host, coming)
    found = internal_leases.assigned(network, refs)
    with call.db.transaction() as tx:
        tx.set("network", network.ref, "assigned_ips", dict(found))
    leases = {call.db.row("VIF", Ref(ref)).MAC: address for ref, address in found.items()}
    await host_network.serve_leases(call, host, network, leases)


def stays(network: Row) -> bool:
    """Tell whether a network's bridge stays without guests."""
    return not network.managed or network.other_config.get("persist") == "true"


async def take_down(call: Call, host: Ref, network: Row) -> None:
    """Remove the bridge of a network nobody uses."""
    if is_internal_management(network):
        await give_addresses(call, host, network)
    await host_network.remove_bridge(call, host, network)


class InternalNetworks:
    """Takes bridges down that a host's guests have left."""

    def __init__(self, toolstack: Toolstack, host: Ref) -> None:
        self._toolstack = toolstack
        self._host = host
        self._timer: Timer | None = None
        self._running = False

    def start(self) -> None:
        """Look now, and again whenever guests have come or gone."""
        self._toolstack.db.subscribe(self._changed)
        self._later()

    def _changed(self, classes: AbstractSet[str], generation: int) -> None:
        if "VIF" in classes and host_network.private_bridges(self._gateway):
            self._later()

    @property
    def _gateway(self) -> Any:
        return self._toolstack.hosts.get(self._host).networkd

    def _later(self) -> None:
        if self._timer is None and not self._running:
            self._timer = self._toolstack.clock.callLater(IDLE_S, self._begin)

    def _begin(self) -> None:
        self._timer, self._running = None, True
        Deferred.fromCoroutine(self.tidy()).addBoth(self._ended)

    def _ended(self, outcome: object) -> None:
        self._running = False
        if isinstance(outcome, Failure):
            log.error("private networks are not tidied\n%s", outcome.getTraceback())

    async def tidy(self) -> None:
        """Take down what is idle now; what fails is logged."""
        call = internal_call(self._toolstack, "internal networks")
        db, bridges = self._toolstack.db, host_network.private_bridges(self._gateway)
        try:
            for network in tuple(db.rows("network")):
                if network.bridge not in bridges or local_pif(db, network, self._host) is not None:
                    continue
                left = users(db, network, self._host)
                if not left and not stays(network):
                    await take_down(call, self._host, network)
                elif is_internal_management(network) and set(left) != set(network.assigned_ips):
                    await give_addresses(call, self._host, network)
        except (ApiError, *TROUBLE) as problem:
            log.warning("private networks are not tidied: %s", problem)
        finally:
            finish(call)

"""The network at start: NICs become PIFs, the management interface is found, bridges come up.

What an unfinished change left in the records is what the host gets: records
change in one transaction, and the host's network is made anew from them here.
"""

import logging
from typing import Any

from xapi_py.api import host_network
from xapi_py.api.call import Call
from xapi_py.api.internal import finish, internal_call
from xapi_py.api.message import create_alert
from xapi_py.api.pif.records import add_missing, management_pif
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.base.waiting import sleep
from xapi_py.db.row import Row
from xapi_py.plan import network_config
from xapi_py.pool.following import TROUBLE, result_of
from xapi_py.pool.gateway import Daemon
from xapi_py.pool.network_updates import NetworkUpdates
from xapi_py.start import first_network

log = logging.getLogger(__name__)

RETRY_S = 0.1


async def prepare(toolstack: Toolstack) -> NetworkUpdates:
    """Make PIFs, bring the host's network up and follow its daemon, once in step with it."""
    daemon = toolstack.hosts.get(toolstack.localhost).networkd
    await _backend(toolstack, daemon)
    call = internal_call(toolstack, "start of the network")
    updates = follow(toolstack, toolstack.localhost, daemon)
    await updates.synced()
    try:
        await bring_up(call, toolstack.localhost, daemon)
    except (ApiError, *TROUBLE) as problem:
        log.error("the network is not up: %s", problem)
    finally:
        finish(call)
    return updates


def follow(toolstack: Toolstack, host: Ref, daemon: Daemon) -> NetworkUpdates:
    """Start to follow the network daemon of a host."""
    seen: set[Ref] = set()
    updates = NetworkUpdates(
        toolstack.db,
        daemon,
        host,
        toolstack.clock,
        alert=lambda bond, before: _bond_alert(toolstack, host, bond, before, seen),
        real=toolstack.settings.backend == "xen",
    )
    updates.start()
    return updates


def _bond_alert(toolstack: Toolstack, host: Ref, bond: Row, before: int, seen: set[Ref]) -> None:
    """Tell of a changed bond; one that is new, not in ``seen``, has not changed."""
    members = [toolstack.db.row("PIF", ref).device for ref in bond.slaves]
    new = before == 0 and bond.ref not in seen
    seen.add(Ref(bond.ref))
    if new:
        return
    name, total = "+".join(sorted(members)), len(members)
    body = (
        f"The status of the {name} bond changed: {bond.links_up}/{total} up (was {before}/{total})"
    )
    uuid = toolstack.db.row("host", host).uuid
    create_alert(toolstack, "BOND_STATUS_CHANGED", "Host", uuid, body)


async def _backend(toolstack: Toolstack, daemon: Daemon) -> None:
    """Note which switch the host has, waiting until the daemon answers."""
    while True:
        try:
            kind = result_of(await daemon.read("Bridge.get_kind", {}, dbg="start"))
            break
        except TROUBLE as problem:
            log.info("waiting for the network daemon: %s", problem)
        await sleep(toolstack.clock, RETRY_S)
    with toolstack.db.transaction() as tx:
        tx.add_to_map("host", toolstack.localhost, "software_version", "network_backend", str(kind))


async def bring_up(call: Call, host: Ref, daemon: Daemon) -> None:
    """Make PIFs for new NICs and bring up all that is to be up after a start.

    After a reset by the administrator all records of the host's interfaces are new.
    Errors: ApiError, and those of the daemon's calls.
    """
    db = call.db
    links = await host_network.links_of(call, host)
    document: Any = result_of(await daemon.read("Network.get", {}, dbg=call.dbg))
    bridges = result_of(await daemon.read("Bridge.get_all", {}, dbg=call.dbg))
    reset = result_of(await daemon.read("Network.pending_reset", {}, dbg=call.dbg))
    with db.transaction() as tx:
        if reset:
            log.warning("the records of this host's network are made anew")
            first_network.forget(db, tx, host)
        known = management_pif(db, host) is not None
        add_missing(call, tx, host, links)
        if not known:
            first_network.adopt(call, tx, host, document)
    async with host_network.changing(call, host):
        up = network_config.at_start(db, db.row("host", host), set(bridges))
        await host_network.reach(call, host, up)
    if reset:
        await daemon.call("Network.reset_done", {}, dbg=call.dbg)

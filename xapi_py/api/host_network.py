"""Bringing a host's network in step with the records, for the messages of network classes.

Each change is one call of the daemon with the whole network the host is to
have: it is carried out completely or not at all.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.defer import DeferredLock

from xapi_py.api.call import Call
from xapi_py.api.network_errors import TROUBLE, bridge_error, network_error
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.transaction import Transaction
from xapi_py.plan import network_config
from xapi_py.pool.following import result_of
from xapi_py.pool.gateway import Daemon
from xapi_py.pool.network_records import Link, by_name, refresh

DEADLINE_S = 120.0

Edit = Callable[[Transaction], object]
"""A change of records."""

_locks: "WeakKeyDictionary[Daemon, DeferredLock]" = WeakKeyDictionary()
_private: "WeakKeyDictionary[Daemon, set[str]]" = WeakKeyDictionary()


def private_bridges(daemon: Daemon) -> set[str]:
    """Give the bridges of networks without PIF that a host is known to have."""
    return _private.setdefault(daemon, set())


@asynccontextmanager
async def changing(call: Call, host: Ref) -> AsyncIterator[None]:
    """Keep every other change of the host's network waiting."""
    daemon = call.host(host).networkd
    lock = _locks.setdefault(daemon, DeferredLock())
    await lock.acquire()
    try:
        yield
    finally:
        lock.release()


def attached(call: Call, host: Ref) -> set[Ref]:
    """Give the PIFs of a host that are up."""
    refs = call.db.row("host", host).PIFs
    return {ref for ref in refs if call.db.row("PIF", ref).currently_attached}


async def reach(call: Call, host: Ref, up: Collection[Ref], pif: Ref = NULL_REF) -> None:
    """Make the host's network what the records say with the PIFs in ``up`` up.

    Marks exactly those as attached and reads back their addresses.  ``pif`` is
    what errors are about.  Hold ``changing``.  Errors: PIF_CONFIGURATION_ERROR,
    VLAN_IN_USE; nothing has changed then.
    """
    daemon = call.host(host).networkd
    db = call.db
    row = db.row("host", host)
    try:
        current: Any = result_of(await daemon.read("Network.get", {}, dbg=call.dbg))
        kept = _without_pif(call, row, current["bridge_config"])
        private_bridges(daemon).clear()
        private_bridges(daemon).update(kept)
        config = network_config.document(db, row, up, kept)
        await daemon.call("Network.apply", {"config": config}, dbg=call.dbg, deadline_s=DEADLINE_S)
        links = by_name(result_of(await daemon.read("Interface.scan", {}, dbg=call.dbg)))
    except TROUBLE as problem:
        raise network_error(problem, pif) from problem
    with db.transaction() as tx:
        for ref in tuple(row.PIFs):
            tx.set("PIF", ref, "currently_attached", ref in up)
            if ref in up:
                tx.set("PIF", ref, "MTU", _mtu(call, db.row("PIF", ref), links))
        _mark_tunnels(call, tx, row)
    refresh(db, host, links, call.now())


def _mtu(call: Call, pif: Row, links: Mapping[str, Link]) -> int:
    """Give the MTU a PIF has: hardware may refuse the one it was to have."""
    network = call.db.find("network", pif.network)
    names = network_config.devices_of(call.db, pif)
    names += [network.bridge] if network is not None else []
    found = [int(links[name]["mtu"]) for name in names if name in links]
    return min([network_config.mtu_of(call.db, pif), *found])


def _without_pif(call: Call, host: Row, bridges: dict[str, Any]) -> dict[str, Any]:
    """Choose the bridges that are there for networks without a PIF on the host."""
    db = call.db
    with_pif = {db.row("PIF", ref).network for ref in host.PIFs}
    internal = {n.bridge for n in db.rows("network") if n.ref not in with_pif}
    return {
        name: config
        for name, config in bridges.items()
        if name in internal and _is_internal(config)
    }


def _is_internal(bridge: dict[str, Any]) -> bool:
    """Tell whether only devices of VMs are connected to a bridge."""
    kinds = {port["kind"] for port in bridge["ports"].values()}
    return bridge["vlan"] is None and kinds <= {"vif"}


def _mark_tunnels(call: Call, tx: Transaction, host: Row) -> None:
    for ref in host.PIFs:
        pif = call.db.row("PIF", ref)
        for tunnel in tuple(pif.tunnel_access_PIF_of):
            active = "true" if pif.currently_attached else "false"
            tx.add_to_map("tunnel", tunnel, "status", "active", active)


async def links_of(call: Call, host: Ref) -> dict[str, Link]:
    """Give the devices of a host by name."""
    try:
        answer = await call.host(host).networkd.read("Interface.scan", {}, dbg=call.dbg)
    except TROUBLE as problem:
        raise network_error(problem, NULL_REF) from problem
    return by_name(result_of(answer))


async def check_devices(call: Call, pif: Row) -> None:
    """Refuse a PIF none of whose NICs is there.  Errors: PIF_CONFIGURATION_ERROR."""
    devices = network_config.devices_of(call.db, pif)
    if not devices:
        return
    links = await links_of(call, Ref(pif.host))
    if not any(device in links for device in devices):
        raise err.PIF_CONFIGURATION_ERROR(pif.ref, "")


async def bring_up(call: Call, pif: Ref) -> None:
    """Bring a PIF up, or again when it is up; what it sits on comes up with it.

    Errors: PIF_CONFIGURATION_ERROR, VLAN_IN_USE.
    """
    row = call.db.row("PIF", pif)
    await check_devices(call, row)
    async with changing(call, Ref(row.host)):
        up = attached(call, Ref(row.host)) | {pif}
        for slave in network_config.slaves_of(call.db, row):
            up.discard(slave.ref)
        await reach(call, Ref(row.host), up, pif)


async def bring_down(call: Call, pif: Ref) -> None:
    """Take a PIF down.  Errors: PIF_CONFIGURATION_ERROR."""
    row = call.db.row("PIF", pif)
    async with changing(call, Ref(row.host)):
        await reach(call, Ref(row.host), attached(call, Ref(row.host)) - {pif}, pif)


async def change_records(
    call: Call,
    host: Ref,
    edit: Callable[[Transaction], Edit],
    up: Callable[[set[Ref]], set[Ref]],
    pif: Ref = NULL_REF,
) -> None:
    """Change records and bring the network in step; undo the change when that fails.

    ``edit`` makes the change and gives what takes it back; ``up`` says which
    PIFs are up afterwards from those that are up before.
    """
    async with changing(call, host):
        before = attached(call, host)
        with call.db.transaction() as tx:
            take_back = edit(tx)
        try:
            await reach(call, host, up(set(before)), pif)
        except BaseException:
            with call.db.transaction() as tx:
                take_back(tx)
            raise


async def make_bridge(call: Call, host: Ref, network: Row) -> None:
    """Make the bridge of a network without a PIF on the host, unless it is there.

    Errors: BRIDGE_NOT_AVAILABLE.
    """
    daemon = call.host(host).networkd
    async with changing(call, host):
        try:
            present: Any = result_of(await daemon.read("Bridge.get_all", {}, dbg=call.dbg))
            if network.bridge not in present:
                if not network.managed:
                    raise err.BRIDGE_NOT_AVAILABLE(network.bridge)
                made: dict[str, object] = {"bridge_config": {network.bridge: {}}}
                if network_config.is_internal_management(network):
                    address = network_config.internal_interface(network)
                    made["interface_config"] = {network.bridge: address}
                await daemon.call("Network.change", made, dbg=call.dbg)
            private_bridges(daemon).add(network.bridge)
        except TROUBLE as problem:
            raise bridge_error(problem, network.bridge) from problem


async def serve_leases(call: Call, host: Ref, network: Row, leases: Mapping[str, str]) -> None:
    """Have guests on the internal network given addresses: by MAC, none ends it.

    Errors: BRIDGE_NOT_AVAILABLE.
    """
    config = network_config.internal_interface(network).get("ipv4_conf")
    if config is None:
        return
    address, length = config[1][0]
    where = {"bridge": network.bridge, "address": address, "prefix_length": length}
    daemon = call.host(host).networkd
    try:
        await daemon.call("Dhcp.set_leases", {**where, "leases": dict(leases)}, dbg=call.dbg)
    except TROUBLE as problem:
        raise bridge_error(problem, network.bridge) from problem


async def remove_bridge(call: Call, host: Ref, network: Row) -> None:
    """Remove the bridge of a network without a PIF on the host."""
    daemon = call.host(host).networkd
    async with changing(call, host):
        try:
            await daemon.call("Bridge.destroy", {"name": network.bridge}, dbg=call.dbg)
            private_bridges(daemon).discard(network.bridge)
        except TROUBLE as problem:
            raise bridge_error(problem, network.bridge) from problem

"""The network interface a host is managed over.  Source: brief NETWORK 6."""

from functools import partial

from xapi_py.api import host_network
from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.undo import Undo
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.transaction import Transaction
from xapi_py.pool import host_address


@message("host.get_management_interface")
def get_management_interface(call: Call, host: Ref) -> Ref:
    """Give the PIF.  Errors: INTERNAL_ERROR where no record is marked."""
    for ref in reached(call, host).PIFs:
        if call.db.row("PIF", ref).management:
            return Ref(ref)
    raise err.INTERNAL_ERROR("no management interface is recorded for this host")


@message("host.management_reconfigure")
async def management_reconfigure(call: Call, pif: Ref) -> None:
    """Be managed over another interface from now on; it comes up for that.

    The host goes back to the old one when the new one does not reach its gateway.  Errors:
    HA_IS_ENABLED, CANNOT_PLUG_BOND_SLAVE, PIF_HAS_NO_NETWORK_CONFIGURATION,
    PIF_HAS_NO_V6_NETWORK_CONFIGURATION, PIF_INCOMPATIBLE_PRIMARY_ADDRESS_TYPE,
    PIF_CONFIGURATION_ERROR.
    """
    refuse_with_ha(call)
    row = call.db.row("PIF", pif)
    check_management(call, row)
    if not row.management:
        await _move(call, row)


async def _move(call: Call, pif: Row) -> None:
    host = call.db.row("host", pif.host)
    before = {ref: call.db.row("PIF", ref).management for ref in host.PIFs}

    def edit(tx: Transaction) -> host_network.Edit:
        for other in tuple(host.PIFs):
            tx.set("PIF", other, "management", other == pif.ref)
        return take_back

    def take_back(tx: Transaction) -> None:
        for other, value in before.items():
            if call.db.find("PIF", other) is not None:
                tx.set("PIF", other, "management", value)

    def with_it(up: set[Ref]) -> set[Ref]:
        return up | {Ref(pif.ref)} if pif.managed else up

    await host_network.change_records(call, Ref(host.ref), edit, with_it, Ref(pif.ref))
    with call.db.transaction() as tx:
        address = host_address.of_interface(call.db.row("PIF", pif.ref))
        host_address.moved(call.db, tx, host, address)


def check_management(call: Call, pif: Row) -> None:
    """Refuse an interface that cannot carry management."""
    if not pif.managed:
        return
    if call.db.find("Bond", pif.bond_slave_of) is not None:
        raise err.CANNOT_PLUG_BOND_SLAVE(pif.ref)
    if pif.primary_address_type == "IPv6":
        if pif.ipv6_configuration_mode == "None":
            raise err.PIF_HAS_NO_V6_NETWORK_CONFIGURATION(pif.ref)
    elif pif.ip_configuration_mode == "None":
        raise err.PIF_HAS_NO_NETWORK_CONFIGURATION(pif.ref)
    for other in call.db.row("host", pif.host).PIFs:
        now = call.db.row("PIF", other)
        if now.management and now.primary_address_type != pif.primary_address_type:
            raise err.PIF_INCOMPATIBLE_PRIMARY_ADDRESS_TYPE(pif.ref)


@message("host.management_disable")
def management_disable(call: Call) -> None:
    """Be managed over the local socket only.

    Errors: HA_IS_ENABLED; SLAVE_REQUIRES_MANAGEMENT_INTERFACE on a member of a pool.
    """
    refuse_with_ha(call)
    pool = call.db.row("pool", call.toolstack.pool)
    if pool.master not in (call.toolstack.localhost, NULL_REF):
        raise err.SLAVE_REQUIRES_MANAGEMENT_INTERFACE()
    host = call.db.row("host", call.toolstack.localhost)
    with call.db.transaction() as tx:
        for ref in tuple(host.PIFs):
            tx.set("PIF", ref, "management", False)


@message("host.local_management_reconfigure")
def local_management_reconfigure(call: Call, interface: str) -> None:
    """Change the interface of a host that has lost its master.

    Errors: NOT_IN_EMERGENCY_MODE.
    """
    raise err.NOT_IN_EMERGENCY_MODE()


@message("pool.management_reconfigure")
async def pool_management_reconfigure(call: Call, network: Ref) -> None:
    """Manage all hosts over one network, the master last.

    Errors: HA_IS_ENABLED, PIF_NOT_PRESENT [host, network] and those of
    ``host.management_reconfigure``; hosts that have moved by then move back.
    """
    refuse_with_ha(call)
    hosts = sorted(call.db.refs("host"), key=lambda host: host == call.toolstack.localhost)
    chosen = [_pif_on(call, network, host) for host in hosts]
    for pif in chosen:
        check_management(call, call.db.row("PIF", pif))
    async with Undo() as undo:
        for host, pif in zip(hosts, chosen, strict=True):
            old = _management_of(call, host)
            await management_reconfigure(call, pif)
            if old is not None and old.ref != pif:
                undo.push("the old management interface", partial(_move, call, old))


def _management_of(call: Call, host: Ref) -> Row | None:
    pifs = (call.db.row("PIF", ref) for ref in call.db.row("host", host).PIFs)
    return next((pif for pif in pifs if pif.management), None)


def _pif_on(call: Call, network: Ref, host: Ref) -> Ref:
    for ref in call.db.row("network", network).PIFs:
        if call.db.row("PIF", ref).host == host:
            return Ref(ref)
    raise err.PIF_NOT_PRESENT(host, network)


def refuse_with_ha(call: Call) -> None:
    """Refuse while high availability is on.  Errors: HA_IS_ENABLED."""
    if call.db.row("pool", call.toolstack.pool).ha_enabled:
        raise err.HA_IS_ENABLED()

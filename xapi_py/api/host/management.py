"""The network interface a host is managed over.  Source: brief NETWORK 6."""

from xapi_py.api.call import Call
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row


@message("host.get_management_interface")
def get_management_interface(call: Call, host: Ref) -> Ref:
    """Give the PIF.  Errors: INTERNAL_ERROR where no record is marked."""
    for ref in reached(call, host).PIFs:
        if call.db.row("PIF", ref).management:
            return Ref(ref)
    raise err.INTERNAL_ERROR("no management interface is recorded for this host")


@message("host.management_reconfigure")
def management_reconfigure(call: Call, pif: Ref) -> None:
    """Be managed over another interface from now on.

    Errors: HA_IS_ENABLED, CANNOT_PLUG_BOND_SLAVE,
    PIF_HAS_NO_NETWORK_CONFIGURATION, PIF_HAS_NO_V6_NETWORK_CONFIGURATION,
    PIF_INCOMPATIBLE_PRIMARY_ADDRESS_TYPE.
    """
    refuse_with_ha(call)
    row = call.db.row("PIF", pif)
    check_management(call, row)
    host = call.db.row("host", row.host)
    with call.db.transaction() as tx:
        for other in tuple(host.PIFs):
            tx.set("PIF", other, "management", other == pif)
        if row.IP:
            tx.set("host", host.ref, "address", row.IP)


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
    """Be managed over the local socket only.  Errors: HA_IS_ENABLED."""
    refuse_with_ha(call)
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
def pool_management_reconfigure(call: Call, network: Ref) -> None:
    """Manage all hosts over one network.

    Errors: HA_IS_ENABLED, PIF_NOT_PRESENT [host, network] and those of
    ``host.management_reconfigure``; nothing changes then.
    """
    refuse_with_ha(call)
    chosen = [_pif_on(call, network, host) for host in call.db.refs("host")]
    for pif in chosen:
        check_management(call, call.db.row("PIF", pif))
    with call.db.transaction():
        for pif in chosen:
            management_reconfigure(call, pif)


def _pif_on(call: Call, network: Ref, host: Ref) -> Ref:
    for ref in call.db.row("network", network).PIFs:
        if call.db.row("PIF", ref).host == host:
            return Ref(ref)
    raise err.PIF_NOT_PRESENT(host, network)


def refuse_with_ha(call: Call) -> None:
    """Refuse while high availability is on.  Errors: HA_IS_ENABLED."""
    if call.db.row("pool", call.toolstack.pool).ha_enabled:
        raise err.HA_IS_ENABLED()

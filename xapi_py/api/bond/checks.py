"""What may become a bond."""

from xapi_py.api.call import Call
from xapi_py.api.pif import checks
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan import bond as bond_plan
from xapi_py.plan import network_config
from xapi_py.plan.network_config import has_ip


def check_members(call: Call, members: list[Row]) -> None:
    """Refuse members that cannot be bonded, in the real server's order.

    Errors: PIF_UNMANAGED, PIF_ALREADY_BONDED, PIF_VLAN_EXISTS,
    IS_TUNNEL_ACCESS_PIF, PIF_IS_SRIOV_LOGICAL, HA_CANNOT_CHANGE_BOND_STATUS_OF_MGMT_IFACE,
    CLUSTERING_ENABLED, PIF_CANNOT_BOND_CROSS_HOST, INCOMPATIBLE_PIF_PROPERTIES,
    PIF_BOND_MORE_THAN_ONE_IP, PIF_INCOMPATIBLE_PRIMARY_ADDRESS_TYPE.
    """
    for member in members:
        _check_member(call, member)
    if len({m.host for m in members}) > 1:
        raise err.PIF_CANNOT_BOND_CROSS_HOST()
    if any(m.properties != members[0].properties for m in members):
        raise err.INCOMPATIBLE_PIF_PROPERTIES()
    if sum(has_ip(m) for m in members) > 1:
        raise err.PIF_BOND_MORE_THAN_ONE_IP()
    types = {m.primary_address_type for m in members}
    if len(types) > 1:
        raise err.PIF_INCOMPATIBLE_PRIMARY_ADDRESS_TYPE(members[0].ref)


def _check_member(call: Call, member: Row) -> None:
    checks.managed(member)
    if network_config.is_slave(call.db, member) or len(member.bond_master_of):
        raise err.PIF_ALREADY_BONDED(member.ref)
    match network_config.kind_of(member):
        case "vlan":
            raise err.PIF_VLAN_EXISTS(member.device)
        case "tunnel":
            raise err.IS_TUNNEL_ACCESS_PIF(member.ref)
        case "sriov":
            raise err.PIF_IS_SRIOV_LOGICAL(member.ref)
    check_management(call, member)
    checks.clustering_allows(call, member)


def check_size(call: Call, members: list[Row]) -> None:
    """Errors: OPERATION_NOT_ALLOWED."""
    host = call.db.row("host", members[0].host)
    backend = host.software_version.get("network_backend", "")
    problem = bond_plan.size_error(len(members), backend)
    if problem is not None:
        raise problem


def check_management(call: Call, pif: Row) -> None:
    """Refuse to touch the management interface of a HA pool.

    Errors: HA_CANNOT_CHANGE_BOND_STATUS_OF_MGMT_IFACE.
    """
    pool = call.db.row("pool", call.toolstack.pool)
    if pif.management and pool.ha_enabled:
        raise err.HA_CANNOT_CHANGE_BOND_STATUS_OF_MGMT_IFACE()


def master_of(call: Call, bond: Row) -> Row:
    """Give the PIF of a bond."""
    return call.db.row("PIF", Ref(bond.master))

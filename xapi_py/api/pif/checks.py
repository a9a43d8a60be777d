"""Refusals that several messages about PIFs share."""

from xapi_py.api.call import Call
from xapi_py.base.errors import ErrorCode
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan import network_config, sriov


def managed(pif: Row) -> None:
    """Errors: PIF_UNMANAGED."""
    if not pif.managed:
        raise err.PIF_UNMANAGED(pif.ref)


def not_management(pif: Row) -> None:
    """Errors: PIF_IS_MANAGEMENT_INTERFACE."""
    if pif.management:
        raise err.PIF_IS_MANAGEMENT_INTERFACE(pif.ref)


def not_slave(call: Call, pif: Row) -> None:
    """Errors: PIF_ALREADY_BONDED."""
    if call.db.find("Bond", pif.bond_slave_of) is not None:
        raise err.PIF_ALREADY_BONDED(pif.ref)


def no_vlans(pif: Row) -> None:
    """Errors: PIF_VLAN_STILL_EXISTS, also for a VLAN itself."""
    if len(pif.VLAN_slave_of) or pif.VLAN_master_of not in ("", NULL_REF):
        raise err.PIF_VLAN_STILL_EXISTS(pif.ref)


def no_tunnels(pif: Row) -> None:
    """Errors: PIF_TUNNEL_STILL_EXISTS."""
    if len(pif.tunnel_transport_PIF_of) or len(pif.tunnel_access_PIF_of):
        raise err.PIF_TUNNEL_STILL_EXISTS(pif.ref)


def no_sriov(pif: Row) -> None:
    """Errors: CANNOT_FORGET_SRIOV_LOGICAL, PIF_SRIOV_STILL_EXISTS."""
    if len(pif.sriov_logical_PIF_of):
        raise err.CANNOT_FORGET_SRIOV_LOGICAL(pif.ref)
    if len(pif.sriov_physical_PIF_of):
        raise err.PIF_SRIOV_STILL_EXISTS(pif.ref)


def not_vital(call: Call, pif: Row) -> None:
    """Refuse while high availability relies on the network.

    Errors: HA_IS_ENABLED, REDO_LOG_IS_ENABLED; only for a PIF that is up.
    """
    pool = call.db.row("pool", call.toolstack.pool)
    if not pif.currently_attached:
        return
    if pool.ha_enabled:
        raise err.HA_IS_ENABLED()
    if pool.redo_log_enabled:
        raise err.REDO_LOG_IS_ENABLED()


def no_vif_in_use(call: Call, pif: Row) -> None:
    """Refuse while a VM on the PIF's host uses its network.  Errors: VIF_IN_USE."""
    db = call.db
    network = db.find("network", pif.network)
    if network is None:
        return
    for ref in network.VIFs:
        vif = db.row("VIF", ref)
        vm = db.find("VM", vif.VM)
        if vm is None or not (vif.currently_attached or vif.reserved):
            continue
        if pif.host in (vm.resident_on, vm.scheduled_to_be_resident_on):
            raise err.VIF_IN_USE(network.ref, ref)


def clustering_allows(call: Call, pif: Row) -> None:
    """Refuse while a cluster uses the PIF.  Errors: CLUSTERING_ENABLED."""
    for member in call.db.rows("Cluster_host"):
        if member.enabled and pif.ref in (member.PIF,):
            raise err.CLUSTERING_ENABLED(member.ref)


def network_is_free(call: Call, network: Row, host: Ref) -> None:
    """Refuse a network the host has a PIF on.

    Errors: NETWORK_UNMANAGED, NETWORK_ALREADY_CONNECTED.
    """
    if not network.managed:
        raise err.NETWORK_UNMANAGED(network.ref)
    for ref in network.PIFs:
        if call.db.row("PIF", ref).host == host:
            raise err.NETWORK_ALREADY_CONNECTED(host, ref)


def no_sriov_on(call: Call, network: Row, problem: ErrorCode) -> None:
    """Refuse a network that carries virtual functions of NICs; raises ``problem``."""
    for ref in network.PIFs:
        pif = call.db.row("PIF", ref)
        if len(pif.sriov_logical_PIF_of) or is_vlan_on_sriov(call, pif):
            raise problem(network.ref)


def is_vlan_on_sriov(call: Call, pif: Row) -> bool:
    """Tell whether a PIF is a VLAN of virtual functions."""
    below = network_config.tagged_pif(call.db, pif)
    return below is not None and network_config.kind_of(below) == network_config.SRIOV


def only_vlans_on_sriov(call: Call, network: Row) -> None:
    """Refuse a network with anything but such VLANs.

    Errors: NETWORK_INCOMPATIBLE_WITH_VLAN_ON_SRIOV.
    """
    if not all(is_vlan_on_sriov(call, call.db.row("PIF", ref)) for ref in network.PIFs):
        raise err.NETWORK_INCOMPATIBLE_WITH_VLAN_ON_SRIOV(network.ref)


def same_card(call: Call, network: Row, logical: Row) -> None:
    """Refuse a network with VLANs on functions of another kind of card.

    Errors: NETWORK_HAS_INCOMPATIBLE_VLAN_ON_SRIOV_PIFS.
    """
    for ref in logical.sriov_logical_PIF_of:
        physical = call.db.row("PIF", call.db.row("network_sriov", ref).physical_PIF)
        if sriov.other_card(call.db, network, physical):
            raise err.NETWORK_HAS_INCOMPATIBLE_VLAN_ON_SRIOV_PIFS(logical.ref, network.ref)

"""Messages of class tunnel: networks that span hosts through a PIF with an address."""

import secrets
from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.pif import checks
from xapi_py.api.pif.plug import plug_pif, unplug_pif
from xapi_py.api.registry import message
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan import network_config
from xapi_py.plan.mac import mac_of_random
from xapi_py.pool.network_records import delete_pif

OPENVSWITCH = "openvswitch"


@message("tunnel.create")
async def create(call: Call, transport_pif: Ref, network: Ref, protocol: str = "gre") -> Ref:
    """Connect a network to a tunnel through a PIF; it comes up if that has an address.

    Errors: OPENVSWITCH_NOT_ACTIVE, NETWORK_UNMANAGED, NETWORK_ALREADY_CONNECTED,
    PIF_UNMANAGED, CANNOT_ADD_TUNNEL_TO_BOND_SLAVE, IS_TUNNEL_ACCESS_PIF,
    CANNOT_ADD_TUNNEL_TO_SRIOV_LOGICAL, NETWORK_INCOMPATIBLE_WITH_TUNNEL.
    """
    pif = call.db.row("PIF", transport_pif)
    row = call.db.row("network", network)
    if not uses_openvswitch(call):
        raise err.OPENVSWITCH_NOT_ACTIVE()
    checks.network_is_free(call, row, Ref(pif.host))
    checks.managed(pif)
    _check_transport(call, pif, row)
    tunnel, access = _make(call, pif, network, protocol)
    if network_config.has_ip(pif):
        try:
            await plug_pif(call, access)
        except ApiError:
            _delete(call, call.db.row("tunnel", tunnel))
            raise
    return tunnel


def uses_openvswitch(call: Call) -> bool:
    """Tell whether all hosts switch with Open vSwitch."""
    rows = call.db.rows("host")
    return all(row.software_version.get("network_backend") == OPENVSWITCH for row in rows)


def _check_transport(call: Call, pif: Row, network: Row) -> None:
    if network_config.is_slave(call.db, pif):
        raise err.CANNOT_ADD_TUNNEL_TO_BOND_SLAVE(pif.ref)
    match network_config.kind_of(pif):
        case "tunnel":
            raise err.IS_TUNNEL_ACCESS_PIF(pif.ref)
        case "sriov":
            raise err.CANNOT_ADD_TUNNEL_TO_SRIOV_LOGICAL(pif.ref)
        case "vlan":
            if checks.is_vlan_on_sriov(call, pif):
                raise err.CANNOT_ADD_TUNNEL_TO_VLAN_ON_SRIOV_LOGICAL(pif.ref)
    checks.no_sriov_on(call, network, err.NETWORK_INCOMPATIBLE_WITH_TUNNEL)


def _make(call: Call, pif: Row, network: Ref, protocol: str) -> tuple[Ref, Ref]:
    with call.db.transaction() as tx:
        fields: dict[str, Any] = {
            "device": _free_device(call, Ref(pif.host)),
            "network": network,
            "host": pif.host,
            "MAC": mac_of_random(secrets.token_bytes(6)),
            "MTU": pif.MTU,
            "VLAN": -1,
            "metrics": tx.create("PIF_metrics", {"pci_bus_path": "N/A"}),
            "physical": False,
            "currently_attached": False,
            "bond_slave_of": NULL_REF,
            "VLAN_master_of": NULL_REF,
            "IPv6": ("",),
        }
        access = tx.create("PIF", fields)
        tunnel = tx.create(
            "tunnel",
            {"access_PIF": access, "transport_PIF": pif.ref, "protocol": protocol},
        )
    return tunnel, access


def _free_device(call: Call, host: Ref) -> str:
    taken = {call.db.row("PIF", ref).device for ref in call.db.row("host", host).PIFs}
    number = 0
    while f"tunnel{number}" in taken:
        number += 1
    return f"tunnel{number}"


@message("tunnel.destroy")
async def destroy(call: Call, self: Ref) -> None:
    """Take a tunnel down and remove it.  Errors: VIF_IN_USE, PIF_CONFIGURATION_ERROR."""
    row = call.db.row("tunnel", self)
    pif = call.db.find("PIF", row.access_PIF)
    if pif is not None:
        checks.no_vif_in_use(call, pif)
        await unplug_pif(call, pif)
    _delete(call, row)


def _delete(call: Call, tunnel: Row) -> None:
    pif = call.db.find("PIF", tunnel.access_PIF)
    with call.db.transaction() as tx:
        if pif is not None:
            delete_pif(call.db, tx, pif)
        tx.delete("tunnel", tunnel.ref)

"""Bringing PIFs up and down."""

from xapi_py.api import host_network
from xapi_py.api.call import Call
from xapi_py.api.pif import checks
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan import network_config


@message("PIF.plug")
async def plug(call: Call, self: Ref) -> None:
    """Bring a PIF up; does so again when it is up.

    Errors: PIF_UNMANAGED, CANNOT_PLUG_BOND_SLAVE, TRANSPORT_PIF_NOT_CONFIGURED,
    PIF_CONFIGURATION_ERROR.
    """
    await plug_pif(call, self)


async def plug_pif(call: Call, pif: Ref) -> None:
    """Bring a PIF up as the message does."""
    row = call.db.row("PIF", pif)
    checks.managed(row)
    if network_config.is_slave(call.db, row):
        raise err.CANNOT_PLUG_BOND_SLAVE(pif)
    for ref in row.tunnel_access_PIF_of:
        transport = call.db.row("PIF", call.db.row("tunnel", ref).transport_PIF)
        if not network_config.has_ip(transport):
            raise err.TRANSPORT_PIF_NOT_CONFIGURED(transport.ref)
        if not transport.currently_attached:
            await host_network.bring_up(call, transport.ref)
    await host_network.bring_up(call, pif)


@message("PIF.unplug")
async def unplug(call: Call, self: Ref) -> None:
    """Take a PIF down; a bond's member is left alone.

    Errors: PIF_UNMANAGED, HA_IS_ENABLED, PIF_IS_MANAGEMENT_INTERFACE,
    VIF_IN_USE, PIF_DOES_NOT_ALLOW_UNPLUG, PIF_HAS_FCOE_SR_IN_USE.
    """
    row = call.db.row("PIF", self)
    checks.managed(row)
    checks.clustering_allows(call, row)
    checks.not_vital(call, row)
    checks.not_management(row)
    checks.no_vif_in_use(call, row)
    if row.disallow_unplug:
        raise err.PIF_DOES_NOT_ALLOW_UNPLUG(self)
    _check_fcoe(call, row)
    if not row.currently_attached or network_config.is_slave(call.db, row):
        return
    await unplug_pif(call, row)


async def unplug_pif(call: Call, pif: Row) -> None:
    """Take a PIF down with the tunnels through it; checks nothing."""
    for ref in pif.tunnel_transport_PIF_of:
        access = call.db.row("PIF", call.db.row("tunnel", ref).access_PIF)
        if access.currently_attached:
            await host_network.bring_down(call, access.ref)
    if pif.currently_attached:
        await host_network.bring_down(call, pif.ref)


def _check_fcoe(call: Call, pif: Row) -> None:
    """Refuse while an FCoE SR of the host is plugged through the NIC."""
    for ref in call.db.row("host", pif.host).PBDs:
        pbd = call.db.row("PBD", ref)
        sr = call.db.find("SR", pbd.SR)
        through = pbd.device_config.get("ethdev", "") or pbd.device_config.get("eth", "")
        if not pbd.currently_attached or sr is None or sr.type != "lvmofcoe":
            continue
        if through == pif.device:
            raise err.PIF_HAS_FCOE_SR_IN_USE(pif.ref, sr.ref)


@message("PIF.set_disallow_unplug")
def set_disallow_unplug(call: Call, self: Ref, value: bool) -> None:
    """Say whether the PIF must stay up.  Errors: CLUSTERING_ENABLED when it must."""
    row = call.db.row("PIF", self)
    if not value:
        checks.clustering_allows(call, row)
    with call.db.transaction() as tx:
        tx.set("PIF", self, "disallow_unplug", value)


@message("PIF.set_property")
async def set_property(call: Call, self: Ref, name: str, value: str) -> None:
    """Switch an ability of a NIC or bond, with its members and VLANs: gro on or off.

    Errors: CANNOT_CHANGE_PIF_PROPERTIES, INVALID_VALUE.
    """
    row = call.db.row("PIF", self)
    kind = network_config.kind_of(row)
    if kind not in (network_config.PHYSICAL, network_config.BOND) or network_config.is_slave(
        call.db, row
    ):
        raise err.CANNOT_CHANGE_PIF_PROPERTIES(self)
    if (name, value) not in (("gro", "on"), ("gro", "off")):
        raise err.INVALID_VALUE("properties", f"{name} = {value}")
    affected = [row, *network_config.slaves_of(call.db, row)]
    vlans = [call.db.row("VLAN", ref) for ref in row.VLAN_slave_of]
    affected += [call.db.row("PIF", vlan.untagged_PIF) for vlan in vlans]
    with call.db.transaction() as tx:
        for pif in affected:
            tx.add_to_map("PIF", pif.ref, "properties", name, value)
    if row.currently_attached:
        await host_network.bring_up(call, self)

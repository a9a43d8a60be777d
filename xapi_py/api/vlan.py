"""Messages of class VLAN, and the ones of other classes that make VLANs."""

from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.pif import checks
from xapi_py.api.pif.plug import plug_pif, unplug_pif
from xapi_py.api.registry import message
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.transaction import Transaction
from xapi_py.plan import network_config
from xapi_py.pool.network_records import delete_pif

VLAN_MAC = "fe:ff:ff:ff:ff:ff"
MAX_TAG = 4094


@message("VLAN.create")
async def create(call: Call, tagged_pif: Ref, tag: int, network: Ref) -> Ref:
    """Connect a network to a VLAN on a host, and bring it up.

    The VLAN stays when it cannot be brought up.  Errors: NETWORK_UNMANAGED,
    NETWORK_ALREADY_CONNECTED, PIF_UNMANAGED, CANNOT_ADD_VLAN_TO_BOND_SLAVE,
    PIF_IS_VLAN, IS_TUNNEL_ACCESS_PIF, NETWORK_INCOMPATIBLE_WITH_VLAN_ON_BRIDGE,
    NETWORK_INCOMPATIBLE_WITH_VLAN_ON_SRIOV, NETWORK_HAS_INCOMPATIBLE_VLAN_ON_SRIOV_PIFS,
    NETWORK_INCOMPATIBLE_WITH_TRUNKS,
    VLAN_TAG_INVALID, PIF_VLAN_EXISTS, VLAN_IN_USE, PIF_CONFIGURATION_ERROR.
    """
    vlan = make(call, tagged_pif, tag, network)
    await plug_pif(call, Ref(call.db.row("VLAN", vlan).untagged_PIF))
    return vlan


def make(call: Call, tagged_pif: Ref, tag: int, network: Ref) -> Ref:
    """Make the records of a VLAN after all checks."""
    pif = call.db.row("PIF", tagged_pif)
    row = call.db.row("network", network)
    call.host(Ref(pif.host))
    check(call, pif, tag, row)
    with call.db.transaction() as tx:
        return make_records(call, tx, pif, tag, network)


def check(call: Call, pif: Row, tag: int, network: Row) -> None:
    """Refuse what cannot be a VLAN, in the real server's order.  Errors: see ``create``."""
    checks.network_is_free(call, network, Ref(pif.host))
    checks.managed(pif)
    if network_config.is_slave(call.db, pif):
        raise err.CANNOT_ADD_VLAN_TO_BOND_SLAVE(pif.ref)
    kind = network_config.kind_of(pif)
    if kind == network_config.VLAN:
        raise err.PIF_IS_VLAN(pif.ref)
    if kind == network_config.TUNNEL:
        raise err.IS_TUNNEL_ACCESS_PIF(pif.ref)
    if kind == network_config.SRIOV:
        checks.only_vlans_on_sriov(call, network)
        checks.same_card(call, network, pif)
    else:
        checks.no_sriov_on(call, network, err.NETWORK_INCOMPATIBLE_WITH_VLAN_ON_BRIDGE)
    if any(call.db.row("VIF", ref).trunks for ref in network.VIFs):
        raise err.NETWORK_INCOMPATIBLE_WITH_TRUNKS(network.ref)
    if not 0 <= tag <= MAX_TAG:
        raise err.VLAN_TAG_INVALID(tag)
    if any(call.db.row("VLAN", ref).tag == tag for ref in pif.VLAN_slave_of):
        raise err.PIF_VLAN_EXISTS(pif.device)


def make_records(call: Call, tx: Transaction, pif: Row, tag: int, network: Ref, **more: Any) -> Ref:
    """Make VLAN and untagged PIF; ``more`` are further fields of the PIF."""
    vlan = tx.create("VLAN", {"tagged_PIF": pif.ref, "tag": tag})
    fields: dict[str, Any] = {
        "device": pif.device,
        "network": network,
        "host": pif.host,
        "MAC": VLAN_MAC,
        "MTU": pif.MTU,
        "VLAN": tag,
        "metrics": pif.metrics,
        "physical": False,
        "currently_attached": False,
        "VLAN_master_of": vlan,
        "bond_slave_of": NULL_REF,
        "IPv6": ("",),
        "primary_address_type": pif.primary_address_type,
    }
    untagged = tx.create("PIF", {**fields, **more})
    tx.set("VLAN", vlan, "untagged_PIF", untagged)
    return vlan


@message("VLAN.destroy")
async def destroy(call: Call, self: Ref) -> None:
    """Take a VLAN down and remove it with its PIF.

    Errors: PIF_ALREADY_BONDED, PIF_IS_MANAGEMENT_INTERFACE, HA_IS_ENABLED,
    PIF_IS_PHYSICAL, VIF_IN_USE, PIF_CONFIGURATION_ERROR.
    """
    row = call.db.row("VLAN", self)
    pif = call.db.find("PIF", row.untagged_PIF)
    if pif is not None:
        checks.not_slave(call, pif)
        checks.clustering_allows(call, pif)
        checks.not_management(pif)
        checks.not_vital(call, pif)
        if pif.physical:
            raise ApiError("PIF_IS_PHYSICAL")
        checks.no_vif_in_use(call, pif)
        await unplug_pif(call, pif)
    with call.db.transaction() as tx:
        delete_records(call, tx, row)


def delete_records(call: Call, tx: Transaction, vlan: Row) -> None:
    """Delete a VLAN and its PIF; the metrics belong to the tagged PIF."""
    pif = call.db.find("PIF", vlan.untagged_PIF)
    if pif is not None:
        delete_pif(call.db, tx, pif, shared_metrics=True)
    tx.delete("VLAN", vlan.ref)


@message("VLAN.pool_introduce")
def pool_introduce(
    call: Call, tagged_pif: Ref, untagged_pif: Ref, tag: int, other_config: dict[str, str]
) -> Ref:
    """Make the record of a VLAN as it is; for joining hosts."""
    with call.db.transaction() as tx:
        vlan = tx.create(
            "VLAN",
            {
                "tagged_PIF": tagged_pif,
                "untagged_PIF": untagged_pif,
                "tag": tag,
                "other_config": other_config,
            },
        )
        if call.db.find("PIF", untagged_pif) is not None:
            tx.set("PIF", untagged_pif, "VLAN_master_of", vlan)
        return vlan


@message("PIF.create_VLAN")
async def create_on_device(call: Call, device: str, network: Ref, host: Ref, tag: int) -> Ref:
    """Make a VLAN on a device of a host and give its PIF.

    Errors: INVALID_VALUE when the host has no such device, those of VLAN.create.
    """
    pif = _device_pif(call, device, host)
    if pif is None:
        raise err.INVALID_VALUE("device", device)
    vlan = await create(call, pif.ref, tag, network)
    return Ref(call.db.row("VLAN", vlan).untagged_PIF)


def _device_pif(call: Call, device: str, host: Ref) -> Row | None:
    for ref in call.db.row("host", host).PIFs:
        pif = call.db.row("PIF", ref)
        if pif.device == device and pif.VLAN == -1:
            return pif
    return None


@message("PIF.destroy")
async def destroy_pif(call: Call, self: Ref) -> None:
    """Remove the VLAN of a PIF.  Errors: PIF_IS_PHYSICAL for others, those of VLAN.destroy."""
    pif = call.db.row("PIF", self)
    if pif.VLAN_master_of in ("", NULL_REF):
        raise ApiError("PIF_IS_PHYSICAL")
    await destroy(call, Ref(pif.VLAN_master_of))


@message("pool.create_VLAN")
async def pool_create_vlan(call: Call, device: str, network: Ref, tag: int) -> tuple[Ref, ...]:
    """Make a VLAN on the device of that name of every host.

    Errors: INVALID_VALUE when a host has no such device, those of VLAN.create.
    """
    pifs: list[Row] = []
    for gateway in call.toolstack.hosts.live():
        pif = _device_pif(call, device, gateway.host)
        if pif is None:
            raise err.INVALID_VALUE("device", device)
        pifs.append(pif)
    call.db.row("network", network)
    return await _on_all(call, pifs, network, tag)


@message("pool.create_VLAN_from_PIF")
async def pool_create_vlan_from_pif(
    call: Call, pif: Ref, network: Ref, tag: int
) -> tuple[Ref, ...]:
    """Make a VLAN on every live host that has a PIF on the same network as ``pif``.

    All of them or none.  Errors: those of VLAN.create.
    """
    row = call.db.row("PIF", pif)
    call.db.row("network", network)
    live = {gateway.host for gateway in call.toolstack.hosts.live()}
    below = call.db.row("network", row.network)
    pifs = [p for ref in below.PIFs if (p := call.db.row("PIF", ref)).host in live]
    return await _on_all(call, pifs, network, tag)


async def _on_all(call: Call, pifs: list[Row], network: Ref, tag: int) -> tuple[Ref, ...]:
    """Make all records in one transaction, then bring up what can be brought up."""
    row = call.db.row("network", network)
    untagged: list[Ref] = []
    for pif in pifs:
        check(call, pif, tag, row)
    with call.db.transaction() as tx:
        for pif in pifs:
            vlan = make_records(call, tx, pif, tag, network)
            untagged.append(Ref(call.db.row("VLAN", vlan).untagged_PIF))
    for made in untagged:
        try:
            await plug_pif(call, made)
        except ApiError as problem:
            if problem.code == "VLAN_IN_USE":
                await _remove_all(call, untagged)
                raise
    return tuple(untagged)


async def _remove_all(call: Call, untagged: list[Ref]) -> None:
    for ref in untagged:
        await destroy(call, Ref(call.db.row("PIF", ref).VLAN_master_of))

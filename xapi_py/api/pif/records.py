"""PIFs come and go: scanning for NICs, introducing, forgetting."""

from collections.abc import Mapping
from typing import Any

from xapi_py.api import host_network
from xapi_py.api.call import Call
from xapi_py.api.pif import checks
from xapi_py.api.pif.plug import unplug_pif
from xapi_py.api.registry import message
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import defaults
from xapi_py.datamodel import errors as err
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.db.transaction import Transaction
from xapi_py.plan.mac import is_mac
from xapi_py.pool.network_records import Link, delete_pif, metrics_fields


@message("PIF.scan")
async def scan(call: Call, host: Ref) -> None:
    """Make PIFs for NICs that have none.  Errors: HOST_OFFLINE."""
    links = await host_network.links_of(call, host)
    with call.db.transaction() as tx:
        add_missing(call, tx, host, links)


def add_missing(call: Call, tx: Transaction, host: Ref, links: Mapping[str, Link]) -> list[Ref]:
    """Make PIFs for the NICs of a host that have none."""
    db = call.db
    known = {
        pif.device for ref in db.row("host", host).PIFs if (pif := db.row("PIF", ref)).physical
    }
    nics = [link for link in links.values() if link["kind"] == "nic"]
    made: list[Ref] = []
    for position, link in enumerate(nics):
        if link["name"] not in known:
            made.append(_add_nic(call, tx, host, link, position))
    return made


def _add_nic(
    call: Call, tx: Transaction, host: Ref, link: Link, position: int, *, managed: bool = True
) -> Ref:
    device = link["name"]
    network = _device_network(call, tx, device, position)
    metrics = tx.create("PIF_metrics", {**metrics_fields(link), "last_updated": call.now()})
    fields: dict[str, Any] = {
        **defaults.PIF,
        "device": device,
        "network": network,
        "host": host,
        "MAC": link["mac"],
        "MTU": link["mtu"],
        "VLAN": -1,
        "metrics": metrics,
        "physical": True,
        "managed": managed,
        "currently_attached": False,
        "capabilities": tuple(link["capabilities"]),
        "properties": {"gro": "on"},
        "bond_slave_of": NULL_REF,
        "VLAN_master_of": NULL_REF,
    }
    return tx.create("PIF", fields)


def _device_network(call: Call, tx: Transaction, device: str, position: int) -> Ref:
    """Find the network of a NIC by the name of its bridge, or make it."""
    fields = defaults.device_network(device, call.model.profile, position)
    for row in call.db.rows("network"):
        if row.bridge == fields["bridge"]:
            return row.ref
    return tx.create("network", fields)


@message("PIF.introduce")
async def introduce(call: Call, host: Ref, mac: str, device: str, managed: bool) -> Ref:
    """Make the PIF of one NIC; an empty MAC is looked up.

    Errors: HOST_OFFLINE, MAC_INVALID, DUPLICATE_PIF_DEVICE_NAME,
    COULD_NOT_FIND_NETWORK_INTERFACE_WITH_SPECIFIED_DEVICE_NAME_AND_MAC_ADDRESS.
    """
    call.host(host)
    wanted = mac.lower()
    if wanted and not is_mac(wanted):
        raise err.MAC_INVALID(mac)
    for ref in call.db.row("host", host).PIFs:
        if call.db.row("PIF", ref).device == device:
            raise err.DUPLICATE_PIF_DEVICE_NAME(device)
    links = await host_network.links_of(call, host)
    names = [name for name, link in links.items() if link["kind"] == "nic"]
    if device not in names or wanted not in ("", links[device]["mac"]):
        code = err.COULD_NOT_FIND_NETWORK_INTERFACE_WITH_SPECIFIED_DEVICE_NAME_AND_MAC_ADDRESS
        raise code(device, mac)
    with call.db.transaction() as tx:
        position = names.index(device)
        return _add_nic(call, tx, host, links[device], position, managed=managed)


@message("PIF.forget")
async def forget(call: Call, self: Ref) -> None:
    """Take a NIC down and delete its PIF.

    Errors: CLUSTERING_ENABLED, PIF_IS_MANAGEMENT_INTERFACE, PIF_ALREADY_BONDED,
    PIF_VLAN_STILL_EXISTS, PIF_TUNNEL_STILL_EXISTS, CANNOT_FORGET_SRIOV_LOGICAL,
    PIF_SRIOV_STILL_EXISTS, HA_IS_ENABLED, VIF_IN_USE.
    """
    row = call.db.row("PIF", self)
    checks.clustering_allows(call, row)
    checks.not_management(row)
    checks.not_slave(call, row)
    checks.no_vlans(row)
    checks.no_tunnels(row)
    checks.no_sriov(row)
    checks.not_vital(call, row)
    checks.no_vif_in_use(call, row)
    if row.currently_attached:
        await unplug_pif(call, row)
    db_forget(call, self)


@message("PIF.db_forget")
def db_forget(call: Call, self: Ref) -> None:
    """Delete a PIF's record and metrics, nothing else."""
    row = call.db.row("PIF", self)
    with call.db.transaction() as tx:
        delete_pif(call.db, tx, row)


@message("PIF.pool_introduce")
def pool_introduce(call: Call, *arguments: Any) -> Ref:
    """Make the record of a PIF as it is; for joining hosts."""
    introduced: Ref = db_introduce(call, *arguments)
    return introduced


_INTRODUCED = (
    "device", "network", "host", "MAC", "MTU", "VLAN", "physical", "ip_configuration_mode", "IP",
    "netmask", "gateway", "DNS", "bond_slave_of", "VLAN_master_of", "management", "other_config",
    "disallow_unplug", "ipv6_configuration_mode", "IPv6", "ipv6_gateway", "primary_address_type",
    "managed", "properties",
)  # fmt: skip


@message("PIF.db_introduce")
def db_introduce(call: Call, *arguments: Any) -> Ref:
    """Make the record of a PIF that is not up, with metrics, nothing else."""
    fields = dict(zip(_INTRODUCED, arguments, strict=False))
    for name in ("bond_slave_of", "VLAN_master_of"):
        fields[name] = fields[name] or NULL_REF
    with call.db.transaction() as tx:
        metrics = tx.create("PIF_metrics", {"pci_bus_path": "N/A"})
        return tx.create("PIF", {**fields, "metrics": metrics, "currently_attached": False})


def management_pif(db: Database, host: Ref) -> Row | None:
    """Find the management PIF of a host."""
    for ref in db.row("host", host).PIFs:
        pif = db.row("PIF", ref)
        if pif.management:
            return pif
    return None

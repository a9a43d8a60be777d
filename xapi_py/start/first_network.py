"""The records of the network that the daemon had before there were any.

That is what the installer, or a reset by the administrator, set up: the management
interface, which may be a NIC, a bond, or a VLAN on either.
"""

from collections.abc import Mapping
from typing import Any

from xapi_py.api.bond.create import free_device
from xapi_py.api.call import Call
from xapi_py.api.network import new_bridge_name
from xapi_py.api.vlan import make_records
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import defaults
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.db.transaction import Transaction
from xapi_py.plan import bond as bond_plan
from xapi_py.plan import network_config
from xapi_py.pool.network_records import delete_pif

Json = Mapping[str, Any]


def forget(db: Database, tx: Transaction, host: Ref) -> None:
    """Delete everything the records say of a host's interfaces; networks stay."""
    pifs = [db.row("PIF", ref) for ref in db.row("host", host).PIFs]
    upper = (
        ("Bond", "bond_master_of"),
        ("VLAN", "VLAN_slave_of"),
        ("tunnel", "tunnel_access_PIF_of"),
        ("network_sriov", "sriov_logical_PIF_of"),
    )
    for cls, field in upper:
        for ref in {ref for pif in pifs for ref in getattr(pif, field)}:
            tx.delete(cls, ref)
    for pif in pifs:
        delete_pif(db, tx, pif)


def adopt(call: Call, tx: Transaction, host: Ref, document: Json) -> None:
    """Make bond and VLAN of the daemon's management interface and mark it.

    The NICs have their PIFs.  Without any address the first NIC becomes the management
    interface; without NICs there is none.
    """
    db = call.db
    pifs = [db.row("PIF", ref) for ref in db.row("host", host).PIFs]
    if not pifs:
        return
    name = _chosen(document)
    chosen = None if name is None else _pif_of(call, tx, pifs, document, name)
    if chosen is None:
        chosen = min(pifs, key=lambda pif: (len(pif.device), pif.device))
        name = str(db.row("network", chosen.network).bridge)
    fields = addresses(document["interface_config"].get(name, {}))
    tx.update("PIF", chosen.ref, **fields, management=True)


def _chosen(document: Json) -> str | None:
    """The interface with an address; the one with the default route before others."""
    interfaces = document["interface_config"]
    names = [document.get("gateway_interface"), *document["bridge_config"]]
    return next((n for n in names if n in interfaces and addresses(interfaces[n])), None)


def _pif_of(call: Call, tx: Transaction, nics: list[Row], document: Json, name: str) -> Row | None:
    """Find or make the PIF of a bridge of the daemon's."""
    bridge = document["bridge_config"].get(name)
    if bridge is None:
        return None
    if bridge["vlan"]:
        below = _pif_of(call, tx, nics, document, bridge["vlan"][0])
        if below is None:
            return None
        network = _network(call, tx, f"VLAN {bridge['vlan'][1]}", new_bridge_name(call.db))
        vlan = call.db.row("VLAN", make_records(call, tx, below, bridge["vlan"][1], network))
        return call.db.row("PIF", Ref(vlan.untagged_PIF))
    members = [
        nic for port in bridge["ports"].values() for nic in nics if nic.device in port["interfaces"]
    ]
    if len(members) < 2:
        return members[0] if members else None
    (port,) = (p for p in bridge["ports"].values() if len(p["interfaces"]) > 1)
    return _bond(call, tx, members, name, port)


def _network(call: Call, tx: Transaction, label: str, bridge: str) -> Ref:
    found = next((Ref(r.ref) for r in call.db.rows("network") if r.bridge == bridge), None)
    return found or tx.create("network", {"name_label": label, "bridge": bridge, "MTU": 1500})


def _bond(call: Call, tx: Transaction, members: list[Row], bridge: str, port: Json) -> Row:
    host, first = Ref(members[0].host), members[0]
    label = "Bond " + "+".join(sorted(member.device for member in members))
    mode = dict(port["bond_properties"]).get("mode", "balance-slb")
    fields = {
        **defaults.PIF,
        "device": free_device(call, host),
        "network": _network(call, tx, label, bridge),
        "host": host,
        "MAC": port["bond_mac"] or first.MAC,
        "MTU": -1,
        "VLAN": -1,
        "metrics": tx.create("PIF_metrics", {"pci_bus_path": "N/A"}),
        "physical": False,
        "currently_attached": False,
        "properties": dict(first.properties),
        "bond_slave_of": NULL_REF,
        "VLAN_master_of": NULL_REF,
    }
    master = tx.create("PIF", fields)
    bond = {"primary_slave": first.ref, "mode": mode, "properties": bond_plan.checked(mode, {})}
    made = tx.create("Bond", {"master": master, **bond, "auto_update_mac": True})
    for member in members:
        tx.set("PIF", member.ref, "bond_slave_of", made)
    return call.db.row("PIF", master)


def addresses(config: Json) -> dict[str, Any]:
    """Give the fields of a PIF for what the daemon has for its bridge; none without address."""
    found: dict[str, Any] = {}
    mode, *given = config.get("ipv4_conf") or ["None4"]
    if mode == "DHCP4":
        found["ip_configuration_mode"] = "DHCP"
    elif mode == "Static4":
        address, length = given[0][0]
        found |= {
            "ip_configuration_mode": "Static",
            "IP": address,
            "netmask": network_config.netmask(length),
            "gateway": config.get("ipv4_gateway") or "",
            "DNS": ",".join((config.get("dns") or [[]])[0]),
        }
    return found | _ipv6(config, alone=not found)


def _ipv6(config: Json, *, alone: bool) -> dict[str, Any]:
    mode, *given = config.get("ipv6_conf") or ["None6"]
    words = {"DHCP6": "DHCP", "Autoconf6": "Autoconf", "Static6": "Static"}
    if mode not in words:
        return {}
    found: dict[str, Any] = {"ipv6_configuration_mode": words[mode]}
    if mode == "Static6":
        found["IPv6"] = tuple(f"{address}/{length}" for address, length in given[0])
        found["ipv6_gateway"] = config.get("ipv6_gateway") or ""
    if alone:
        found["primary_address_type"] = "IPv6"
    return found

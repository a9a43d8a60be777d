"""What the network daemon says about devices, written into PIFs and their metrics."""

from collections.abc import Iterable, Mapping
from typing import Any

from xapi_py.base.names import Ref
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.db.transaction import Transaction
from xapi_py.plan import network_config

Link = Mapping[str, Any]
Links = Mapping[str, Link]


def by_name(links: Iterable[Link]) -> dict[str, Link]:
    """Index the answer of ``Interface.scan``."""
    return {link["name"]: link for link in links}


def metrics_fields(link: Link) -> dict[str, Any]:
    """Give the fields of PIF_metrics for a device."""
    return {
        "carrier": link["carrier"],
        "speed": max(0, link["speed_mbps"]),
        "duplex": link["duplex"] == "full",
        "pci_bus_path": link["pci_bus_path"] or "N/A",
        "vendor_name": link["vendor"],
        "device_name": link["product"],
    }


def refresh(db: Database, host: Ref, links: Links, now: int) -> list[tuple[Row, int]]:
    """Write carrier, speed, leased addresses and bond states of a host's devices.

    Only what changed is written.  Gives the bonds whose number of good links
    changed, each with the number before.
    """
    row = db.find("host", host)
    if row is None:
        return []
    changed: list[tuple[Row, int]] = []
    with db.transaction() as tx:
        for ref in tuple(row.PIFs):
            pif = db.row("PIF", ref)
            kind = network_config.kind_of(pif)
            link = links.get(pif.device)
            if link is not None and kind in (network_config.PHYSICAL, network_config.BOND):
                _put_metrics(db, tx, pif, link, now)
                tx.set("PIF", ref, "capabilities", tuple(link["capabilities"]))
                _put_functions(db, tx, pif, link)
            if link is not None and kind == network_config.BOND:
                changed += _put_bond(db, tx, pif, link)
            _put_addresses(db, tx, pif, links)
    return changed


def _put_metrics(db: Database, tx: Transaction, pif: Row, link: Link, now: int) -> None:
    fields = metrics_fields(link)
    metrics = db.find("PIF_metrics", pif.metrics)
    if metrics is None:
        made = tx.create("PIF_metrics", {**fields, "last_updated": now})
        tx.set("PIF", pif.ref, "metrics", made)
    elif any(getattr(metrics, name) != value for name, value in fields.items()):
        tx.update("PIF_metrics", metrics.ref, **fields, last_updated=now)


def _put_functions(db: Database, tx: Transaction, pif: Row, link: Link) -> None:
    """Note which PCI device a NIC is, and make records of the virtual functions it shows."""
    on_host = {row.pci_id: row for row in db.rows("PCI") if row.host == pif.host}
    shown = link.get("virtual_functions", ())
    card = on_host.get(link["pci_bus_path"])
    if card is None and shown:
        card = db.row("PCI", _make_pci(tx, pif, link, link["pci_bus_path"], link["product"]))
    if card is None:
        return
    tx.set("PIF", pif.ref, "PCI", card.ref)
    for address in shown:
        if address not in on_host:
            made = _make_pci(tx, pif, link, address, f"{link['product']} Virtual Function")
            tx.set("PCI", made, "physical_function", card.ref)
    for ref in tuple(card.virtual_functions):
        if db.row("PCI", ref).pci_id not in shown:
            tx.delete("PCI", ref)


def _make_pci(tx: Transaction, pif: Row, link: Link, address: str, name: str) -> Ref:
    names = {"class_id": "0200", "class_name": "Ethernet controller", "device_name": name}
    fields = {"host": pif.host, "pci_id": address, "functions": 1, "vendor_name": link["vendor"]}
    return tx.create("PCI", {**names, **fields})


def _put_bond(db: Database, tx: Transaction, pif: Row, link: Link) -> list[tuple[Row, int]]:
    changed: list[tuple[Row, int]] = []
    for ref in pif.bond_master_of:
        bond = db.row("Bond", ref)
        before = bond.links_up
        if before != link["links_up"]:
            tx.set("Bond", ref, "links_up", link["links_up"])
            changed.append((bond, before))
    return changed


def _put_addresses(db: Database, tx: Transaction, pif: Row, links: Links) -> None:
    """Write what DHCP gave to a PIF that is up."""
    network = db.find("network", pif.network)
    link = links.get(network.bridge) if network is not None else None
    if link is None or not pif.currently_attached:
        return
    if pif.ip_configuration_mode == "DHCP":
        address, length = link["ipv4"][0] if link["ipv4"] else ("", None)
        tx.update(
            "PIF",
            pif.ref,
            IP=address,
            netmask="" if length is None else network_config.netmask(length),
            gateway=link["ipv4_gateway"] or "",
            DNS=",".join(link["name_servers"]),
        )
    if pif.ipv6_configuration_mode in ("DHCP", "Autoconf"):
        addresses = tuple(f"{a}/{n}" for a, n in link["ipv6"])
        tx.update("PIF", pif.ref, IPv6=addresses, ipv6_gateway=link["ipv6_gateway"] or "")


def delete_pif(db: Database, tx: Transaction, pif: Row, *, shared_metrics: bool = False) -> None:
    """Delete a PIF's row, and its metrics unless another PIF owns them."""
    metrics = db.find("PIF_metrics", pif.metrics)
    if metrics is not None and not shared_metrics:
        tx.delete("PIF_metrics", metrics.ref)
    tx.delete("PIF", pif.ref)

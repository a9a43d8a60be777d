"""What moves along when NICs become a bond or a bond becomes NICs again.

Addresses, the management mark, VLANs, tunnels and the VIFs of the host's VMs
go from PIFs to another PIF, all in one transaction.
"""

import logging
from collections.abc import Iterable

from xapi_py.api.call import Call
from xapi_py.api.registry import HANDLERS
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.db.schema import MANY
from xapi_py.db.transaction import Transaction
from xapi_py.plan.bond import IP_FIELDS, NO_IP

log = logging.getLogger(__name__)

LiveMove = tuple[Ref, Ref]
"""A plugged VIF and the network it is to be on: its domain must hear of it."""


def move_address(tx: Transaction, source: Row, target: Row) -> None:
    """Move address, management mark and protection from one PIF to another."""
    fields = {name: getattr(source, name) for name in (*IP_FIELDS, "primary_address_type")}
    tx.update(
        "PIF",
        target.ref,
        **fields,
        management=source.management,
        disallow_unplug=source.disallow_unplug,
    )
    tx.update("PIF", source.ref, **NO_IP, management=False, disallow_unplug=False)


def move_vlans(call: Call, tx: Transaction, sources: Iterable[Row], target: Row) -> list[LiveMove]:
    """Put the VLANs of PIFs on another PIF; gives the VIFs that are still to be moved.

    A tag the target has already loses its duplicate: VIFs go to the network
    of the one that stays.
    """
    db = call.db
    live: list[LiveMove] = []
    tags = {db.row("VLAN", ref).tag: ref for ref in target.VLAN_slave_of}
    for source in sources:
        for ref in tuple(source.VLAN_slave_of):
            vlan = db.row("VLAN", ref)
            untagged = db.row("PIF", vlan.untagged_PIF)
            there = tags.setdefault(vlan.tag, ref)
            if there == ref:
                tx.set("VLAN", ref, "tagged_PIF", target.ref)
                tx.update("PIF", untagged.ref, device=target.device, metrics=target.metrics)
                continue
            staying = db.row("PIF", db.row("VLAN", there).untagged_PIF)
            networks = Ref(untagged.network), Ref(staying.network)
            live += move_vifs(call, tx, *networks, Ref(source.host))
            tx.delete("PIF", untagged.ref)
            tx.delete("VLAN", ref)
    return live


def move_tunnels(tx: Transaction, sources: Iterable[Row], target: Row) -> None:
    """Put the tunnels through PIFs on another PIF."""
    for source in sources:
        for ref in tuple(source.tunnel_transport_PIF_of):
            tx.set("tunnel", ref, "transport_PIF", target.ref)


def move_vifs(call: Call, tx: Transaction, source: Ref, target: Ref, host: Ref) -> list[LiveMove]:
    """Move the VIFs of a host's VMs from one network to another.

    Plugged ones stay and are given back: move them when the network is there.
    """
    live: list[LiveMove] = []
    for ref in tuple(call.db.row("network", source).VIFs):
        vif = call.db.row("VIF", ref)
        vm = call.db.find("VM", vif.VM)
        if vm is None or not is_local(call.db, vm, host):
            continue
        if vif.currently_attached:
            live.append((ref, target))
        else:
            tx.set("VIF", ref, "network", target)
    return live


async def move_live(call: Call, moves: Iterable[LiveMove]) -> None:
    """Move plugged VIFs; one that cannot be moved is logged and stays."""
    for vif, network in moves:
        if call.db.find("VIF", vif) is None:
            continue
        try:
            await HANDLERS["VIF.move"].handler(call, vif, network)
        except ApiError as problem:
            log.warning("VIF %s is not moved: %s", vif, problem.description)


def is_local(db: Database, vm: Row, host: Ref) -> bool:
    """Tell whether a VM belongs to a host: it runs there, or can start only there."""
    if vm.resident_on != NULL_REF:
        return bool(vm.resident_on == host)
    if db.count("host") == 1:
        return True
    for ref in vm.VBDs:
        vdi = db.find("VDI", db.row("VBD", ref).VDI)
        sr = None if vdi is None else db.find("SR", vdi.SR)
        if sr is not None and not sr.shared:
            return any(db.row("PBD", pbd).host == host for pbd in sr.PBDs)
    return bool(vm.affinity == host)


class Saved:
    """Rows as they were before a change, to put them back as they were."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._rows: dict[tuple[str, Ref], dict[str, object]] = {}

    def save(self, cls: str, refs: Iterable[str]) -> None:
        """Remember rows of a class."""
        columns = self._db.tables[cls].columns
        singles = [name for name, c in columns.items() if not c.derived and c.kind != MANY]
        for ref in refs:
            row = self._db.row(cls, ref)
            self._rows[cls, Ref(ref)] = {name: getattr(row, name) for name in singles}

    def restore(self, tx: Transaction) -> None:
        """Put all rows back, deleted ones too."""
        for (cls, ref), fields in self._rows.items():
            if self._db.find(cls, ref) is None:
                tx.create(cls, {**fields, "ref": ref})
            else:
                tx.update(cls, ref, **{k: v for k, v in fields.items() if k != "uuid"})

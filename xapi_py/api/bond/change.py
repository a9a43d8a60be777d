"""Removing bonds and changing how they work."""

from xapi_py.api import host_network
from xapi_py.api.bond.checks import check_management, master_of
from xapi_py.api.bond.create import saved_network
from xapi_py.api.bond.moving import (
    LiveMove,
    Saved,
    move_address,
    move_live,
    move_tunnels,
    move_vifs,
    move_vlans,
)
from xapi_py.api.call import Call
from xapi_py.api.pif import checks
from xapi_py.api.registry import message
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.db.row import Row
from xapi_py.db.transaction import Transaction
from xapi_py.plan import bond as bond_plan
from xapi_py.pool.network_records import delete_pif


@message("Bond.destroy")
async def destroy(call: Call, self: Ref) -> None:
    """Undo a bond: everything on it moves to its primary member.

    All of it is done or nothing.  Errors: CLUSTERING_ENABLED,
    HA_CANNOT_CHANGE_BOND_STATUS_OF_MGMT_IFACE, PIF_CONFIGURATION_ERROR.
    """
    row = call.db.row("Bond", self)
    master = master_of(call, row)
    checks.clustering_allows(call, master)
    check_management(call, master)
    parting = _Parting(call, row, master)
    host = Ref(master.host)
    await host_network.change_records(call, host, parting.edit, parting.up, parting.primary.ref)
    await move_live(call, parting.live)


class _Parting:
    """One bond being removed: its records, and how to put them back."""

    def __init__(self, call: Call, bond: Row, master: Row) -> None:
        self._call = call
        self._bond = bond
        self._master = master
        self._members = [call.db.row("PIF", ref) for ref in bond.slaves]
        primary = call.db.find("PIF", bond.primary_slave)
        self.primary = primary or bond_plan.primary_of(self._members)
        self._was_up = master.currently_attached
        self.live: list[LiveMove] = []

    def up(self, up: set[Ref]) -> set[Ref]:
        """The members are up if the bond was; VLANs that were up stay up."""
        there = {ref for ref in up if self._call.db.find("PIF", ref) is not None}
        members = {m.ref for m in self._members} if self._was_up else set()
        return there | members

    def edit(self, tx: Transaction) -> host_network.Edit:
        """Move everything to the primary member and delete the bond."""
        call, host = self._call, Ref(self._master.host)
        saved = saved_network(call, host)
        saved.save("Bond", [self._bond.ref])
        saved.save("PIF_metrics", [self._master.metrics])
        move_address(tx, self._master, self.primary)
        self.live = move_vlans(call, tx, [self._master], self.primary)
        move_tunnels(tx, [self._master], self.primary)
        networks = Ref(self._master.network), Ref(self.primary.network)
        self.live += move_vifs(call, tx, *networks, host)
        for member in self._members:
            tx.set("PIF", member.ref, "bond_slave_of", NULL_REF)
        delete_pif(call.db, tx, self._master)
        tx.delete("Bond", self._bond.ref)
        return lambda undo: _put_back(undo, saved)


def _put_back(tx: Transaction, saved: Saved) -> None:
    saved.restore(tx)


@message("Bond.set_mode")
async def set_mode(call: Call, self: Ref, value: str) -> None:
    """Change how the members share the traffic; options that do not fit are dropped.

    Errors: PIF_CONFIGURATION_ERROR; then the mode stays.
    """
    row = call.db.row("Bond", self)
    properties = bond_plan.kept(value, row.properties)
    await _change(call, row, {"mode": value, "properties": properties})


@message("Bond.set_property")
async def set_property(call: Call, self: Ref, name: str, value: str) -> None:
    """Set one option of a bond.  Errors: INVALID_VALUE, PIF_CONFIGURATION_ERROR."""
    row = call.db.row("Bond", self)
    properties = bond_plan.checked(row.mode, {**row.properties, name: value})
    await _change(call, row, {"properties": properties})


async def _change(call: Call, bond: Row, fields: dict[str, object]) -> None:
    """Write fields of a bond and make them so, if it is up; both or nothing."""
    before = {name: getattr(bond, name) for name in fields}
    master = master_of(call, bond)

    def edit(tx: Transaction) -> host_network.Edit:
        tx.update("Bond", bond.ref, **fields)
        return lambda undo: undo.update("Bond", bond.ref, **before)

    if not master.currently_attached:
        with call.db.transaction() as tx:
            edit(tx)
        return
    await host_network.change_records(call, Ref(master.host), edit, lambda up: up, master.ref)

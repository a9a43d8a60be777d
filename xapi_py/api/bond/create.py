"""Making a bond of NICs."""

from typing import Any

from xapi_py.api import host_network
from xapi_py.api.bond.checks import check_members, check_size
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
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.transaction import Transaction
from xapi_py.plan import bond as bond_plan
from xapi_py.plan.mac import is_mac
from xapi_py.pool.network_records import delete_pif


@message("Bond.create")
async def create(
    call: Call,
    network: Ref,
    members: tuple[Ref, ...],
    mac: str,
    mode: str,
    properties: dict[str, str],
) -> Ref:
    """Bond NICs of one host and bring the bond up.

    Address, management, VLANs, tunnels and VIFs move from the members to the
    bond.  All of it is done or nothing.  Errors: see ``check_members``,
    NETWORK_UNMANAGED, NETWORK_ALREADY_CONNECTED, MAC_INVALID, INVALID_VALUE,
    PIF_BOND_NEEDS_MORE_MEMBERS, PIF_CONFIGURATION_ERROR; OPERATION_NOT_ALLOWED for more NICs
    than the network backend is made for, but for bonds a joining host takes over.
    """
    refs = tuple(dict.fromkeys(members))
    if not refs:
        raise err.PIF_BOND_NEEDS_MORE_MEMBERS()
    pifs = [call.db.row("PIF", ref) for ref in refs]
    host = Ref(pifs[0].host)
    row = call.db.row("network", network)
    checks.network_is_free(call, row, host)
    checks.no_sriov_on(call, row, err.NETWORK_INCOMPATIBLE_WITH_BOND)
    if mac and not is_mac(mac):
        raise err.MAC_INVALID(mac)
    options = bond_plan.checked(mode, properties)
    check_members(call, pifs)
    if not call.session.is_pool:
        check_size(call, pifs)
    making = _Making(call, row, pifs, mac.lower(), mode, options)
    await host_network.change_records(call, host, making.edit, making.up, making.primary.ref)
    await move_live(call, making.live)
    return making.bond


class _Making:
    """One bond being made: its records, and how to take them back."""

    def __init__(
        self,
        call: Call,
        network: Row,
        members: list[Row],
        mac: str,
        mode: str,
        properties: dict[str, str],
    ) -> None:
        self._call = call
        self._network = network
        self._members = members
        self._mac = mac
        self._mode = mode
        self._properties = properties
        self.primary = bond_plan.primary_of(members)
        self.bond = NULL_REF
        self.master = NULL_REF
        self.live: list[LiveMove] = []

    def up(self, up: set[Ref]) -> set[Ref]:
        """The bond is up, its members are not; VLANs that were up stay up."""
        db = self._call.db
        there = {ref for ref in up if db.find("PIF", ref) is not None}
        return (there - {m.ref for m in self._members}) | {self.master}

    def edit(self, tx: Transaction) -> host_network.Edit:
        """Make the records and move everything to the bond."""
        call, host = self._call, Ref(self.primary.host)
        saved = self._saved(host)
        self.master = self._make_master(tx, host)
        self.bond = tx.create(
            "Bond",
            {
                "master": self.master,
                "primary_slave": self.primary.ref,
                "mode": self._mode,
                "properties": self._properties,
                "auto_update_mac": not self._mac,
            },
        )
        for member in self._members:
            tx.update("PIF", member.ref, bond_slave_of=self.bond)
        master = call.db.row("PIF", self.master)
        move_address(tx, self.primary, master)
        if any(m.disallow_unplug for m in self._members):
            tx.set("PIF", self.master, "disallow_unplug", True)
        self.live = move_vlans(call, tx, self._members, master)
        move_tunnels(tx, self._members, master)
        for member in self._members:
            networks = Ref(member.network), self._network.ref
            self.live += move_vifs(call, tx, *networks, host)
            self._same_mtu(tx, member)
        return lambda undo: self._take_back(undo, saved)

    def _make_master(self, tx: Transaction, host: Ref) -> Ref:
        fields: dict[str, Any] = {
            "device": free_device(self._call, host),
            "network": self._network.ref,
            "host": host,
            "MAC": self._mac or self.primary.MAC,
            "MTU": -1,
            "VLAN": -1,
            "metrics": tx.create("PIF_metrics", {"pci_bus_path": "N/A"}),
            "physical": False,
            "currently_attached": False,
            "properties": dict(self.primary.properties),
            "bond_slave_of": NULL_REF,
            "VLAN_master_of": NULL_REF,
            "IPv6": ("",),
        }
        return tx.create("PIF", fields)

    def _same_mtu(self, tx: Transaction, member: Row) -> None:
        """Give a member's network the MTU of the bond's."""
        if self._call.db.find("network", member.network) is not None:
            tx.set("network", member.network, "MTU", self._network.MTU)

    def _saved(self, host: Ref) -> Saved:
        return saved_network(self._call, host)

    def _take_back(self, tx: Transaction, saved: Saved) -> None:
        db = self._call.db
        for member in self._members:
            tx.set("PIF", member.ref, "bond_slave_of", NULL_REF)
        saved.restore(tx)
        delete_pif(db, tx, db.row("PIF", self.master))
        tx.delete("Bond", self.bond)


def saved_network(call: Call, host: Ref) -> Saved:
    """Remember all a change of bonds may touch."""
    db = call.db
    pifs = [db.row("PIF", ref) for ref in db.row("host", host).PIFs]
    networks = {p.network for p in pifs if db.find("network", p.network) is not None}
    saved = Saved(db)
    saved.save("network", networks)
    saved.save("PIF", (p.ref for p in pifs))
    saved.save("VLAN", {ref for p in pifs for ref in p.VLAN_slave_of})
    saved.save("tunnel", {ref for p in pifs for ref in p.tunnel_transport_PIF_of})
    saved.save("VIF", {ref for n in networks for ref in db.row("network", n).VIFs})
    return saved


def free_device(call: Call, host: Ref) -> str:
    """Give the first of bond0, bond1... that the host has not."""
    taken = {call.db.row("PIF", ref).device for ref in call.db.row("host", host).PIFs}
    number = 0
    while f"bond{number}" in taken:
        number += 1
    return f"bond{number}"

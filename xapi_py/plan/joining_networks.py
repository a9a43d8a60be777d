"""What a host that joins a pool takes over of the pool's networks.  Pure.

Source: brief NETWORK 21.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xapi_py.base.names import NULL_REF, Ref
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan import network_config


@dataclass(frozen=True, slots=True)
class NewBond:
    """A bond to make: members by device name, the primary one first."""

    network: Ref
    devices: tuple[str, ...]
    mode: str
    properties: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class NewVlan:
    """A VLAN to make on the host's PIF of a network, which may be a bond made before."""

    network: Ref
    below: Ref
    tag: int


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Bonds to remove (of other members than the master's), bonds and VLANs to make, in order."""

    obsolete_bonds: tuple[Ref, ...]
    bonds: tuple[NewBond, ...]
    vlans: tuple[NewVlan, ...]

    @property
    def nothing(self) -> bool:
        return not (self.obsolete_bonds or self.bonds or self.vlans)


def take_over(view: View, master: Row, host: Row) -> TakeOver:
    """Compare a host with the master; nothing is left when it has everything.

    Bonds of the master are matched by device name; a host with only some of the members gets a
    bond of those, one with none gets none.  VLANs follow where the host has a PIF on the network
    below, unless its ``other_config:sync_vlans`` is ``nosync``.
    """
    obsolete: list[Ref] = []
    bonds: list[NewBond] = []
    for bond in bonds_of(view, master):
        wanted = _bond(view, bond, host)
        if wanted is None:
            continue
        there = _bond_on(view, host, wanted.network)
        if there is not None and set(_devices(view, there)) == set(wanted.devices):
            continue
        if there is not None:
            obsolete.append(Ref(there.ref))
        bonds.append(wanted)
    below = {_pif_network(view, ref) for ref in host.PIFs} | {bond.network for bond in bonds}
    vlans = () if host.other_config.get("sync_vlans") == "nosync" else _vlans(view, master, host)
    return TakeOver(tuple(obsolete), tuple(bonds), tuple(v for v in vlans if v.below in below))


def bonds_of(view: View, host: Row) -> Iterator[Row]:
    """The bonds of a host in the order of their names."""
    masters = sorted((view.row("PIF", ref) for ref in host.PIFs), key=lambda pif: str(pif.device))
    for pif in masters:
        for ref in pif.bond_master_of:
            yield view.row("Bond", ref)


def _devices(view: View, bond: Row) -> list[str]:
    return [pif.device for pif in network_config.slaves_of(view, view.row("PIF", bond.master))]


def _bond(view: View, bond: Row, host: Row) -> NewBond | None:
    """The host's counterpart of a bond; None when it has none of the members."""
    cards = {pif.device for ref in host.PIFs if (pif := view.row("PIF", ref)).physical}
    devices = tuple(device for device in _devices(view, bond) if device in cards)
    if not devices:
        return None
    network = Ref(view.row("PIF", bond.master).network)
    return NewBond(network, devices, bond.mode, tuple(sorted(bond.properties.items())))


def _bond_on(view: View, host: Row, network: Ref) -> Row | None:
    found = (b for b in bonds_of(view, host) if view.row("PIF", b.master).network == network)
    return next(found, None)


def _pif_network(view: View, pif: str) -> Ref:
    return Ref(view.row("PIF", pif).network)


def _vlans(view: View, master: Row, host: Row) -> Iterable[NewVlan]:
    connected = {_pif_network(view, ref) for ref in host.PIFs}
    for ref in master.PIFs:
        pif = view.row("PIF", ref)
        vlan = view.find("VLAN", pif.VLAN_master_of) if pif.VLAN_master_of != NULL_REF else None
        if vlan is None or pif.network in connected:
            continue
        below = view.find("PIF", vlan.tagged_PIF)
        if below is not None:
            yield NewVlan(Ref(pif.network), Ref(below.network), vlan.tag)

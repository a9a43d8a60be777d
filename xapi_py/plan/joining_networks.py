"""What a host that joins a pool brings along, and what it takes over of the pool's networks.

Pure.  Source: briefs NETWORK 21 and POOL 2.2.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
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


@dataclass(frozen=True, slots=True)
class PoolNetwork:
    """What the joining host must have in common with the pool's master.

    ``management_vlan`` is -1 without one.
    """

    management_vlan: int
    backend: str
    primary_address_type: str
    bridges: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Brought:
    """What becomes of a network of the joining host.

    ``same``: the pool has one with this bridge; ``introduce``: the pool gets it with its
    bridge; ``anew``: it becomes another network of the pool, with a bridge name of the pool's.
    """

    network: Ref
    bridge: str
    how: Literal["same", "introduce", "anew"]


EXCLUSIVE = ({"nbd", "insecure_nbd"},)


def refusals(view: View, host: Row, pool: PoolNetwork) -> Iterator[ApiError]:
    """Say why a host cannot join, in the real server's order; nothing when it can."""
    pifs = [view.row("PIF", ref) for ref in host.PIFs]
    kinds = {network_config.kind_of(pif) for pif in pifs}
    if network_config.BOND in kinds:
        yield err.POOL_JOINING_HOST_HAS_BONDS()
    if network_config.TUNNEL in kinds:
        yield err.POOL_JOINING_HOST_HAS_TUNNELS()
    if network_config.SRIOV in kinds:
        yield err.POOL_JOINING_HOST_HAS_NETWORK_SRIOVS()
    if any(pif.VLAN != -1 and not pif.management for pif in pifs):
        yield err.POOL_JOINING_HOST_HAS_NON_MANAGEMENT_VLANS()
    management = next((pif for pif in pifs if pif.management), None)
    own = -1 if management is None else management.VLAN
    if own != pool.management_vlan:
        yield err.POOL_JOINING_HOST_MANAGEMENT_VLAN_DOES_NOT_MATCH(
            str(own), str(pool.management_vlan)
        )
    if host.software_version.get("network_backend") != pool.backend:
        yield err.OPERATION_NOT_ALLOWED("Network backends differ")
    if management is not None and management.primary_address_type != pool.primary_address_type:
        yield err.PIF_INCOMPATIBLE_PRIMARY_ADDRESS_TYPE(management.ref)
    mine = {purpose for network in view.rows("network") for purpose in network.purpose}
    for pair in EXCLUSIVE:
        if len(pair & (mine | pool.purposes)) > 1:
            yield err.NETWORK_INCOMPATIBLE_PURPOSES(*sorted(pair))


def brought(view: View, host: Row, pool_bridges: Collection[str]) -> tuple[Brought, ...]:
    """Say what becomes of each network of a joining host.

    A network with a card of the host, and the host's internal one, keep their bridges.
    """
    found: list[Brought] = []
    for network in view.rows("network"):
        cards = (view.row("PIF", ref) for ref in network.PIFs)
        with_card = any(pif.physical and pif.host == host.ref for pif in cards)
        if not (with_card or network_config.is_internal_management(network)):
            found.append(Brought(Ref(network.ref), "", "anew"))
        elif network.bridge in pool_bridges:
            found.append(Brought(Ref(network.ref), network.bridge, "same"))
        else:
            found.append(Brought(Ref(network.ref), network.bridge, "introduce"))
    return tuple(found)


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

"""From the found to the desired state: which steps, in which order.  Pure."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Final

from xcp_networkd import errors
from xcp_networkd.contract import (
    AddPort,
    BridgeConfig,
    ConfigureInterface,
    CreateBridge,
    DestroyBridge,
    InterfaceConfig,
    NetworkState,
    PortConfig,
    RemovePort,
    SetBridge,
    SetRoles,
    Step,
)

TOGETHER: Final = 20
"""A transaction of that many bridges is far from the time limit of the switch's tool."""


def check(state: NetworkState) -> None:
    """Refuse a desired state that contradicts itself.

    Errors: Bridge_does_not_exist for a VLAN's missing parent, Vlan_in_use for
    a tag used twice on a parent, Bad_network_config for an interface in two ports or
    a VLAN on a VLAN.
    """
    tags: dict[tuple[str, int], str] = {}
    owners: dict[str, str] = {}
    for name, bridge in state.bridges.items():
        if bridge.vlan is not None:
            _check_vlan(state, name, bridge.vlan)
            other = tags.setdefault(bridge.vlan, name)
            if other != name:
                raise errors.vlan_in_use(*bridge.vlan)
        for port in bridge.ports.values():
            for interface in port.interfaces:
                if interface in owners:
                    raise errors.bad_config(f"{interface} is in {owners[interface]} and in {name}")
                owners[interface] = name


def _check_vlan(state: NetworkState, name: str, vlan: tuple[str, int]) -> None:
    parent = state.bridges.get(vlan[0])
    if parent is None:
        raise errors.no_bridge(vlan[0])
    if parent.vlan is not None:
        raise errors.bad_config(f"{name}: {vlan[0]} is a VLAN bridge itself")


def steps(found: NetworkState, desired: NetworkState, present: Collection[str]) -> list[Step]:
    """Plan the way from ``found`` to ``desired``.

    Bridges go away VLANs first and come VLANs last; a port leaves its old
    bridge before it joins a new one; interfaces are configured at the end.
    ``present`` are the devices that exist besides bridges and bonds: ports and
    interfaces that do not exist are left out.  Nothing to do gives no step.
    """
    return [
        *_destroy(found, desired),
        *_remove_ports(found, desired, present),
        *_create(found, desired),
        *_add_ports(found, desired, present),
        *_configure(found, desired, present),
    ]


def batches(planned: list[Step]) -> Iterator[list[Step]]:
    """Give steps of one kind that follow each other together, no more than ``TOGETHER``."""
    for _, same in groupby(planned, type):
        steps = list(same)
        for begin in range(0, len(steps), TOGETHER):
            yield steps[begin : begin + TOGETHER]


def _remake(old: BridgeConfig, new: BridgeConfig) -> bool:
    """Whether a bridge must be made anew: a VLAN cannot change place."""
    return old.vlan != new.vlan


def _goes(found: NetworkState, desired: NetworkState, name: str) -> bool:
    old, new = found.bridges[name], desired.bridges.get(name)
    if new is None or _remake(old, new):
        return True
    return old.vlan is not None and _goes_parent(found, desired, old.vlan[0])


def _goes_parent(found: NetworkState, desired: NetworkState, parent: str) -> bool:
    return parent in found.bridges and _goes(found, desired, parent)


def _destroy(found: NetworkState, desired: NetworkState) -> Iterator[Step]:
    gone = [n for n in found.bridges if _goes(found, desired, n)]
    for name in sorted(gone, key=lambda n: (found.bridges[n].vlan is None, n)):
        yield DestroyBridge(name)


def _stays(found: NetworkState, desired: NetworkState, name: str) -> bool:
    return name in found.bridges and not _goes(found, desired, name)


def _possible(config: PortConfig | None, present: Collection[str]) -> PortConfig | None:
    """A port as far as its interfaces exist; those of virtual machines always do."""
    if config is None or config.kind == "vif":
        return config
    exist = tuple(i for i in config.interfaces if i in present)
    return replace(config, interfaces=exist) if exist else None


def _remove_ports(
    found: NetworkState, desired: NetworkState, present: Collection[str]
) -> Iterator[Step]:
    for name in sorted(found.bridges):
        if not _stays(found, desired, name):
            continue
        wanted = desired.bridges[name].ports
        for port, config in sorted(found.bridges[name].ports.items()):
            if _possible(wanted.get(port), present) != config:
                yield RemovePort(name, port)


def _create(found: NetworkState, desired: NetworkState) -> Iterator[Step]:
    for name in sorted(desired.bridges, key=lambda n: (desired.bridges[n].vlan is not None, n)):
        config = replace(desired.bridges[name], ports={})
        if not _stays(found, desired, name):
            yield CreateBridge(name, config)
        elif replace(found.bridges[name], ports={}) != config:
            yield SetBridge(name, config)


def _add_ports(
    found: NetworkState, desired: NetworkState, present: Collection[str]
) -> Iterator[Step]:
    for name in sorted(desired.bridges):
        there = found.bridges[name].ports if _stays(found, desired, name) else {}
        for port, config in sorted(desired.bridges[name].ports.items()):
            possible = _possible(config, present)
            if possible is not None and there.get(port) != possible:
                yield AddPort(name, port, possible)


def _configure(
    found: NetworkState, desired: NetworkState, present: Collection[str]
) -> Iterator[Step]:
    bonds = {
        p for b in desired.bridges.values() for p, c in b.ports.items() if len(c.interfaces) > 1
    }
    devices = {*present, *desired.bridges, *bonds}
    kept = {n for n in found.interfaces if n not in desired.interfaces}

    def order(name: str) -> tuple[bool, bool, str]:
        # No VLAN may have a larger MTU than what it stands on: those come first.
        config = desired.bridges.get(name)
        return name in bonds, config is not None and config.vlan is not None, name

    for name in sorted({*desired.interfaces, *kept} & devices, key=order):
        wanted = desired.interfaces.get(name, InterfaceConfig())
        # A bridge that is made now has nothing, whatever a device of its name had before.
        lost = name in desired.bridges and not _stays(found, desired, name)
        old = InterfaceConfig() if lost else found.interfaces.get(name, InterfaceConfig())
        if old != wanted or _role_moved(found, desired, name, wanted):
            yield ConfigureInterface(
                name, wanted, gateway=carries_gateway(desired, name), dns=carries_dns(desired, name)
            )
    roles = (desired.gateway_interface, desired.dns_interface)
    if roles != (found.gateway_interface, found.dns_interface):
        yield SetRoles(*roles)


def carries_gateway(state: NetworkState, name: str) -> bool:
    """Whether an interface may have the default route; any may when none is named."""
    return state.gateway_interface in ("", name)


def carries_dns(state: NetworkState, name: str) -> bool:
    return state.dns_interface in ("", name)


def _role_moved(
    found: NetworkState, desired: NetworkState, name: str, wanted: InterfaceConfig
) -> bool:
    """Whether a role came or went that makes a difference to the interface."""
    leased = wanted.ipv4_mode == "DHCP4" or wanted.ipv6_mode == "DHCP6"
    routes = leased or bool(wanted.ipv4_gateway or wanted.ipv6_gateway)
    names = leased or bool(wanted.name_servers)
    return (routes and carries_gateway(found, name) != carries_gateway(desired, name)) or (
        names and carries_dns(found, name) != carries_dns(desired, name)
    )


def changed(state: NetworkState, gone: frozenset[str], parts: NetworkState) -> NetworkState:
    """The state without some bridges and their VLANs, with the parts put over it.

    A VLAN whose parent is among the parts, or comes itself, stays.
    """
    lost = {
        n
        for n, c in state.bridges.items()
        if n not in parts.bridges
        and (n in gone or (c.vlan and c.vlan[0] in gone and c.vlan[0] not in parts.bridges))
    }
    bridges = {n: c for n, c in state.bridges.items() if n not in lost}
    interfaces = {n: c for n, c in state.interfaces.items() if n not in lost}
    made = with_vifs(state, replace(parts, bridges={**bridges, **parts.bridges}))
    return replace(made, interfaces={**interfaces, **parts.interfaces})


def with_vifs(found: NetworkState, desired: NetworkState) -> NetworkState:
    """Keep the ports of virtual machines on the bridges that stay."""
    bridges = dict(desired.bridges)
    for name, config in found.bridges.items():
        vifs = {p: c for p, c in config.ports.items() if c.kind == "vif"}
        if vifs and name in bridges:
            bridges[name] = replace(bridges[name], ports={**bridges[name].ports, **vifs})
    return replace(desired, bridges=bridges)


def with_found_vifs(found: NetworkState, state: NetworkState) -> NetworkState:
    """The state with exactly those ports of virtual machines that are there."""
    bridges = {n: without_vifs(c) for n, c in state.bridges.items()}
    return with_vifs(found, replace(state, bridges=bridges))


def without_vifs(config: BridgeConfig) -> BridgeConfig:
    """A bridge without the ports of virtual machines."""
    return replace(config, ports={p: c for p, c in config.ports.items() if c.kind != "vif"})


def merged(found: NetworkState, kept: NetworkState) -> NetworkState:
    """What is there, with what the file asks for put over it.

    A bridge that is there and holds a device the file gives to another one loses it.
    """
    taken = {i for b in kept.bridges.values() for p in b.ports.values() for i in p.interfaces}
    others = {
        name: replace(
            config,
            ports={n: p for n, p in config.ports.items() if not taken & set(p.interfaces)},
        )
        for name, config in found.bridges.items()
        if name not in kept.bridges
    }
    return NetworkState(
        {**others, **kept.bridges},
        {**found.interfaces, **kept.interfaces},
        kept.gateway_interface,
        kept.dns_interface,
    )


def without_mtu(state: NetworkState) -> NetworkState:
    """The state with every MTU the same, for comparisons that leave it out."""
    interfaces = {n: replace(c, mtu=1500) for n, c in state.interfaces.items()}
    return replace(state, interfaces=interfaces)


def above(state: NetworkState, device: str) -> set[str]:
    """A device with the bond, the bridge and the VLANs that stand on it."""
    found = {device}
    for name, config in state.bridges.items():
        for port, members in config.ports.items():
            if device in members.interfaces or device == port:
                found |= {port, name}
    return found | {n for n, c in state.bridges.items() if c.vlan and c.vlan[0] in found}


def wants(state: NetworkState, device: str) -> bool:
    """Whether a device is to be in a bridge."""
    return any(
        device in port.interfaces for c in state.bridges.values() for port in c.ports.values()
    )


def transient(state: NetworkState) -> NetworkState:
    """The same state with nothing of it persistent."""
    return replace(
        state,
        bridges={n: replace(b, persistent=False) for n, b in state.bridges.items()},
        interfaces={n: replace(c, persistent=False) for n, c in state.interfaces.items()},
        gateway_interface="",
        dns_interface="",
    )


def persistent_part(state: NetworkState) -> NetworkState:
    """What is to be there after a start of the daemon, parents of VLANs included."""
    kept = {n for n, b in state.bridges.items() if b.persistent}
    kept |= {b.vlan[0] for n, b in state.bridges.items() if n in kept and b.vlan}
    return replace(
        state,
        bridges={n: without_vifs(b) for n, b in state.bridges.items() if n in kept},
        interfaces={n: c for n, c in state.interfaces.items() if c.persistent},
    )

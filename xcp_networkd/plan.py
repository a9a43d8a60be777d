"""From the found to the desired state: which steps, in which order.  Pure."""

from collections.abc import Collection, Iterator
from dataclasses import replace

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
    Step,
)


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
    moved = {
        name
        for role in ("gateway_interface", "dns_interface")
        for name in (getattr(found, role), getattr(desired, role))
        if getattr(found, role) != getattr(desired, role)
    }
    kept = {n for n in found.interfaces if n not in desired.interfaces}
    for name in sorted({*desired.interfaces, *kept} & devices):
        wanted = desired.interfaces.get(name, InterfaceConfig())
        lost = name in found.bridges and not _stays(found, desired, name)
        old = InterfaceConfig() if lost else found.interfaces.get(name, InterfaceConfig())
        if old != wanted or name in moved:
            yield ConfigureInterface(
                name,
                wanted,
                gateway=desired.gateway_interface in ("", name),
                dns=desired.dns_interface in ("", name),
            )


def with_vifs(found: NetworkState, desired: NetworkState) -> NetworkState:
    """Keep the ports of virtual machines on the bridges that stay."""
    bridges = dict(desired.bridges)
    for name, config in found.bridges.items():
        vifs = {p: c for p, c in config.ports.items() if c.kind == "vif"}
        if vifs and name in bridges:
            bridges[name] = replace(bridges[name], ports={**bridges[name].ports, **vifs})
    return replace(desired, bridges=bridges)


def without_vifs(config: BridgeConfig) -> BridgeConfig:
    """A bridge without the ports of virtual machines."""
    return replace(config, ports={p: c for p, c in config.ports.items() if c.kind != "vif"})


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

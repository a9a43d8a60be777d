"""The desired-state form of the bridges, VLANs and bonds the kernel has.  Pure."""

from collections.abc import Mapping
from typing import Final

from xcp_networkd.backends.bridge import bonding
from xcp_networkd.contract import BridgeConfig, PortConfig
from xcp_networkd.linux import links
from xcp_networkd.linux.interfaces import Snapshot
from xcp_networkd.netlink import codec
from xcp_networkd.netlink.codec import Device

MARK: Final = "xapi-py"
"""Alias of the devices this daemon makes; that of a VLAN bridge names parent and tag, too."""


def alias(vlan: tuple[str, int] | None) -> str:
    """Give the alias of a bridge, or of any other device with ``None``."""
    return MARK if vlan is None else f"{MARK} vlan {vlan[0]} {vlan[1]}"


def vlan_of(device: Device) -> tuple[str, int] | None:
    """Give parent and tag of a VLAN bridge as noted on it."""
    match device.alias.split():
        case [mark, "vlan", parent, tag] if mark == MARK and tag.isdigit():
            return parent, int(tag)
    return None


def is_ours(device: Device, kept: Mapping[str, BridgeConfig]) -> bool:
    marked = device.alias.split(" ", 1)[0] == MARK
    return device.info == "bridge" and (marked or device.name in kept)


def bridges(snapshot: Snapshot, kept: Mapping[str, BridgeConfig]) -> dict[str, BridgeConfig]:
    """Give the bridges; members the kernel does not know come from ``kept``."""
    ports: dict[int, list[Device]] = {}
    for device in snapshot.devices.values():
        ports.setdefault(device.master, []).append(device)
    return {
        name: _bridge(device, snapshot, ports, kept.get(name))
        for name, device in snapshot.devices.items()
        if is_ours(device, kept)
    }


def _bridge(
    device: Device,
    snapshot: Snapshot,
    ports: Mapping[int, list[Device]],
    kept: BridgeConfig | None,
) -> BridgeConfig:
    old = kept or BridgeConfig()
    vlan = vlan_of(device)
    if vlan is not None and not _vlan_complete(device, vlan, snapshot, ports):
        vlan = None
    snooping = bool(device.number(codec.BRIDGE_SNOOPING))
    return BridgeConfig(
        ports={
            name: config
            for port in ports.get(device.index, ())
            if port.info != "vlan"
            for name, config in (_port(port, ports, old),)
        },
        vlan=vlan,
        bridge_mac=old.bridge_mac if kept and old.bridge_mac in ("", device.mac) else device.mac,
        igmp_snooping=old.igmp_snooping if bool(old.igmp_snooping) == snooping else snooping,
        other_config=old.other_config,
        persistent=old.persistent,
    )


def uplink(parent: Device, ports: Mapping[int, list[Device]]) -> Device | None:
    """The NIC or bond of a bridge, on which its VLANs stand."""
    found = (p for p in ports.get(parent.index, ()) if p.info == "bond" or links.is_nic(p))
    return next(found, None)


def _vlan_complete(
    device: Device,
    vlan: tuple[str, int],
    snapshot: Snapshot,
    ports: Mapping[int, list[Device]],
) -> bool:
    parent = snapshot.devices.get(vlan[0])
    if parent is None:
        return False
    above = uplink(parent, ports)
    if above is None:
        return True
    return any(
        port.info == "vlan" and port.lower == above.index and port.number(codec.VLAN_ID) == vlan[1]
        for port in ports.get(device.index, ())
    )


def _port(
    device: Device, ports: Mapping[int, list[Device]], old: BridgeConfig
) -> tuple[str, PortConfig]:
    if device.info == "bond":
        return device.name, _bond(device, ports, old.ports.get(device.name))
    for name, config in old.ports.items():
        if config.interfaces == (device.name,):
            return name, config
    kind = "basic" if links.is_nic(device) else "vif"
    return device.name, PortConfig((device.name,), kind=kind)  # type: ignore[arg-type]


def _bond(device: Device, ports: Mapping[int, list[Device]], kept: PortConfig | None) -> PortConfig:
    members = tuple(m.name for m in ports.get(device.index, ()))
    old = kept or PortConfig(members)
    same = set(old.interfaces) == set(members)
    return PortConfig(
        old.interfaces if same else members,
        old.bond_mac if old.bond_mac in ("", device.mac) else device.mac,
        old.bond_properties if bonding.agrees(device, old.bond_properties) else {},
        old.kind,
    )

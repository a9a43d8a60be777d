"""The desired-state form of what the switch's database holds.  Pure."""

from collections.abc import Mapping

from xcp_networkd.backends.openvswitch import commands
from xcp_networkd.backends.openvswitch.database import Row, Tables
from xcp_networkd.contract import BridgeConfig, PortConfig


def bridges(
    tables: Tables, kept: Mapping[str, BridgeConfig], nics: set[str]
) -> dict[str, BridgeConfig]:
    """Give real and fake bridges; members the switch does not hold come from ``kept``."""
    found: dict[str, BridgeConfig] = {}
    for row in tables.bridges.values():
        parent = str(row["name"])
        ports = [tables.ports[uuid] for uuid in row["ports"] if uuid in tables.ports]
        fakes = {p["tag"]: str(p["name"]) for p in ports if p["fake_bridge"]}
        inside: dict[str, dict[str, PortConfig]] = {n: {} for n in (parent, *fakes.values())}
        for port in ports:
            if port["name"] == parent or port["fake_bridge"]:
                continue
            owner = fakes.get(port["tag"], parent)
            name, config = _port(port, tables, kept.get(owner, BridgeConfig()), nics)
            inside[owner][name] = config
        found[parent] = _real(row, inside[parent], kept.get(parent))
        for tag, name in fakes.items():
            mac = _interface(tables, name).get("mac") or ""
            found[name] = _fake(str(mac), (parent, int(tag)), inside[name], kept.get(name))
    return found


def _real(row: Row, ports: dict[str, PortConfig], kept: BridgeConfig | None) -> BridgeConfig:
    old = kept or BridgeConfig()
    mac = str(row["other_config"].get("hwaddr", ""))
    snooping = bool(row["mcast_snooping_enable"])
    return BridgeConfig(
        ports=ports,
        bridge_mac=mac,
        igmp_snooping=old.igmp_snooping if bool(old.igmp_snooping) == snooping else snooping,
        other_config=old.other_config,
        persistent=old.persistent,
    )


def _fake(
    mac: str, vlan: tuple[str, int], ports: dict[str, PortConfig], kept: BridgeConfig | None
) -> BridgeConfig:
    old = kept or BridgeConfig()
    return BridgeConfig(ports, vlan, mac, old.igmp_snooping, old.other_config, old.persistent)


def _interface(tables: Tables, name: str) -> Row:
    return next((row for row in tables.interfaces.values() if row["name"] == name), {})


def members(port: Row, tables: Tables) -> list[Row]:
    """The interfaces of a port by name."""
    found = [tables.interfaces[uuid] for uuid in port["interfaces"] if uuid in tables.interfaces]
    return sorted(found, key=lambda row: str(row["name"]))


def real_bridge_of(tables: Tables, interface: str) -> str:
    """The real bridge an interface is in, empty when it is in none."""
    for row in tables.bridges.values():
        for uuid in row["ports"]:
            port = tables.ports.get(uuid)
            if port and any(r["name"] == interface for r in members(port, tables)):
                return str(row["name"])
    return ""


def ports_of(tables: Tables, bridge: str) -> set[str]:
    """The ports directly in a real or fake bridge."""
    found = bridges(tables, {}, set()).get(bridge)
    return set() if found is None else set(found.ports)


def _port(port: Row, tables: Tables, old: BridgeConfig, nics: set[str]) -> tuple[str, PortConfig]:
    names = tuple(str(row["name"]) for row in members(port, tables))
    if len(names) == 1:
        for name, config in old.ports.items():
            if config.interfaces == names:
                return name, config
        kind = "basic" if names[0] in nics else "vif"
        return names[0], PortConfig(names, kind=kind)  # type: ignore[arg-type]
    kept = old.ports.get(str(port["name"]), PortConfig(names))
    return str(port["name"]), PortConfig(
        kept.interfaces if set(kept.interfaces) == set(names) else names,
        str(port["mac"] or ""),
        kept.bond_properties if _agrees(port, kept.bond_properties) else {},
        kept.kind,
    )


def _agrees(port: Row, properties: Mapping[str, str]) -> bool:
    for column, value in commands.bond_columns(properties):
        name, _, key = column.partition(":")
        found = port[name].get(key) if key else port[name]
        if str(found) != value:
            return False
    return True

"""The wire and file form of network configuration, checked on the way in."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from xcp_networkd import errors
from xcp_networkd.contract import (
    Address,
    BridgeConfig,
    InterfaceConfig,
    IPv4Mode,
    IPv6Mode,
    NetworkState,
    PortConfig,
    PortKind,
    VifLock,
    VifPort,
)

NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,15}")
MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
MAX_TAG: Final = 4094
MOST_RATE_KIB: Final = 100_000_000
_INTERFACE_MEMBERS: Final = frozenset(
    (
        "ipv4_conf",
        "ipv4_gateway",
        "ipv6_conf",
        "ipv6_gateway",
        "ipv4_routes",
        "dns",
        "mtu",
        "ethtool_settings",
        "ethtool_offload",
        "virtual_functions",
        "persistent_i",
    )
)
_BRIDGE_MEMBERS: Final = frozenset(
    ("ports", "vlan", "bridge_mac", "igmp_snooping", "other_config", "persistent_b")
)

Json = Mapping[str, Any]


def interface_from_wire(name: str, data: Json) -> InterfaceConfig:
    """Read one interface's configuration; Bad_network_config names the mistake."""
    _known(name, data, _INTERFACE_MEMBERS)
    mode4, addresses4 = _addressing(name, data.get("ipv4_conf", ["None4"]), 4)
    mode6, addresses6 = _addressing(name, data.get("ipv6_conf", ["None6"]), 6)
    servers, domains = data.get("dns") or ([], [])
    mtu = data.get("mtu", 1500)
    if not isinstance(mtu, int) or not 68 <= mtu <= 65535:
        raise errors.bad_config(f"{name}: mtu {mtu!r}")
    return InterfaceConfig(
        ipv4_mode=cast(IPv4Mode, mode4),
        ipv4_addresses=addresses4,
        ipv4_gateway=_ip(name, data.get("ipv4_gateway") or "", 4),
        ipv4_routes=tuple(_route(name, r) for r in data.get("ipv4_routes", ())),
        ipv6_mode=cast(IPv6Mode, mode6),
        ipv6_addresses=addresses6,
        ipv6_gateway=_ip(name, data.get("ipv6_gateway") or "", 6),
        name_servers=tuple(_ip(name, s, 0) for s in servers),
        domains=tuple(domains),
        mtu=mtu,
        ethtool_settings=_pairs(data.get("ethtool_settings", ())),
        ethtool_offload=_pairs(data.get("ethtool_offload", [["lro", "off"]])),
        virtual_functions=bool(data.get("virtual_functions", False)),
        persistent=bool(data.get("persistent_i", False)),
    )


def bridge_from_wire(name: str, data: Json) -> BridgeConfig:
    """Read one bridge's configuration; Bad_network_config names the mistake."""
    _known(name, data, _BRIDGE_MEMBERS)
    if not NAME.fullmatch(name):
        raise errors.bad_config(f"{name}: not a device name")
    vlan = data.get("vlan")
    if vlan is not None:
        parent, tag = vlan
        if not isinstance(tag, int) or not 0 <= tag <= MAX_TAG:
            raise errors.bad_config(f"{name}: VLAN tag {tag!r}")
        vlan = (str(parent), tag)
    return BridgeConfig(
        ports={k: _port(k, v) for k, v in data.get("ports", {}).items()},
        vlan=vlan,
        bridge_mac=mac(name, data.get("bridge_mac") or ""),
        igmp_snooping=data.get("igmp_snooping"),
        other_config=dict(data.get("other_config", {})),
        persistent=bool(data.get("persistent_b", False)),
    )


def state_from_wire(data: Json) -> NetworkState:
    """Read a whole configuration document."""
    _known(
        "config",
        data,
        frozenset(("bridge_config", "interface_config", "gateway_interface", "dns_interface")),
    )
    bridges = data.get("bridge_config", {})
    interfaces = data.get("interface_config", {})
    return NetworkState(
        {k: bridge_from_wire(k, v) for k, v in bridges.items()},
        {k: interface_from_wire(k, v) for k, v in interfaces.items()},
        data.get("gateway_interface") or "",
        data.get("dns_interface") or "",
    )


def state_to_wire(state: NetworkState) -> dict[str, Any]:
    """Give the document that ``state_from_wire`` reads."""
    return {
        "interface_config": {k: _interface_to_wire(v) for k, v in state.interfaces.items()},
        "bridge_config": {k: _bridge_to_wire(v) for k, v in state.bridges.items()},
        "gateway_interface": state.gateway_interface or None,
        "dns_interface": state.dns_interface or None,
    }


def _interface_to_wire(config: InterfaceConfig) -> dict[str, Any]:
    return {
        "ipv4_conf": _mode_to_wire(config.ipv4_mode, config.ipv4_addresses),
        "ipv4_gateway": config.ipv4_gateway or None,
        "ipv6_conf": _mode_to_wire(config.ipv6_mode, config.ipv6_addresses),
        "ipv6_gateway": config.ipv6_gateway or None,
        "ipv4_routes": [list(r) for r in config.ipv4_routes],
        "dns": [list(config.name_servers), list(config.domains)],
        "mtu": config.mtu,
        "ethtool_settings": [list(p) for p in config.ethtool_settings],
        "ethtool_offload": [list(p) for p in config.ethtool_offload],
        "virtual_functions": config.virtual_functions,
        "persistent_i": config.persistent,
    }


def _bridge_to_wire(config: BridgeConfig) -> dict[str, Any]:
    ports = {
        name: {
            "interfaces": list(port.interfaces),
            "bond_properties": [list(p) for p in port.bond_properties.items()],
            "bond_mac": port.bond_mac or None,
            "kind": port.kind,
        }
        for name, port in config.ports.items()
    }
    return {
        "ports": ports,
        "vlan": list(config.vlan) if config.vlan else None,
        "bridge_mac": config.bridge_mac or None,
        "igmp_snooping": config.igmp_snooping,
        "other_config": dict(config.other_config),
        "persistent_b": config.persistent,
    }


def _mode_to_wire(mode: str, addresses: tuple[Address, ...]) -> list[Any]:
    return [mode, [list(a) for a in addresses]] if addresses else [mode]


def _known(name: str, data: Json, members: frozenset[str]) -> None:
    unknown = sorted(set(data) - members)
    if unknown:
        raise errors.bad_config(f"{name}: unknown member {unknown[0]}")


def _port(name: str, data: Json) -> PortConfig:
    interfaces = tuple(data.get("interfaces", ()))
    if not interfaces or len(set(interfaces)) != len(interfaces):
        raise errors.bad_config(f"port {name}: interfaces {list(interfaces)}")
    if not NAME.fullmatch(name):
        raise errors.bad_config(f"port {name}: not a device name")
    kind = str(data.get("kind", "basic")).lower()
    if kind not in ("basic", "pvs_proxy", "vif"):
        raise errors.bad_config(f"port {name}: kind {kind}")
    return PortConfig(
        interfaces,
        mac(name, data.get("bond_mac") or ""),
        dict(_pairs(data.get("bond_properties", ()))),
        cast(PortKind, kind),
    )


def _addressing(name: str, conf: Any, version: int) -> tuple[str, tuple[Address, ...]]:
    word, *rest = [conf] if isinstance(conf, str) else conf
    modes = ("None4", "DHCP4", "Static4")
    if version == 6:
        modes = ("None6", "DHCP6", "Autoconf6", "Linklocal6", "Static6")  # type: ignore[assignment]
    if word not in modes:
        raise errors.bad_config(f"{name}: addressing {word!r}")
    if not word.startswith("Static"):
        return word, ()
    addresses = tuple(_address(name, a, version) for a in (rest[0] if rest else ()))
    if not addresses:
        raise errors.bad_config(f"{name}: {word} without address")
    return word, addresses


def addresses(name: str, data: Any) -> tuple[Address, ...]:
    """Read IPv4 addresses with prefix lengths; Bad_network_config names the mistake."""
    return tuple(_address(name, pair, 4) for pair in data)


def _address(name: str, data: Any, version: int) -> Address:
    text, prefix = data
    most = 32 if version == 4 else 128
    if not isinstance(prefix, int) or not 0 <= prefix <= most:
        raise errors.bad_config(f"{name}: prefix length {prefix!r}")
    return _ip(name, text, version), prefix


def _route(name: str, data: Any) -> tuple[str, int, str]:
    subnet, prefix, gateway = data
    address, length = _address(name, (subnet, prefix), 4)
    return address, length, _ip(name, gateway, 4)


def _ip(name: str, text: str, version: int) -> str:
    """Check an address; version 0 takes either, empty text stays empty."""
    if not text:
        return ""
    try:
        found = ipaddress.ip_address(text)
    except ValueError as problem:
        raise errors.bad_config(f"{name}: {problem}") from problem
    if version and found.version != version:
        raise errors.bad_config(f"{name}: {text} is not an IPv{version} address")
    return str(found)


def mac(name: str, text: str) -> str:
    """Give a MAC in lower case; empty text stays empty."""
    lowered = text.lower()
    if lowered and not MAC.fullmatch(lowered):
        raise errors.bad_config(f"{name}: MAC {text}")
    return lowered


def lock(
    name: str,
    mac_text: str,
    mode: str,
    ipv4: Sequence[str],
    ipv6: Sequence[str],
    rate_kbps: int = 0,
) -> VifLock:
    """Read what a virtual machine's device may send; Bad_network_config names the mistake."""
    if not isinstance(rate_kbps, int) or not 0 <= rate_kbps <= MOST_RATE_KIB:
        raise errors.bad_config(f"{name}: rate {rate_kbps!r}")
    if mode not in ("unlocked", "disabled", "locked"):
        raise errors.bad_config(f"{name}: locking mode {mode!r}")
    if mode == "locked" and not mac_text:
        raise errors.bad_config(f"{name}: locked without MAC")
    return VifLock(
        mac(name, mac_text),
        cast(Any, mode),
        tuple(_ip(name, a, 4) for a in ipv4),
        tuple(_ip(name, a, 6) for a in ipv6),
        rate_kbps,
    )


def vif(
    name: str,
    mac: str = "",
    mode: str = "unlocked",
    ipv4_allowed: Sequence[str] = (),
    ipv6_allowed: Sequence[str] = (),
    rate_kbps: int = 0,
    mtu: int = 0,
    trunks: Sequence[int] = (),
    external_ids: Mapping[str, str] | None = None,
) -> VifPort:
    """Read a virtual machine's device; Bad_network_config names the mistake."""
    if not NAME.fullmatch(name):
        raise errors.bad_config(f"{name}: not a device name")
    if not isinstance(mtu, int) or (mtu and not 68 <= mtu <= 65535):
        raise errors.bad_config(f"{name}: mtu {mtu!r}")
    if any(not isinstance(tag, int) or not 0 <= tag <= 4095 for tag in trunks):
        raise errors.bad_config(f"{name}: trunks {list(trunks)!r}")
    rules = lock(name, mac, mode, ipv4_allowed, ipv6_allowed, rate_kbps)
    return VifPort(name, rules, mtu, tuple(trunks), dict(_pairs(external_ids or {})))


def vif_to_wire(port: VifPort) -> dict[str, Any]:
    """Give what ``vif`` takes besides the name."""
    return {
        "mac": port.lock.mac,
        "mode": port.lock.mode,
        "ipv4_allowed": list(port.lock.ipv4_allowed),
        "ipv6_allowed": list(port.lock.ipv6_allowed),
        "rate_kbps": port.lock.rate_kib,
        "mtu": port.mtu,
        "trunks": list(port.trunks),
        "external_ids": dict(port.external_ids),
    }


def _pairs(data: Any) -> tuple[tuple[str, str], ...]:
    items = data.items() if isinstance(data, Mapping) else data
    return tuple((str(k), str(v)) for k, v in items)

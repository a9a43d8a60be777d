"""The first network: what the installer left (``management.conf``), or what is found.  Pure.

Lines ``KEY='value'``.  Source: briefs, network section 14.
"""

import ipaddress
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xcp_networkd import codec, errors
from xcp_networkd.contract import (
    Address,
    BridgeConfig,
    InterfaceConfig,
    NetworkState,
    PortConfig,
)


def parse(text: str) -> dict[str, str]:
    """Read the file's members; a line that is no assignment is skipped."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = re.fullmatch(r"\s*([A-Z0-9a-z_]+)=(.*)", line)
        if match:
            found[match[1]] = " ".join(shlex.split(match[2], comments=True))
    return found


def first_state(conf: Mapping[str, str], macs: Mapping[str, str]) -> NetworkState:
    """Give the management bridge; nothing when the device is not there.

    ``macs`` are the MACs of the network cards by name.  Bad_network_config names what
    cannot be understood.
    """
    try:
        return _first_state(conf, macs)
    except (KeyError, ValueError) as problem:
        raise errors.bad_config(f"management.conf: {problem}") from problem


@dataclass(frozen=True, slots=True)
class FoundNic:
    """A network card as somebody else has set it up.

    ``leased4`` and ``leased6``: its addresses came from a server or a router.
    """

    name: str
    mac: str
    ipv4: tuple[Address, ...] = ()
    gateway4: str = ""
    leased4: bool = False
    ipv6: tuple[Address, ...] = ()
    gateway6: str = ""
    leased6: bool = False
    name_servers: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()


def as_found(nics: Iterable[FoundNic]) -> NetworkState:
    """Give a bridge that takes over what the host is reached through; nothing without any.

    That is the card with the default route, else the first with an address.
    """
    with_address = [nic for nic in nics if nic.ipv4 or nic.ipv6]
    ways_out = [nic for nic in with_address if nic.gateway4 or nic.gateway6]
    for nic in (*ways_out, *with_address):
        bridge = f"xenbr{nic.name.removeprefix('eth')}"
        if not nic.name.startswith("eth"):
            bridge = f"br{nic.name}"[:15]
        ports = {nic.name: PortConfig((nic.name,))}
        made = BridgeConfig(ports, bridge_mac=nic.mac, persistent=True)
        return NetworkState({bridge: made}, {bridge: _as_found(nic)}, bridge, bridge)
    return NetworkState()


def _as_found(nic: FoundNic) -> InterfaceConfig:
    data: dict[str, object] = {"persistent_i": True}
    if nic.leased4:
        data["ipv4_conf"] = ["DHCP4"]
    elif nic.ipv4:
        data["ipv4_conf"] = ["Static4", [list(address) for address in nic.ipv4]]
        data["ipv4_gateway"] = nic.gateway4
        data["dns"] = [list(nic.name_servers), list(nic.domains)]
    if nic.leased6:
        data["ipv6_conf"] = ["Autoconf6"]
    elif nic.ipv6:
        data["ipv6_conf"] = ["Static6", [list(address) for address in nic.ipv6]]
        data["ipv6_gateway"] = nic.gateway6
    return codec.interface_from_wire(nic.name, data)


def _first_state(conf: Mapping[str, str], macs: Mapping[str, str]) -> NetworkState:
    members = tuple(conf.get("BOND_MEMBERS", "").replace(",", " ").split())
    label = conf.get("LABEL", "")
    devices = members or ((label,) if label else ())
    if not devices or any(d not in macs for d in devices):
        return NetworkState()
    bridge = f"xenbr{label.removeprefix('eth')}" if not members else "xapi0"
    bond = {"mode": conf.get("BOND_MODE", "balance-slb")} if members else {}
    name = "bond0" if members else label
    port = PortConfig(devices, macs[devices[0]] if members else "", bond)
    bridges = {bridge: BridgeConfig({name: port}, bridge_mac=macs[devices[0]], persistent=True)}
    interface = bridge
    if conf.get("VLAN"):
        interface = "xentemp"
        vlan = (bridge, int(conf["VLAN"]))
        bridges[interface] = BridgeConfig(vlan=vlan, persistent=True)
    config = _interface(conf)
    state = NetworkState(bridges, {interface: config}, interface, interface)
    return codec.state_from_wire(codec.state_to_wire(state))


def _interface(conf: Mapping[str, str]) -> InterfaceConfig:
    data: dict[str, object] = {"persistent_i": True}
    match conf.get("MODE", "none").lower():
        case "static":
            prefix = ipaddress.ip_network(f"0.0.0.0/{conf['NETMASK']}").prefixlen
            data["ipv4_conf"] = ["Static4", [[conf["IP"], prefix]]]
            data["ipv4_gateway"] = conf.get("GATEWAY", "")
        case "dhcp":
            data["ipv4_conf"] = ["DHCP4"]
    match conf.get("MODEV6", "none").lower():
        case "static":
            address, _, length = conf["IPv6"].partition("/")
            data["ipv6_conf"] = ["Static6", [[address, int(length or 64)]]]
            data["ipv6_gateway"] = conf.get("IPv6_GATEWAY", "")
        case "dhcp":
            data["ipv6_conf"] = ["DHCP6"]
        case "autoconf":
            data["ipv6_conf"] = ["Autoconf6"]
    servers = [s for s in conf.get("DNS", "").replace(",", " ").split() if s]
    data["dns"] = [servers, conf.get("DOMAIN", "").split()]
    return codec.interface_from_wire("management", data)

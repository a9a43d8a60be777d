"""What the installer left about the management interface: ``management.conf``.  Pure.

Lines ``KEY='value'``.  Source: briefs, network section 14.
"""

import ipaddress
import re
import shlex
from collections.abc import Mapping

from xcp_networkd import codec, errors
from xcp_networkd.contract import (
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

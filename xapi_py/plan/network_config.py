"""The network a host is to have, as the document its network daemon works from.  Pure.

Sources: brief NETWORK 4 (what a PIF needs), 5 (addresses, gateway, DNS), 8
(bonds), 12 (MTU, ethtool).
"""

import ipaddress
from collections.abc import Collection, Mapping
from typing import Any

from xapi_py.base.names import NULL_REF, Ref
from xapi_py.db.row import Row
from xapi_py.db.view import View

Document = dict[str, Any]

TUNNEL, VLAN, SRIOV, BOND, PHYSICAL = "tunnel", "vlan", "sriov", "bond", "physical"
DEFAULT_MTU = 1500
MTU_RANGE = range(68, 65536)
BRIDGE_KEYS = (
    "vswitch-controller-fail-mode",
    "vswitch-disable-in-band",
)
OFFLOADS = ("rx", "tx", "sg", "tso", "ufo", "gso", "gro", "lro")
SETTINGS = ("speed", "duplex", "autoneg", "advertise")
ON, OFF = ("true", "on"), ("false", "off")
BOND_DEFAULTS = {
    "miimon": "100",
    "downdelay": "200",
    "updelay": "31000",
    "use_carrier": "1",
    "rebalance-interval": "1800000",
}


def kind_of(pif: Row) -> str:
    """Tell what a PIF is; the first that fits of tunnel, VLAN, SR-IOV, bond, NIC."""
    if len(pif.tunnel_access_PIF_of):
        return TUNNEL
    if pif.VLAN_master_of not in ("", NULL_REF):
        return VLAN
    if len(pif.sriov_logical_PIF_of):
        return SRIOV
    if len(pif.bond_master_of):
        return BOND
    return PHYSICAL


def is_slave(view: View, pif: Row) -> bool:
    """Tell whether a PIF is enslaved to a bond."""
    return view.find("Bond", pif.bond_slave_of) is not None


def has_ip(pif: Row) -> bool:
    """Tell whether a PIF is to have an address."""
    return bool(pif.ip_configuration_mode != "None" or pif.ipv6_configuration_mode != "None")


def mtu_of(view: View, pif: Row) -> int:
    """Give the MTU a PIF is to have: its own setting, else its network's, 1500 for nonsense."""
    own = pif.other_config.get("mtu", "")
    network = view.find("network", pif.network)
    wanted = int(own) if own.isdigit() else (DEFAULT_MTU if network is None else network.MTU)
    return wanted if wanted in MTU_RANGE else DEFAULT_MTU


def tagged_pif(view: View, pif: Row) -> Row | None:
    """Give the PIF a VLAN PIF's traffic goes through."""
    vlan = view.find("VLAN", pif.VLAN_master_of)
    return None if vlan is None else view.find("PIF", vlan.tagged_PIF)


def slaves_of(view: View, master: Row) -> list[Row]:
    """List the members of a bond, the primary one first."""
    found: list[Row] = []
    for ref in master.bond_master_of:
        bond = view.row("Bond", ref)
        members = [view.row("PIF", slave) for slave in bond.slaves]
        found += sorted(members, key=lambda pif: pif.ref != bond.primary_slave)
    return found


def devices_of(view: View, pif: Row) -> list[str]:
    """List the NICs a PIF's traffic goes through."""
    match kind_of(pif):
        case "tunnel":
            return []
        case "vlan":
            below = tagged_pif(view, pif)
            return [] if below is None else devices_of(view, below)
        case "bond":
            return [slave.device for slave in slaves_of(view, pif)]
        case _:
            return [pif.device]


def at_start(view: View, host: Row, bridges: Collection[str]) -> set[Ref]:
    """Choose the PIFs that are up once a server has started.

    Those are NICs, their virtual functions and bonds, what has an address, and what is up
    already: running VMs may use it.
    """
    found: set[Ref] = set()
    for ref in host.PIFs:
        pif = view.row("PIF", ref)
        if not pif.managed or is_slave(view, pif):
            continue
        network = view.find("network", pif.network)
        there = pif.currently_attached and network is not None and network.bridge in bridges
        kinds = (BOND, PHYSICAL, SRIOV)
        if there or has_ip(pif) or pif.management or kind_of(pif) in kinds:
            found.add(ref)
    return found


def document(
    view: View, host: Row, up: Collection[str], kept: Mapping[str, Any] | None = None
) -> Document:
    """Describe the whole network of a host whose PIFs in ``up`` are up.

    ``kept`` are bridges that belong to no PIF, such as those of private networks.
    """
    pifs = [view.row("PIF", ref) for ref in host.PIFs if ref in up]
    bridges: Document = dict(kept or {})
    interfaces: Document = {}
    for pif in pifs:
        _add(view, pif, bridges, interfaces, own=True)
    for pif in pifs:
        if kind_of(pif) == SRIOV:
            card = interfaces.setdefault(pif.device, _device(pif, mtu_of(view, pif)))
            card["virtual_functions"] = True
    for network in view.rows("network"):
        if network.bridge in (kept or {}) and is_internal_management(network):
            interfaces[network.bridge] = internal_interface(network)
    gateway = _chosen(view, pifs, "defaultroute")
    dns = _chosen(view, pifs, "peerdns")
    return {
        "bridge_config": bridges,
        "interface_config": interfaces,
        "gateway_interface": gateway,
        "dns_interface": dns,
    }


def is_internal_management(network: Row) -> bool:
    """Tell whether a network connects a host with its own guests only."""
    return bool(network.other_config.get("is_host_internal_management_network") == "true")


def internal_interface(network: Row) -> Document:
    """Give the host's own address on its internal network: the first of its range.

    Source: brief NETWORK 13.
    """
    first, mask = network.other_config.get("ip_begin", ""), network.other_config.get("netmask", "")
    if not is_ipv4(first) or not is_ipv4(mask):
        return {"persistent_i": False}
    address = ["Static4", [[first, prefix_length(mask)]]]
    return {"ipv4_conf": address, "persistent_i": False}


def _add(view: View, pif: Row, bridges: Document, interfaces: Document, own: bool) -> None:
    """Add what a PIF needs; ``own`` False: it only carries a VLAN and gets no address."""
    network = view.find("network", pif.network)
    if network is None or not network.bridge:
        return
    kind = kind_of(pif)
    persistent = bool(pif.management or has_ip(pif) or kind in (PHYSICAL, BOND))
    bridge: Document = {
        "ports": {},
        "bridge_mac": pif.MAC,
        "other_config": {
            k: network.other_config[k] for k in BRIDGE_KEYS if k in network.other_config
        },
        "persistent_b": persistent,
    }
    mtu = mtu_of(view, pif)
    match kind:
        case "vlan":
            below = tagged_pif(view, pif)
            parent = None if below is None else view.find("network", below.network)
            if below is None or parent is None:
                return
            if parent.bridge not in bridges:
                _add(view, below, bridges, interfaces, own=False)
            bridge["vlan"] = [parent.bridge, pif.VLAN]
            bridge["bridge_mac"] = below.MAC
        case "bond":
            bridge["ports"] = _bond_port(view, pif)
            for slave in slaves_of(view, pif):
                interfaces[slave.device] = _device(slave, mtu)
        case "physical":
            bridge["ports"] = {pif.device: {"interfaces": [pif.device]}}
            interfaces[pif.device] = _device(pif, mtu)
    bridges[network.bridge] = bridge
    if own or network.bridge not in interfaces:
        interfaces[network.bridge] = _interface(view, pif, network, mtu, persistent, own)


def _bond_port(view: View, master: Row) -> Document:
    slaves = slaves_of(view, master)
    devices = [slave.device for slave in slaves]
    port: Document = {"interfaces": devices, "bond_mac": master.MAC}
    if len(devices) > 1:
        port["bond_properties"] = bond_properties(view, master)
    return {master.device: port}


def bond_properties(view: View, master: Row) -> dict[str, str]:
    """Give the options of a bond; keys ``bond-*`` of the master's other_config go over all."""
    found = dict(BOND_DEFAULTS)
    for ref in master.bond_master_of:
        bond = view.row("Bond", ref)
        found["mode"] = bond.mode
        if bond.mode == "lacp":
            found.pop("rebalance-interval")
        for key, value in bond.properties.items():
            found[key.replace("hashing_algorithm", "hashing-algorithm")] = value
    for key, value in master.other_config.items():
        if key.startswith("bond-"):
            found[key.removeprefix("bond-")] = value
    return found


def _device(pif: Row, mtu: int) -> Document:
    settings, offload = ethtool(pif.other_config)
    gro = pif.properties.get("gro")
    if gro is not None and all(name != "gro" for name, _ in offload):
        offload.append(["gro", gro])
    return {
        "mtu": mtu,
        "ethtool_settings": settings,
        "ethtool_offload": offload,
        "persistent_i": True,
    }


def ethtool(other_config: Mapping[str, str]) -> tuple[list[list[str]], list[list[str]]]:
    """Read the ``ethtool-*`` keys: settings and offload switches; lro is off unless asked for."""
    settings = [
        [name, other_config[f"ethtool-{name}"]]
        for name in SETTINGS
        if f"ethtool-{name}" in other_config
    ]
    offload: list[list[str]] = []
    for name in OFFLOADS:
        value = other_config.get(f"ethtool-{name}")
        if value in ON:
            offload.append([name, "on"])
        elif value in OFF or name == "lro":
            offload.append([name, "off"])
    return settings, offload


def _interface(
    view: View, pif: Row, network: Row, mtu: int, persistent: bool, own: bool
) -> Document:
    settings, offload = ethtool(network.other_config)
    found: Document = {
        "mtu": mtu,
        "ethtool_settings": settings,
        "ethtool_offload": offload,
        "persistent_i": persistent,
    }
    if not own:
        return found
    found |= _ipv4(pif)
    found |= _ipv6(pif)
    if pif.ip_configuration_mode == "Static":
        servers = [s.strip() for s in pif.DNS.split(",") if s.strip()]
        domains = [d.strip() for d in pif.other_config.get("domain", "").split(",") if d.strip()]
        found["dns"] = [servers, domains]
    found["ipv4_routes"] = static_routes(network.other_config.get("static-routes", ""))
    return found


def _ipv4(pif: Row) -> Document:
    match pif.ip_configuration_mode:
        case "DHCP":
            return {"ipv4_conf": ["DHCP4"]}
        case "Static":
            return {
                "ipv4_conf": ["Static4", [[pif.IP, prefix_length(pif.netmask)]]],
                "ipv4_gateway": pif.gateway or None,
            }
        case _:
            return {"ipv4_conf": ["None4"]}


def _ipv6(pif: Row) -> Document:
    match pif.ipv6_configuration_mode:
        case "DHCP":
            return {"ipv6_conf": ["DHCP6"]}
        case "Autoconf":
            return {"ipv6_conf": ["Autoconf6"]}
        case "Static":
            addresses = [text.partition("/") for text in pif.IPv6 if text]
            pairs = [[address, int(length or 64)] for address, _, length in addresses]
            return {"ipv6_conf": ["Static6", pairs], "ipv6_gateway": pif.ipv6_gateway or None}
        case _:
            return {"ipv6_conf": ["None6"]}


def prefix_length(netmask: str) -> int:
    """Give the number of leading ones of a netmask; ValueError when it is none."""
    bits = f"{int(ipaddress.IPv4Address(netmask)):032b}"
    length = bits.count("1")
    if bits != "1" * length + "0" * (32 - length):
        raise ValueError(f"{netmask} is no netmask")
    return length


def netmask(length: int) -> str:
    """Write a prefix length as a netmask."""
    return str(ipaddress.ip_network(f"0.0.0.0/{length}").netmask)


def static_routes(text: str) -> list[list[Any]]:
    """Read ``subnet/length/gateway,...``; what does not fit is left out."""
    found: list[list[Any]] = []
    for item in text.split(","):
        parts = item.strip().split("/")
        if len(parts) == 3 and parts[1].isdigit() and is_ipv4(parts[0]) and is_ipv4(parts[2]):
            found.append([parts[0], int(parts[1]), parts[2]])
    return found


def is_ipv4(text: str) -> bool:
    """Tell whether a text is an IPv4 address in dotted form."""
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def is_ipv6(text: str) -> bool:
    """Tell whether a text is an IPv6 address."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _chosen(view: View, pifs: list[Row], key: str) -> str | None:
    """Choose the bridge with the default route or the DNS servers of the host."""
    with_ip = [pif for pif in pifs if has_ip(pif)]
    marked = [pif for pif in with_ip if pif.other_config.get(key) == "true"]
    management = [pif for pif in with_ip if pif.management]
    for pif in (*marked, *management, *with_ip):
        network = view.find("network", pif.network)
        if network is not None and network.bridge:
            return str(network.bridge)
    return None

"""What ``ovs-vsctl`` is told, each step one transaction.  Pure.

Source: briefs, network section 15; ovs-vswitchd.conf.db(5).
"""

from collections.abc import Iterator, Mapping
from typing import Final

from xcp_networkd.contract import BridgeConfig, PortConfig, VifLock, VifPort

MAC_TABLE_SIZE: Final = "10000"
_FAIL_MODE_KEY: Final = "vswitch-controller-fail-mode"
_IN_BAND_KEY: Final = "vswitch-disable-in-band"
_CONSUMED: Final = frozenset(
    (
        *("mode", "miimon", "updelay", "downdelay", "use_carrier", "hashing-algorithm"),
        *("rebalance-interval", "lacp-time", "lacp-aggregation-key", "lacp-fallback-ab"),
        "lacp-actor-key",
    )
)


def create_bridge(name: str, config: BridgeConfig, datapath: str) -> list[str]:
    """Make a bridge, or for a VLAN a fake bridge, with its options."""
    place = [config.vlan[0], str(config.vlan[1])] if config.vlan else []
    made = ["--", "--may-exist", "add-br", name, *place]
    if config.vlan is None:
        made += ["--", "set", "bridge", name, f"datapath_type={datapath}"]
    return made + set_bridge(name, config)


def set_bridge(name: str, config: BridgeConfig) -> list[str]:
    """Bring a bridge's options to a configuration."""
    if config.vlan is not None:
        mac = ["--", "set", "interface", name, f"mac={_quoted(config.bridge_mac)}"]
        return mac if config.bridge_mac else []
    options = config.other_config
    fail_mode = options.get(_FAIL_MODE_KEY, "standalone")
    done = ["--", "set", "bridge", name]
    done += [f"fail_mode={'secure' if fail_mode == 'secure' else 'standalone'}"]
    done += [f"other_config:mac-table-size={options.get('mac-table-size', MAC_TABLE_SIZE)}"]
    done += [f"mcast_snooping_enable={str(bool(config.igmp_snooping)).lower()}"]
    done += [f"other_config:mcast-snooping-disable-flood-unregistered={_word(config)}"]
    if config.bridge_mac:
        done += [f"other_config:hwaddr={_quoted(config.bridge_mac)}"]
    if options.get(_IN_BAND_KEY) in ("true", "false"):
        return [*done, f"other_config:disable-in-band={options[_IN_BAND_KEY]}"]
    return [*done, "--", "remove", "bridge", name, "other_config", "disable-in-band"]


def _word(config: BridgeConfig) -> str:
    return str(bool(config.igmp_snooping)).lower()


def _quoted(text: str) -> str:
    return '"' + text + '"'


def destroy_bridge(name: str) -> list[str]:
    return ["--", "--if-exists", "del-br", name]


def remove_port(port: str) -> list[str]:
    return ["--", "--if-exists", "--with-iface", "del-port", port]


def add_port(bridge: str, port: str, config: PortConfig) -> list[str]:
    """Put a device, or a bond of several, into a bridge."""
    if len(config.interfaces) == 1:
        return ["--", "--may-exist", "add-port", bridge, config.interfaces[0]]
    done = ["--", "--if-exists", "--with-iface", "del-port", port]
    done += ["--", "add-bond", bridge, port, *config.interfaces]
    done += [f"{column}={value}" for column, value in bond_columns(config.bond_properties)]
    if config.bond_mac:
        done += ["--", "set", "port", port, f"mac={_quoted(config.bond_mac)}"]
    for member in config.interfaces:
        for key in ("lacp-aggregation-key", "lacp-actor-key"):
            value = config.bond_properties.get(key)
            if value and config.bond_properties.get("mode") == "lacp":
                done += ["--", "set", "interface", member, f"other_config:{key}={value}"]
    return done


def add_vif(bridge: str, vif: VifPort, *, move: bool) -> list[str]:
    """Put a virtual machine's device into a bridge, out of another when it moves."""
    done = remove_port(vif.name) if move else []
    done += ["--", "--may-exist", "add-port", bridge, vif.name]
    ids = {"attached-mac": vif.lock.mac, **vif.external_ids}
    words = [f"external_ids:{k}={_quoted(v)}" for k, v in sorted(ids.items()) if v]
    if vif.mtu:
        words.append(f"mtu_request={vif.mtu}")
    if words:
        done += ["--", "set", "interface", vif.name, *words]
    tags = ",".join(str(tag) for tag in vif.trunks)
    done += ["--", "set", "port", vif.name, f"trunks=[{tags}]"]
    return done + limit(vif.name, vif.lock)


def limit(vif: str, lock: VifLock) -> list[str]:
    """Drop what a device sends beyond its rate; the switch counts in kilobits."""
    rate, burst = _kilobits(lock.rate_kib), _kilobits(lock.burst_kib) if lock.rate_kib else 0
    policing = [f"ingress_policing_rate={rate}", f"ingress_policing_burst={burst}"]
    return ["--", "set", "interface", vif, *policing]


def _kilobits(kib: int) -> int:
    return kib * 1024 * 8 // 1000


def bond_columns(properties: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Give the columns of a bond's port; a map's member is ``other_config:key``."""
    mode = properties.get("mode", "balance-slb")
    if mode == "lacp":
        by_mac = properties.get("hashing-algorithm", "tcpudp_ports") == "src_mac"
        yield "lacp", "active"
        yield "bond_mode", "balance-slb" if by_mac else "balance-tcp"
        yield "other_config:lacp-time", properties.get("lacp-time", "slow")
        yield "other_config:lacp-fallback-ab", properties.get("lacp-fallback-ab", "true")
    else:
        yield "lacp", "off"
        yield "bond_mode", "active-backup" if mode == "active-backup" else "balance-slb"
        interval = properties.get("rebalance-interval", "1800000")
        yield "other_config:bond-rebalance-interval", interval
    yield "bond_updelay", properties.get("updelay", "31000")
    yield "bond_downdelay", properties.get("downdelay", "200")
    yield "other_config:bond-miimon-interval", properties.get("miimon", "100")
    carrier = properties.get("use_carrier", "1") != "0"
    yield "other_config:bond-detect-mode", "carrier" if carrier else "miimon"
    for key in sorted(set(properties) - _CONSUMED):
        yield f"other_config:bond-{key}", properties[key]


def request_mtu(interface: str, mtu: int) -> list[str]:
    return ["--", "set", "interface", interface, f"mtu_request={mtu}"]

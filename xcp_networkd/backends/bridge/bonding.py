"""Bond properties as attributes of the kernel's bonding driver.  Pure."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from xcp_networkd.netlink import codec
from xcp_networkd.netlink.codec import Device, Value

log = logging.getLogger(__name__)

MODE: Final = 1
MIIMON: Final = 3
UPDELAY: Final = 4
DOWNDELAY: Final = 5
USE_CARRIER: Final = 6
HASH_POLICY: Final = 14
LACP_RATE: Final = 21

ACTIVE_BACKUP: Final = 1
LACP: Final = 4
_LAYER2: Final = 0
_LAYER34: Final = 1
_DELAYS: Final = (
    (MIIMON, "miimon", 100),
    (UPDELAY, "updelay", 31000),
    (DOWNDELAY, "downdelay", 200),
)


def options(properties: Mapping[str, str]) -> dict[int, int]:
    """Give the driver's options.

    Stock kernels have no balance-slb; such a bond works as active-backup (balance-alb rewrites
    ARP answers and so does not work behind a bridge).
    """
    mode = properties.get("mode", "balance-slb")
    found = {MODE: LACP if mode == "lacp" else ACTIVE_BACKUP}
    for attribute, name, default in _DELAYS:
        text = properties.get(name, "")
        found[attribute] = int(text) if text.isdigit() else default
    found[USE_CARRIER] = int(properties.get("use_carrier", "1") != "0")
    if mode == "lacp":
        by_mac = properties.get("hashing-algorithm", "tcpudp_ports") == "src_mac"
        found[HASH_POLICY] = _LAYER2 if by_mac else _LAYER34
        found[LACP_RATE] = int(properties.get("lacp-time", "slow") == "fast")
    return found


_BYTES: Final = (MODE, USE_CARRIER, HASH_POLICY, LACP_RATE)


def attributes(properties: Mapping[str, str]) -> dict[int, Value]:
    """Give the options in the widths the kernel takes."""
    return {
        key: value.to_bytes(1, "little") if key in _BYTES else value
        for key, value in options(properties).items()
    }


def agrees(device: Device, properties: Mapping[str, str]) -> bool:
    """Whether a bond has the options that the properties ask for."""
    return all(device.number(key) == value for key, value in options(properties).items())


_COLLECTING_AND_DISTRIBUTING: Final = 0x30


def carrying(bond: Device, members: Sequence[Device]) -> list[Device]:
    """Give the members that traffic may take.

    Those with link; with LACP those of them that the peer agreed to, which may come two
    seconds after the link, or a single one where no peer speaks LACP.
    """
    up = [m for m in members if m.carrier and not m.slave_number(codec.SLAVE_MII_STATUS)]
    if bond.number(MODE) != LACP:
        return up
    states = {m.name: m.slave_number(codec.SLAVE_LACP_STATE) for m in up}
    agreed = [
        m
        for m in up
        if states[m.name] & _COLLECTING_AND_DISTRIBUTING == _COLLECTING_AND_DISTRIBUTING
    ]
    return agreed or up[:1]


def warn(name: str, properties: Mapping[str, str]) -> None:
    """Say where the kernel cannot do what was asked for."""
    if properties.get("mode", "balance-slb") == "balance-slb":
        log.warning("%s: this kernel has no balance-slb; the bond is active-backup", name)

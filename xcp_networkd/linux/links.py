"""Devices as the contract describes them, from what the kernel tells."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from xcp_networkd.contract import Counters, InterfaceConfig, Link
from xcp_networkd.linux import hardware
from xcp_networkd.linux.ethtool import Ethtool
from xcp_networkd.linux.functions import VirtualFunctions
from xcp_networkd.linux.interfaces import Facts, Snapshot
from xcp_networkd.netlink.codec import Device

_NIC_NAME: Final = re.compile(r"eth\d+")
_VIF_NAME: Final = re.compile(r"(vif|tap|xenvif)\d+[.-]\d+.*")


def is_nic(device: Device) -> bool:
    """Whether a device is a network card.

    Hardware has no driver kind.  A device called eth<N> counts whatever drives it, so that
    a container's NICs are NICs.  A card's virtual function is none: it is for a machine.
    """
    if not device.ethernet or _VIF_NAME.fullmatch(device.name):
        return False
    if hardware.is_virtual_function(device.parent):
        return False
    return not device.info or bool(_NIC_NAME.fullmatch(device.name))


def is_vif(device: Device) -> bool:
    """Whether a device belongs to a virtual machine (or to something we do not know)."""
    return device.ethernet and not is_nic(device) and device.info in ("", "veth", "tun", "vif")


def describe(
    device: Device, kind: str, snapshot: Snapshot, ethtool: Ethtool, master: str, config: Facts
) -> Link:
    """Give the contract's description of a device."""
    carrier = device.carrier
    speed, duplex, path, vendor, product = 0, "unknown", "", "", ""
    if kind in ("nic", "bond"):
        if carrier:
            speed, duplex = ethtool.speed(device.name)
        path, vendor, product = hardware.describe(device.parent)
    return Link(
        device.name,
        kind,
        device.permanent_mac or device.mac if kind == "nic" else device.mac,
        device.mtu,
        device.up,
        carrier,
        speed,
        duplex,
        path,
        vendor,
        product,
        bridge=master,
        ipv4=config.ipv4,
        ipv4_gateway=config.gateway4,
        ipv6=config.ipv6,
        ipv6_gateway=config.gateway6,
    )


def with_functions(link: Link, functions: VirtualFunctions) -> Link:
    """Add what a card can do and shows as SR-IOV."""
    able = functions.capabilities(link.name)
    if not able:
        return link
    shown = functions.addresses(link.name)
    return replace(link, capabilities=(*link.capabilities, *able), virtual_functions=shown)


def counters(device: Device) -> Counters:
    """The device's traffic."""
    rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors = device.counters
    return Counters(rx_bytes, tx_bytes, rx_packets, tx_packets, rx_errors, tx_errors)


def with_name_servers(
    link: Link,
    config: InterfaceConfig | None,
    leased: Callable[[str], tuple[tuple[str, ...], tuple[str, ...]]],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name servers and domains of a device: configured, or those its lease brought."""
    if config is None:
        return (), ()
    if config.ipv4_mode == "DHCP4":
        return leased(link.name)
    return config.name_servers, config.domains

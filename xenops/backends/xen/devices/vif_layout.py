"""Network devices in xenstore; pure.

Sources: Xen's netif.h; the reference toolstack's keys (XENOPS, section 9).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import orjson

from xapi_py.base.config import build
from xenops import errors
from xenops.backends.xen import paths
from xenops.backends.xen.devices.nodes import Node, Place, device_nodes
from xenops.metadata import Vif

BRIDGE_MAC: Final = "fe:ff:ff:ff:ff:ff"
"""The address of our end: higher than any guest's, so that no bridge takes it over."""

NO_SCRIPT: Final = "/bin/true"
"""Linux' netback insists on the name of a script; we run none."""

MAX_CREDIT: Final = (1 << 32) - 1
UNLIMITED: Final = f"{MAX_CREDIT},0"
"""What netback takes as no limit, in the form of a limit."""

OFFLOADS: Final = ("rx", "tx", "sg", "tso", "ufo", "gso")
STATIC_IP: Final = (
    "mac", "error-code", "error-msg", "enabled", "address", "gateway",
    "enabled6", "address6", "gateway6",
)  # fmt: skip


def devid(device: str) -> int:
    """Errors: Does_not_exist for what is no number."""
    if not device.isdecimal() or not device.isascii():
        raise errors.does_not_exist("VIF", device)
    return int(device)


def interface(domid: int, devid: int) -> str:
    """Name the control domain's end of a device."""
    return f"vif{domid}.{devid}"


def tap(domid: int, devid: int) -> str:
    """Name the control domain's end of the device that QEMU emulates."""
    return f"tap{domid}.{devid}"


@dataclass(frozen=True, slots=True)
class PluggedVif:
    """What we remember of a plugged VIF; it outlives the daemon in the mirror."""

    device: str
    mac: str
    bridge: str
    carrier: bool = True
    locking_mode: str = "network_default"
    rate: str = UNLIMITED

    def record(self) -> str:
        """Give the text that ``read_record`` reads."""
        return orjson.dumps(self).decode()


def plugged(vif: Vif) -> PluggedVif:
    """Give what is remembered of a VIF: a disabled one has no carrier."""
    limit = rate(vif) or UNLIMITED
    return PluggedVif(vif.device, vif.mac, vif.bridge, has_carrier(vif), vif.locking_mode, limit)


def read_record(text: str) -> PluggedVif:
    """Read a record back.  Errors: ConfigError, ValueError."""
    return build(orjson.loads(text), PluggedVif, "record")


def for_network(vif: Vif) -> Vif:
    """Give what the network is told of the end that netback serves: it keeps to the limit."""
    return replace(vif, rate_kbps=0)


def has_carrier(vif: Vif) -> bool:
    """Whether the guest is to see a cable; carrier and locking mode go together."""
    return vif.carrier and vif.locking_mode != "disabled"


def rate(vif: Vif) -> str | None:
    """Give netback's ``bytes,microseconds``; None for no limit, or one it cannot hold."""
    credit = vif.rate_kbps * 1024 * vif.rate_timeslice_us // 1_000_000
    return f"{credit},{vif.rate_timeslice_us}" if 0 < credit < MAX_CREDIT else None


def place(domid: int, vm: str, device: str) -> Place:
    """Tell where a VIF is in xenstore."""
    return Place(domid, vm, "vif", devid(device), "vif")


def vif_nodes(where: Place, vif: Vif) -> list[Node]:
    """Give all nodes of a new network device."""
    frontend = {
        "handle": f"{where.devid}",
        "mac": vif.mac,
        "disconnect": "0" if has_carrier(vif) else "1",
        **({"mtu": f"{vif.mtu}"} if vif.mtu > 0 else {}),
    }
    limit = rate(vif)
    backend = {
        "script": NO_SCRIPT,
        "mac": vif.mac,
        "handle": f"{where.devid}",
        "bridge": vif.bridge,
        "type": "vif",
        **({"rate": limit} if limit else {}),
    }
    record = plugged(vif).record()
    return [
        *device_nodes(where, frontend, backend, private_keys(where, vif), record),
        *static_ip_nodes(where, vif),
    ]


def private_keys(where: Place, vif: Vif) -> dict[str, str]:
    """Give what only the control domain sees of a network device."""
    keys = {
        "vif-id": f"{where.vm}.{vif.device}",
        "mac": vif.mac,
        "MTU": f"{vif.mtu}",
        "bridge": vif.bridge,
        "bridge-MAC": BRIDGE_MAC,
        "locking-mode": vif.locking_mode,
        "ipv4-allowed": ",".join(vif.ipv4_allowed),
        "ipv6-allowed": ",".join(vif.ipv6_allowed),
        "xenopsd-backend": "classic",
    }
    if vif.rate_kbps > 0:
        keys |= {"rate": f"{vif.rate_kbps}", "timeslice": f"{vif.rate_timeslice_us}"}
    keys |= {f"other-config/{key}": value for key, value in vif.other_config.items()}
    return keys | dict(vif.extra_private_keys)


def changes(where: Place, before: PluggedVif, vif: Vif) -> dict[str, str]:
    """Give the keys to write when a plugged device gets other settings.

    The guest's address settings are told anew when there are any.
    """
    keys = {f"{where.private}/{k}": v for k, v in private_keys(where, vif).items()}
    keys[f"{where.mirror}/record"] = plugged(vif).record()
    keys[f"{where.backend}/bridge"] = vif.bridge
    if plugged(vif).rate != before.rate:
        keys[f"{where.backend}/rate"] = plugged(vif).rate
    if has_carrier(vif) != before.carrier:
        keys[f"{where.frontend}/disconnect"] = "0" if has_carrier(vif) else "1"
    return keys | {node.path: node.value for node in static_ip_nodes(where, vif)}


def static_ip_nodes(where: Place, vif: Vif) -> list[Node]:
    """Give the address settings that the guest's agent carries out."""
    base = f"{paths.home(where.domid)}/xenserver/device/vif/{where.devid}/static-ip-setting"
    if not vif.static_ip:
        return []
    settings = {"mac": vif.mac, "error-code": "0", "error-msg": "", **vif.static_ip}
    owned = (f"n{where.domid}",)
    return [
        Node(base, "", owned),
        *(Node(f"{base}/{key}", settings[key]) for key in STATIC_IP if key in settings),
    ]


def offloads(other_config: Mapping[str, str]) -> dict[str, bool]:
    """Give the ``ethtool-*`` settings that can be read: name to on or off."""
    words = {"true": True, "on": True, "false": False, "off": False}
    found = {name: other_config.get(f"ethtool-{name}", "").lower() for name in OFFLOADS}
    return {name: words[text] for name, text in found.items() if text in words}

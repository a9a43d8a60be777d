"""Bonds: which options are good, and what moves when a bond is made or removed.  Pure.

Source: brief NETWORK 8.
"""

from collections.abc import Mapping

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan.network_config import has_ip

LACP = "lacp"
_LACP_DEFAULTS = {
    "hashing_algorithm": "tcpudp_ports",
    "lacp-time": "slow",
    "lacp-fallback-ab": "true",
}
_CHOICES = {
    "hashing_algorithm": ("src_mac", "tcpudp_ports"),
    "lacp-time": ("slow", "fast"),
    "lacp-fallback-ab": ("true", "false"),
}
NUMBER_KEY = "lacp-aggregation-key"
MOST_MEMBERS = {"openvswitch": 4, "bridge": 2}
"""NICs a bond may have, by the host's network backend."""

IP_FIELDS = (
    "ip_configuration_mode",
    "IP",
    "netmask",
    "gateway",
    "DNS",
    "ipv6_configuration_mode",
    "IPv6",
    "ipv6_gateway",
)
NO_IP: Mapping[str, object] = {
    "ip_configuration_mode": "None",
    "IP": "",
    "netmask": "",
    "gateway": "",
    "DNS": "",
    "ipv6_configuration_mode": "None",
    "IPv6": (),
    "ipv6_gateway": "",
}


def is_valid(mode: str, name: str, value: str) -> bool:
    """Tell whether a bond of a mode takes an option; only LACP bonds have any."""
    if mode != LACP:
        return False
    if name == NUMBER_KEY:
        return value.lstrip("-").isdigit()
    return value in _CHOICES.get(name, ())


def checked(mode: str, properties: Mapping[str, str]) -> dict[str, str]:
    """Give options with the mode's defaults added.  Errors: INVALID_VALUE."""
    for name, value in properties.items():
        if not is_valid(mode, name, value):
            raise err.INVALID_VALUE("properties", f"{name} = {value}")
    return {**(_LACP_DEFAULTS if mode == LACP else {}), **properties}


def kept(mode: str, properties: Mapping[str, str]) -> dict[str, str]:
    """Give the options that stay good in another mode, with its defaults added."""
    good = {k: v for k, v in properties.items() if is_valid(mode, k, v)}
    return checked(mode, good)


def size_error(count: int, backend: str) -> ApiError | None:
    """Refuse more NICs than the backend is made for.  Source: brief NETWORK 8."""
    most = MOST_MEMBERS.get(backend, max(MOST_MEMBERS.values()))
    if count <= most:
        return None
    return err.OPERATION_NOT_ALLOWED(f"A bond of this host has at most {most} NICs")


def primary_of(members: list[Row]) -> Row:
    """Choose the member whose address and MAC the bond takes over."""
    management = [m for m in members if m.management]
    with_ip = [m for m in members if has_ip(m)]
    return (*management, *with_ip, *members)[0]

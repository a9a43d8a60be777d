"""Addresses of guests on the network between a host and its own guests.  Pure.

Source: brief NETWORK 13.
"""

import ipaddress
from collections.abc import Iterable, Mapping

from xapi_py.db.row import Row
from xapi_py.plan.network_config import is_ipv4


def assigned(network: Row, vifs: Iterable[str]) -> Mapping[str, str]:
    """Give an address to each VIF, by its reference.

    The address a VIF has stays; others get the first free ones after the host's own.  A
    VIF gets none when the range is used up, or none is set.
    """
    first, last = (network.other_config.get(key, "") for key in ("ip_begin", "ip_end"))
    wanted = list(vifs)
    found = {ref: ip for ref, ip in network.assigned_ips.items() if ref in set(wanted)}
    if not is_ipv4(first) or not is_ipv4(last):
        return found
    taken = {int(ipaddress.IPv4Address(ip)) for ip in found.values() if is_ipv4(ip)}
    number, end = int(ipaddress.IPv4Address(first)) + 1, int(ipaddress.IPv4Address(last))
    for ref in wanted:
        if ref in found:
            continue
        while number in taken:
            number += 1
        if number > end:
            break
        found[ref] = str(ipaddress.IPv4Address(number))
        taken.add(number)
    return found

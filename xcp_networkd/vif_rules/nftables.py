"""VIF locking and limits for the Linux bridge: one nftables table of the bridge family.

Frames are judged before the bridge looks at them, so a forged one does not even reach the
bridge's address table.  A verdict map finds a device's chain, so the number of
devices does not slow the others down.
"""

import ipaddress
import re
from typing import Final

from xcp_networkd.contract import VifLock

TABLE: Final = "bridge xapi"
_BASE: Final = f"""\
add table {TABLE}
add map {TABLE} senders {{ type ifname : verdict; }}
add map {TABLE} receivers {{ type ifname : verdict; }}
add chain {TABLE} from_vif {{ type filter hook prerouting priority -300; policy accept; }}
add chain {TABLE} to_vif {{ type filter hook postrouting priority 300; policy accept; }}
flush chain {TABLE} from_vif
flush chain {TABLE} to_vif
add rule {TABLE} from_vif iifname vmap @senders
add rule {TABLE} to_vif oifname vmap @receivers
"""


def chain_name(vif: str) -> str:
    """Give the name of a device's chain; no two devices share one."""
    return "of_" + re.sub(r"[^A-Za-z0-9]", lambda m: f"_{ord(m.group()):02x}", vif)


def ruleset(vif: str, lock: VifLock) -> str:
    """Give what ``nft -f -`` takes in one transaction, whatever was there before."""
    chain = chain_name(vif)
    lines = [
        _BASE + f"add chain {TABLE} {chain}",
        f'add element {TABLE} senders {{ "{vif}" : jump {chain} }}',
        f'add element {TABLE} receivers {{ "{vif}" : drop }}',
    ]
    if lock.mode != "disabled":
        lines.append(f'delete element {TABLE} receivers {{ "{vif}" : drop }}')
    rules = _rules(lock)
    if not rules:
        lines.append(f'delete element {TABLE} senders {{ "{vif}" : jump {chain} }}')
    lines.append(f"flush chain {TABLE} {chain}")
    if not rules:
        lines.append(f"delete chain {TABLE} {chain}")
    lines += [f"add rule {TABLE} {chain} {rule}" for rule in rules]
    return "\n".join(lines) + "\n"


def needed(lock: VifLock) -> bool:
    """Whether a device has rules at all."""
    return bool(_rules(lock))


def _rules(lock: VifLock) -> list[str]:
    if lock.mode == "disabled":
        return ["drop"]
    # The kernel adds a second's worth to what is given as burst.
    more = lock.burst_kib - lock.rate_kib
    most = f"limit rate over {lock.rate_kib} kbytes/second burst {more} kbytes drop"
    rules = [most] if lock.rate_kib else []
    return rules + (locked_rules(lock) if lock.mode == "locked" else [])


def locked_rules(lock: VifLock) -> list[str]:
    """Give the rules of a locked device, first match wins."""
    rules = [
        f"ether saddr != {lock.mac} drop",
        "ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",
    ]
    senders = ", ".join(("0.0.0.0", *lock.ipv4_allowed))
    rules.append(f"ether type arp arp saddr ether {lock.mac} arp saddr ip {{ {senders} }} accept")
    if lock.ipv4_allowed:
        rules.append(f"ether type ip ip saddr {{ {', '.join(lock.ipv4_allowed)} }} accept")
    if lock.ipv6_allowed:
        allowed = ", ".join(lock.ipv6_allowed)
        # Router and redirect messages come from routers, not from guests.
        rules.append("ether type ip6 icmpv6 type { 134, 137, 146, 147, 151, 152, 153 } drop")
        for address in lock.ipv6_allowed:
            target = f"@nh,384,128 {int(ipaddress.ip_address(address)):#034x}"
            # Duplicate address detection asks from the unspecified address.
            rules += [
                f"ether type ip6 ip6 saddr :: icmpv6 type 135 {target} accept",
                f"ether type ip6 ip6 saddr {{ {allowed} }} icmpv6 type 136 {target} accept",
            ]
        rules += [
            "ether type ip6 icmpv6 type 136 drop",
            f"ether type ip6 ip6 saddr {{ {allowed} }} accept",
        ]
    return [*rules, "drop"]

"""VIF locking for Open vSwitch: flows of one input port.

Source: briefs, network section 17.
"""

from hashlib import blake2b
from typing import Final

from xcp_networkd.contract import VifLock

_OURS: Final = 0x786170 << 40
"""Upper bits of the marks on our flows; those of a controller are its own."""


def cookie(vif: str) -> int:
    """Give the mark of a device's flows: its number changes with the bridge it is in."""
    return _OURS | int.from_bytes(blake2b(vif.encode(), digest_size=5).digest())


def no_flows(vif: str) -> str:
    """Give what ``ovs-ofctl --bundle add-flows BRIDGE -`` takes to forget a device."""
    return f"delete cookie={cookie(vif):#x}/-1\n"


def flow_mods(vif: str, port: int, lock: VifLock) -> str:
    """Give what ``ovs-ofctl --bundle add-flows BRIDGE -`` takes, whatever was there before."""
    lines = [no_flows(vif).rstrip(), f"delete cookie={_OURS:#x}/0xffffff0000000000,in_port={port}"]
    flows = {"unlocked": [], "disabled": [(4000, "", "drop")]}.get(lock.mode)
    for priority, match, action in locked_flows(lock) if flows is None else flows:
        parts = [f"cookie={cookie(vif):#x}", f"priority={priority}", f"in_port={port}"]
        parts += [match] if match else []
        lines.append(f"add {','.join(parts)},actions={action}")
    return "\n".join(lines) + "\n"


def locked_flows(lock: VifLock) -> list[tuple[int, str, str]]:
    """Give priority, match and action; the highest matching priority wins."""
    mac = lock.mac
    flows = [(8000, f"udp,dl_src={mac},nw_src=0.0.0.0,tp_src=68,tp_dst=67", "normal")]
    for address in ("0.0.0.0", *lock.ipv4_allowed):
        flows.append((7000, f"arp,dl_src={mac},arp_sha={mac},nw_src={address}", "normal"))
    for address in lock.ipv4_allowed:
        flows.append((6000, f"ip,dl_src={mac},nw_src={address}", "normal"))
    for address in lock.ipv6_allowed:
        solicit = f"icmp6,dl_src={mac},icmp_type=135"
        flows += [
            # Duplicate address detection asks from the unspecified address.
            (8000, f"{solicit},ipv6_src=::,nd_target={address}", "normal"),
            (8000, f"{solicit},ipv6_src={address},nd_sll={mac}", "normal"),
            (8000, f"icmp6,dl_src={mac},icmp_type=136,nd_target={address}", "normal"),
            *((5000, f"{kind},dl_src={mac},ipv6_src={address}", "normal") for kind in _KINDS),
        ]
    flows += [(7000, f"icmp6,icmp_type={kind}", "drop") for kind in (135, 136)]
    # Router and redirect messages come from routers, not from guests.
    flows += [(6000, f"icmp6,icmp_type={kind}", "drop") for kind in _ROUTERS]
    return [*flows, (4000, "", "drop")]


_KINDS: Final = ("icmp6", "tcp6", "udp6")
_ROUTERS: Final = (134, 137, 146, 147, 151, 152, 153)

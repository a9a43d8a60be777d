"""Whether the host can talk through an interface: carrier, address, a gateway that answers."""

import contextlib
import ipaddress
import socket
import time
from typing import Final

from xcp_networkd.linux.interfaces import Snapshot
from xcp_networkd.netlink.kernel import Kernel

_REACHABLE: Final = 0x02 | 0x40 | 0x80
"""Neighbour states reachable, noarp, permanent: it answered, or need not."""
_FIXED: Final = 0x40 | 0x80
_PROBE_S: Final = 0.5
_STEP_S: Final = 0.02
_DISCARD_PORT: Final = 9


def reachable(kernel: Kernel, interface: str) -> bool:
    """Ask the gateway, half a second at most; without gateway carrier and address are enough."""
    snapshot = Snapshot.take(kernel)
    device = snapshot.devices.get(interface)
    if device is None or not device.up or not device.carrier:
        return False
    facts = snapshot.facts(interface)
    if not facts.ipv4 and not facts.ipv6:
        return False
    gateway = facts.gateway4 or facts.gateway6
    return not gateway or _answers(kernel, device.index, interface, gateway)


def _answers(kernel: Kernel, index: int, interface: str, gateway: str) -> bool:
    version6 = ipaddress.ip_address(gateway).version == 6
    family = socket.AF_INET6 if version6 else socket.AF_INET
    for found, text, state in kernel.neighbours():
        # What was known before a change says nothing about now.
        if (found, text) == (index, gateway) and not state & _FIXED:
            kernel.delete_neighbour(index, family, gateway)
    # Whatever is sent makes the kernel ask for the gateway's MAC; the answer is what counts.
    with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        address = (gateway, _DISCARD_PORT, 0, index) if version6 else (gateway, _DISCARD_PORT)
        probe.sendto(b"", address)
    end = time.monotonic() + _PROBE_S
    while True:
        for found, address_text, state in kernel.neighbours():
            if (found, address_text) == (index, gateway) and state & _REACHABLE:
                return True
        if time.monotonic() > end:
            return False
        time.sleep(_STEP_S)

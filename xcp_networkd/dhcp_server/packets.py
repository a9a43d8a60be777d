"""What is answered to a DHCP client: bytes in, bytes out.  Pure.

Only fixed leases by MAC, no router and no name servers: the network leads to the host alone.
Source: RFC 2131, RFC 2132.
"""

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

LEASE_S: Final = 3600
_HEAD: Final = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s")
_COOKIE: Final = b"\x63\x82\x53\x63"
_MINIMUM: Final = 300
_REQUEST, _REPLY = 1, 2
_ETHERNET: Final = 1
_BROADCAST_FLAG: Final = 0x8000

DISCOVER, OFFER, REQUEST, ACK, NAK, INFORM = 1, 2, 3, 5, 6, 8
_MASK, _WANTED, _LEASE, _KIND, _SERVER = 1, 50, 51, 53, 54
_PAD, _END = 0, 255
_NOBODY: Final = bytes(4)


@dataclass(frozen=True, slots=True)
class Leases:
    """The server's own address and what each MAC gets."""

    address: str
    prefix_length: int
    by_mac: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """A packet and where it goes: an address of the client's, or everybody."""

    packet: bytes
    address: str = "255.255.255.255"


@dataclass(frozen=True, slots=True)
class _Question:
    kind: int
    transaction: int
    flags: int
    client: bytes
    hardware: bytes
    mac: str
    options: Mapping[int, bytes]


def answer(packet: bytes, leases: Leases) -> Answer | None:
    """Answer a client that has a lease; None for anything else."""
    asked = _question(packet)
    if asked is None:
        return None
    address = leases.by_mac.get(asked.mac)
    server = ipaddress.IPv4Address(leases.address).packed
    chosen = asked.options.get(_SERVER)
    if address is None or chosen not in (None, server):
        return None
    lease = ipaddress.IPv4Address(address).packed
    match asked.kind:
        case 1:
            return _reply(asked, leases, OFFER, lease)
        case 3:
            wanted = asked.options.get(_WANTED, asked.client)
            return _reply(asked, leases, ACK if wanted == lease else NAK, lease)
        case 8:
            return _reply(asked, leases, ACK, _NOBODY)
    return None


def _question(packet: bytes) -> _Question | None:
    if len(packet) < _HEAD.size + len(_COOKIE):
        return None
    op, hardware_type, length, _, transaction, _, flags, client, *_rest = _HEAD.unpack_from(packet)
    hardware = packet[28:44]
    if (op, hardware_type, length) != (_REQUEST, _ETHERNET, 6):
        return None
    options = _options(packet[_HEAD.size :])
    kind = options.get(_KIND, b"")
    if len(kind) != 1:
        return None
    mac = hardware[:6].hex(":")
    return _Question(kind[0], transaction, flags, client, hardware, mac, options)


def _options(data: bytes) -> dict[int, bytes]:
    """Read the options; empty when they are cut off or not there."""
    found: dict[int, bytes] = {}
    if not data.startswith(_COOKIE):
        return found
    place = len(_COOKIE)
    while place < len(data) and data[place] != _END:
        if data[place] == _PAD:
            place += 1
            continue
        if place + 2 > len(data) or place + 2 + data[place + 1] > len(data):
            return {}
        found[data[place]] = data[place + 2 : place + 2 + data[place + 1]]
        place += 2 + data[place + 1]
    return found


def _reply(asked: _Question, leases: Leases, kind: int, lease: bytes) -> Answer:
    refused = kind == NAK
    head = _HEAD.pack(
        *(_REPLY, _ETHERNET, 6, 0, asked.transaction, 0),
        asked.flags | (_BROADCAST_FLAG if refused else 0),
        _NOBODY if refused else asked.client,
        _NOBODY if refused else lease,
        *(_NOBODY, _NOBODY, asked.hardware, b"", b""),
    )
    network = ipaddress.IPv4Network(f"0.0.0.0/{leases.prefix_length}")
    options = {_KIND: bytes([kind]), _SERVER: ipaddress.IPv4Address(leases.address).packed}
    if not refused:
        options[_MASK] = network.netmask.packed
        if lease != _NOBODY:
            options[_LEASE] = LEASE_S.to_bytes(4, "big")
    body = b"".join(bytes([key, len(value)]) + value for key, value in options.items())
    packet = (head + _COOKIE + body + bytes([_END])).ljust(_MINIMUM, b"\0")
    if refused or asked.client == _NOBODY:
        return Answer(packet)
    return Answer(packet, str(ipaddress.IPv4Address(asked.client)))

"""Messages of routing netlink: bytes to values and back.  Pure.

Own code because a dump of 240 links takes a general netlink library 200 ms,
and applying an unchanged configuration has 100 ms for everything.
Source: Linux, include/uapi/linux/{netlink,rtnetlink,if_link,if_addr,neighbour}.h.
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

NEW_LINK: Final = 16
DEL_LINK: Final = 17
GET_LINK: Final = 18
NEW_ADDRESS: Final = 20
DEL_ADDRESS: Final = 21
GET_ADDRESS: Final = 22
NEW_ROUTE: Final = 24
DEL_ROUTE: Final = 25
GET_ROUTE: Final = 26
DEL_NEIGHBOUR: Final = 29
GET_NEIGHBOUR: Final = 30
ERROR: Final = 2
DONE: Final = 3

REQUEST: Final = 0x1
ACK: Final = 0x4
REPLACE: Final = 0x100
EXCLUSIVE: Final = 0x200
DUMP: Final = 0x300
CREATE: Final = 0x400

FLAG_UP: Final = 0x1
FLAG_LOOPBACK: Final = 0x8
FLAG_LOWER_UP: Final = 0x10000
ETHERNET: Final = 1
SKIP_STATISTICS: Final = 8

IFLA_ADDRESS: Final = 1
IFLA_IFNAME: Final = 3
IFLA_MTU: Final = 4
IFLA_LINK: Final = 5
IFLA_MASTER: Final = 10
IFLA_LINKINFO: Final = 18
IFLA_IFALIAS: Final = 20
IFLA_STATS64: Final = 23
IFLA_EXT_MASK: Final = 29
IFLA_PERM_ADDRESS: Final = 54
IFLA_PARENT_DEV_NAME: Final = 56
INFO_KIND: Final = 1
INFO_DATA: Final = 2
INFO_SLAVE_DATA: Final = 5
BRIDGE_FORWARD_DELAY: Final = 1
BRIDGE_STP: Final = 5
BRIDGE_SNOOPING: Final = 23
VLAN_ID: Final = 1
BOND_ACTIVE_SLAVE: Final = 2
SLAVE_MII_STATUS: Final = 2
SLAVE_PERM_ADDRESS: Final = 4
SLAVE_LACP_STATE: Final = 7

RTPROT_STATIC: Final = 4
RTPROT_DHCP: Final = 16
MAIN_TABLE: Final = 254

_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR: Final = struct.Struct("=BxxxiHBB")
_ATTRIBUTE: Final = struct.Struct("=HH")
_U32: Final = struct.Struct("=I")
_STATS: Final = struct.Struct("=6Q")
_TYPE_MASK: Final = 0x3FFF
_NESTED: Final = 0x8000

Value = int | str | bytes | Mapping[int, "Value"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an answer: its type and what follows the header."""

    kind: int
    body: memoryview


@dataclass(frozen=True, slots=True)
class Device:
    """A network device as the kernel describes it.

    ``info`` is the driver's kind, empty for hardware; ``data`` its attributes
    and ``slave_data`` those its master keeps on it, undecoded.
    """

    index: int
    name: str
    info: str
    mac: str
    mtu: int
    flags: int
    ethernet: bool
    master: int
    lower: int
    alias: str
    permanent_mac: str
    parent: str
    data: Mapping[int, bytes]
    slave_data: Mapping[int, bytes]
    counters: tuple[int, int, int, int, int, int]

    @property
    def up(self) -> bool:
        return bool(self.flags & FLAG_UP)

    @property
    def carrier(self) -> bool:
        return bool(self.flags & FLAG_LOWER_UP)

    def number(self, attribute: int) -> int:
        """One of the driver's numbers, 0 when it is absent."""
        return _number(self.data.get(attribute, b""))

    def slave_number(self, attribute: int) -> int:
        return _number(self.slave_data.get(attribute, b""))


_PERMANENT: Final = 0x80


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """An address on a device; ``scope`` 0 is global, 253 the link's own.

    One that a lease or a router gave is not ``permanent``.
    """

    index: int
    family: int
    address: str
    prefix_length: int
    scope: int
    permanent: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table; the default route's subnet is empty."""

    index: int
    family: int
    subnet: str
    prefix_length: int
    gateway: str
    protocol: int


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def attributes(values: Mapping[int, Value]) -> bytes:
    """Pack attributes; an int is 32 bits wide, other widths are given as bytes."""
    parts = []
    for key, value in values.items():
        match value:
            case int():
                raw = _U32.pack(value)
            case str():
                raw = value.encode() + b"\0"
            case bytes():
                raw = value
            case _:
                raw, key = attributes(value), key | _NESTED
        parts.append(_ATTRIBUTE.pack(len(raw) + 4, key) + raw + bytes(-len(raw) % 4))
    return b"".join(parts)


def parse_attributes(body: memoryview) -> dict[int, bytes]:
    """Unpack the attributes of one level."""
    found: dict[int, bytes] = {}
    position, end = 0, len(body)
    while position + 4 <= end:
        length, key = _ATTRIBUTE.unpack_from(body, position)
        if length < 4 or position + length > end:
            break
        found[key & _TYPE_MASK] = bytes(body[position + 4 : position + length])
        position += (length + 3) & ~3
    return found


def request(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Give a whole message."""
    return _HEADER.pack(len(body) + 16, kind, flags | REQUEST, sequence, 0) + body


def messages(data: bytes) -> Iterator[Message]:
    """Split what one read of the socket gave."""
    view, position = memoryview(data), 0
    while position + 16 <= len(view):
        length, kind, *_ = _HEADER.unpack_from(view, position)
        if length < 16:
            return
        yield Message(kind, view[position + 16 : position + length])
        position += (length + 3) & ~3


def error_number(message: Message) -> int:
    """The errno of an ERROR message; 0 is an acknowledgement."""
    return -int(struct.unpack_from("=i", message.body)[0])


def link_body(
    values: Mapping[int, Value], *, index: int = 0, flags: int = 0, change: int = 0
) -> bytes:
    return _LINK.pack(0, 0, index, flags, change) + attributes(values)


def address_body(index: int, family: int, address: str, prefix_length: int) -> bytes:
    raw = socket.inet_pton(family, address)
    values: dict[int, Value] = {1: raw}
    if family == socket.AF_INET:
        values[2] = raw
        if prefix_length < 31:
            host_bits = (1 << (32 - prefix_length)) - 1
            values[4] = (int.from_bytes(raw, "big") | host_bits).to_bytes(4, "big")
    return _ADDRESS.pack(family, prefix_length, 0, 0, index) + attributes(values)


def route_body(route: Route) -> bytes:
    """A unicast route through a gateway."""
    values: dict[int, Value] = {4: route.index}
    if route.gateway:
        values[5] = socket.inet_pton(route.family, route.gateway)
    if route.subnet:
        values[1] = socket.inet_pton(route.family, route.subnet)
    length = route.prefix_length if route.subnet else 0
    header = _ROUTE.pack(route.family, length, 0, 0, MAIN_TABLE, route.protocol, 0, 1, 0)
    return header + attributes(values)


def neighbour_body(index: int, family: int, address: str) -> bytes:
    raw = socket.inet_pton(family, address)
    return _NEIGHBOUR.pack(family, index, 0, 0, 0) + attributes({1: raw})


def dump_body(kind: int, index: int = 0) -> bytes:
    """What goes into a dump request of a kind, for one device if ``index`` is given."""
    if kind == GET_ADDRESS:
        return _ADDRESS.pack(0, 0, 0, 0, index)
    if kind == GET_ROUTE:
        return _ROUTE.pack(0, 0, 0, 0, 0, 0, 0, 0, 0) + attributes({4: index} if index else {})
    return _NEIGHBOUR.pack(0, 0, 0, 0, 0)


def device(message: Message) -> Device:
    """Read a NEW_LINK or DEL_LINK message."""
    _, hardware, index, flags, _ = _LINK.unpack_from(message.body)
    found = parse_attributes(message.body[16:])
    info = parse_attributes(memoryview(found.get(IFLA_LINKINFO, b"")))
    statistics = found.get(IFLA_STATS64, b"")
    return Device(
        index,
        _text(found.get(IFLA_IFNAME, b"")),
        _text(info.get(INFO_KIND, b"")),
        found.get(IFLA_ADDRESS, b"").hex(":"),
        _number(found.get(IFLA_MTU, b"")),
        flags,
        hardware == ETHERNET and not flags & FLAG_LOOPBACK,
        _number(found.get(IFLA_MASTER, b"")),
        _number(found.get(IFLA_LINK, b"")),
        _text(found.get(IFLA_IFALIAS, b"")),
        found.get(IFLA_PERM_ADDRESS, b"").hex(":"),
        _text(found.get(IFLA_PARENT_DEV_NAME, b"")),
        parse_attributes(memoryview(info.get(INFO_DATA, b""))),
        parse_attributes(memoryview(info.get(INFO_SLAVE_DATA, b""))),
        _STATS.unpack_from(statistics) if len(statistics) >= _STATS.size else (0,) * 6,
    )


def address(message: Message) -> DeviceAddress:
    """Read a NEW_ADDRESS or DEL_ADDRESS message."""
    family, prefix_length, flags, scope, index = _ADDRESS.unpack_from(message.body)
    found = parse_attributes(message.body[8:])
    raw = found.get(2) or found.get(1, b"")
    text, permanent = socket.inet_ntop(family, raw), bool(flags & _PERMANENT)
    return DeviceAddress(index, family, text, prefix_length, scope, permanent)


def route(message: Message) -> Route | None:
    """Read a unicast route of the main table; None for any other."""
    family, length, _, _, table, protocol, _, kind, _ = _ROUTE.unpack_from(message.body)
    found = parse_attributes(message.body[12:])
    if _number(found.get(15, b"")) not in (0, MAIN_TABLE) or table != MAIN_TABLE or kind != 1:
        return None
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return Route(
        _number(found.get(4, b"")),
        family,
        socket.inet_ntop(family, found[1]) if 1 in found else "",
        length,
        socket.inet_ntop(family, found[5]) if 5 in found else "",
        protocol,
    )


def neighbour(message: Message) -> tuple[int, str, int]:
    """Read a neighbour: device index, address, state bits."""
    family, index, state, _, _ = _NEIGHBOUR.unpack_from(message.body)
    raw = parse_attributes(message.body[12:]).get(1, b"")
    known = len(raw) in (4, 16) and family in (socket.AF_INET, socket.AF_INET6)
    return index, socket.inet_ntop(family, raw) if known else "", state


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")

import socket
import struct
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from xcp_networkd.netlink import codec

_leaf = st.binary(max_size=40)
_level = st.dictionaries(st.integers(1, 0x3FFF), _leaf, max_size=6)


@given(_level)
def test_attributes_come_back_as_they_were(values: dict[int, bytes]) -> None:
    assert codec.parse_attributes(memoryview(codec.attributes(values))) == values


@given(st.dictionaries(st.integers(1, 100), _level, max_size=4))
def test_nested_attributes_come_back(values: dict[int, dict[int, bytes]]) -> None:
    outer = codec.parse_attributes(memoryview(codec.attributes(values)))
    assert {k: codec.parse_attributes(memoryview(v)) for k, v in outer.items()} == values


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_trouble(data: bytes) -> None:
    for message in codec.messages(data):
        codec.parse_attributes(message.body)


@given(
    st.ip_addresses(v=4).map(str),
    st.integers(0, 32),
    st.integers(1, 1000),
    st.ip_addresses(v=4).map(str),
)
def test_routes_come_back(subnet: str, length: int, index: int, gateway: str) -> None:
    route = codec.Route(index, socket.AF_INET, subnet, length, gateway, codec.RTPROT_STATIC)
    body = codec.route_body(route)
    # The kernel's answers name the kind of route; ours is unicast.
    assert body[7] == 1
    assert codec.route(codec.Message(codec.NEW_ROUTE, memoryview(body))) == route


@given(st.ip_addresses().map(str), st.integers(1, 32))
def test_addresses_come_back(address: str, length: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    body = codec.address_body(7, family, address, length)
    found = codec.address(codec.Message(codec.NEW_ADDRESS, memoryview(body)))
    expected = codec.DeviceAddress(7, family, _canonical(family, address), length, 0, False)
    assert found == expected
    body = body[:2] + b"\x80" + body[3:]  # what the kernel says of an address nobody leased
    found = codec.address(codec.Message(codec.NEW_ADDRESS, memoryview(body)))
    assert found == replace(expected, permanent=True)


def _canonical(family: int, address: str) -> str:
    return socket.inet_ntop(family, socket.inet_pton(family, address))


def test_broadcast_address_is_the_last_of_the_subnet() -> None:
    body = codec.address_body(1, socket.AF_INET, "192.0.2.10", 26)
    assert codec.parse_attributes(memoryview(body)[8:])[4] == socket.inet_aton("192.0.2.63")


def test_error_numbers_are_positive() -> None:
    message = codec.Message(codec.ERROR, memoryview(struct.pack("=i", -17)))
    assert codec.error_number(message) == 17

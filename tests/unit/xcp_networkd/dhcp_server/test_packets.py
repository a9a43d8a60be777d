"""What DHCP clients are told, byte by byte."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcp_networkd.dhcp_server.packets import (
    ACK,
    DISCOVER,
    INFORM,
    LEASE_S,
    NAK,
    OFFER,
    REQUEST,
    Leases,
    answer,
)

MAC = "02:00:00:00:00:01"
LEASES = Leases("169.254.0.1", 16, {MAC: "169.254.0.2"})
SERVER = ipaddress.IPv4Address("169.254.0.1").packed


def packed(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed


def question(
    kind: int, *, mac: str = MAC, client: str = "0.0.0.0", options: bytes = b"", op: int = 1
) -> bytes:
    hardware = bytes.fromhex(mac.replace(":", ""))
    head = bytes([op, 1, 6, 0]) + b"\1\2\3\4" + bytes(4) + packed(client) + bytes(12)
    head += hardware + bytes(10) + bytes(192)
    return head + b"\x63\x82\x53\x63" + bytes([53, 1, kind]) + options + b"\xff"


def told(packet: bytes) -> tuple[int, str, dict[int, bytes]]:
    """Kind, address and other options of a reply."""
    assert (packet[0], packet[4:8], len(packet) >= 300) == (2, b"\1\2\3\4", True)
    options, place = {}, 240
    while packet[place] != 255:
        length = packet[place + 1]
        options[packet[place]] = packet[place + 2 : place + 2 + length]
        place += 2 + length
    return options.pop(53)[0], str(ipaddress.IPv4Address(packet[16:20])), options


def test_discovery_is_offered_the_lease() -> None:
    found = answer(question(DISCOVER), LEASES)
    assert found is not None and found.address == "255.255.255.255"
    kind, address, options = told(found.packet)
    assert (kind, address) == (OFFER, "169.254.0.2")
    assert options == {
        54: SERVER,
        1: packed("255.255.0.0"),
        51: LEASE_S.to_bytes(4, "big"),
    }


@pytest.mark.parametrize("wanted, kind", [("169.254.0.2", ACK), ("169.254.0.9", NAK)])
def test_only_the_lease_itself_is_granted(wanted: str, kind: int) -> None:
    options = bytes([50, 4]) + packed(wanted) + bytes([54, 4]) + SERVER
    found = answer(question(REQUEST, options=options), LEASES)
    assert found is not None and found.address == "255.255.255.255"
    assert told(found.packet)[:2] == (kind, "169.254.0.2" if kind == ACK else "0.0.0.0")


def test_renewal_is_answered_to_the_client_itself() -> None:
    found = answer(question(REQUEST, client="169.254.0.2"), LEASES)
    assert found is not None and found.address == "169.254.0.2"
    assert told(found.packet)[0] == ACK


def test_information_comes_without_a_lease() -> None:
    found = answer(question(INFORM, client="169.254.0.2"), LEASES)
    assert found is not None
    kind, address, options = told(found.packet)
    assert (kind, address, 51 in options) == (ACK, "0.0.0.0", False)


@pytest.mark.parametrize(
    "packet",
    [
        question(DISCOVER, mac="02:00:00:00:00:99"),
        question(REQUEST, options=bytes([54, 4]) + packed("169.254.0.77")),
        question(DISCOVER, op=2),
        question(7),
        b"",
        question(DISCOVER)[:239],
    ],
    ids=["a stranger", "another server", "a reply", "a release", "nothing", "half"],
)
def test_anything_else_is_not_answered(packet: bytes) -> None:
    assert answer(packet, LEASES) is None


@given(st.binary(max_size=400), st.integers(0, 240))
def test_no_packet_does_harm(noise: bytes, place: int) -> None:
    answer(noise, LEASES)
    answer(question(DISCOVER)[:place] + noise, LEASES)

"""Frames by hand: send forged ones, see what arrives, with VLAN tags."""

import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import Final

from tests.system.namespaces import Namespace

BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
_ALL_PROTOCOLS: Final = 3
_SOL_PACKET: Final = 263
_PACKET_AUXDATA: Final = 8
_AUXDATA: Final = struct.Struct("=IIIHHHH")
_VLAN_VALID: Final = 0x10
_OUTGOING: Final = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """A received frame; ``tag`` is None when it came untagged."""

    data: bytes
    tag: int | None


class Wire:
    """One end of a device: sends and receives whole frames."""

    def __init__(self, space: Namespace, device: str) -> None:
        with space.entered():
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS)
            )
            self._socket.bind((device, _ALL_PROTOCOLS))
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)

    def close(self) -> None:
        self._socket.close()

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def receive(self, containing: bytes, timeout_s: float) -> Frame | None:
        """Wait for a frame with some bytes in it; None when none came in time."""
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                return None
            data, extra, _, address = self._socket.recvmsg(65536, 256)
            if address[2] == _OUTGOING or containing not in data:
                continue
            tag = None
            for level, kind, raw in extra:
                if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                    values = _AUXDATA.unpack_from(raw)
                    tag = values[5] & 0xFFF if values[0] & _VLAN_VALID else None
            return Frame(data, tag)
        return None


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def ethernet(source: str, kind: int, payload: bytes, target: str = BROADCAST) -> bytes:
    body = mac_bytes(target) + mac_bytes(source) + struct.pack("!H", kind) + payload
    return body.ljust(60, b"\0")


def arp(source: str, address: str, asked: str, sender: str = "") -> bytes:
    """An ARP request; ``sender`` is the MAC inside it where that differs."""
    payload = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac_bytes(sender or source)
    payload += socket.inet_aton(address) + bytes(6) + socket.inet_aton(asked)
    return ethernet(source, 0x0806, payload)


def udp(source: str, address: str, payload: bytes, ports: tuple[int, int] = (4000, 4001)) -> bytes:
    """A broadcast UDP datagram."""
    body = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0)
    header += socket.inet_aton(address) + socket.inet_aton("255.255.255.255")
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    check = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return ethernet(source, 0x0800, header[:10] + struct.pack("!H", check) + header[12:] + body)


def tagged(frame: bytes, tag: int) -> bytes:
    """The frame with a VLAN tag."""
    return frame[:12] + struct.pack("!HH", 0x8100, tag) + frame[12:]


def udp6(source: str, address: str, payload: bytes) -> bytes:
    """A UDP datagram to all nodes of the link."""
    body = struct.pack("!HHHH", 4000, 4001, 8 + len(payload), 0xFFFF) + payload
    header = struct.pack("!IHBB", 0x60000000, len(body), 17, 64)
    header += socket.inet_pton(socket.AF_INET6, address) + socket.inet_pton(
        socket.AF_INET6, "ff02::1"
    )
    return ethernet(source, 0x86DD, header + body, "33:33:00:00:00:01")

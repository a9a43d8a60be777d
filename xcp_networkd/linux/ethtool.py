"""Speed, driver and offload settings of a device, through the ethtool ioctl.

Source: Linux, include/uapi/linux/ethtool.h; the older calls, which every driver answers.
"""

import array
import fcntl
import logging
import socket
import struct
from typing import Final

log = logging.getLogger(__name__)

_SIOCETHTOOL: Final = 0x8946
_GET_SETTINGS: Final = 0x1
_SET_SETTINGS: Final = 0x2
_GET_FLAGS: Final = 0x25
_SET_FLAGS: Final = 0x26
_LRO: Final = 1 << 15
_SETTINGS: Final = struct.Struct("=IIIHBBBBBBIIHBBI8x")
_SPEED, _DUPLEX, _AUTONEG, _SPEED_HIGH, _ADVERTISED = 3, 4, 8, 12, 2
_UNKNOWN_SPEEDS: Final = (0xFFFFFFFF, 0xFFFF)
_OFFLOADS: Final = {
    "rx": 0x15,
    "tx": 0x17,
    "sg": 0x19,
    "tso": 0x1F,
    "ufo": 0x22,
    "gso": 0x24,
    "gro": 0x2C,
}


class Ethtool:
    """A socket for the ioctl, in the namespace it was made in."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def close(self) -> None:
        self._socket.close()

    def _ask(self, name: str, request: bytes) -> bytes:
        buffer = array.array("B", request)
        address, _ = buffer.buffer_info()
        fcntl.ioctl(self._socket, _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), address))
        return buffer.tobytes()

    def _settings(self, name: str) -> list[int]:
        empty = bytearray(_SETTINGS.size)
        struct.pack_into("=I", empty, 0, _GET_SETTINGS)
        return list(_SETTINGS.unpack(self._ask(name, bytes(empty))))

    def speed(self, name: str) -> tuple[int, str]:
        """Give Mbit/s (0 when unknown) and duplex."""
        try:
            values = self._settings(name)
        except OSError:
            return 0, "unknown"
        speed = values[_SPEED_HIGH] << 16 | values[_SPEED]
        duplex = {0: "half", 1: "full"}.get(values[_DUPLEX], "unknown")
        return (0 if speed in _UNKNOWN_SPEEDS else speed), duplex

    def apply(
        self,
        name: str,
        settings: tuple[tuple[str, str], ...],
        offload: tuple[tuple[str, str], ...],
    ) -> None:
        """Bring about settings; what the driver cannot do is logged."""
        for key, value in offload:
            try:
                self._set_offload(name, key, value in ("on", "true"))
            except OSError as problem:
                log.log(
                    logging.DEBUG if key == "lro" else logging.WARNING,
                    "%s: %s cannot be %s: %s",
                    name,
                    key,
                    value,
                    problem,
                )
        if settings:
            try:
                self._set_link(name, dict(settings))
            except (OSError, ValueError) as problem:
                log.warning("%s: %s: %s", name, dict(settings), problem)

    def _set_offload(self, name: str, key: str, value: bool) -> None:
        if key == "lro":
            (_, flags) = struct.unpack("=II", self._ask(name, struct.pack("=II", _GET_FLAGS, 0)))
            wanted = flags | _LRO if value else flags & ~_LRO
            if wanted != flags:
                self._ask(name, struct.pack("=II", _SET_FLAGS, wanted))
        elif key in _OFFLOADS:
            self._ask(name, struct.pack("=II", _OFFLOADS[key], int(value)))

    def _set_link(self, name: str, settings: dict[str, str]) -> None:
        values = self._settings(name)
        values[0] = _SET_SETTINGS
        if "speed" in settings:
            speed = int(settings["speed"])
            values[_SPEED], values[_SPEED_HIGH] = speed & 0xFFFF, speed >> 16
        if "duplex" in settings:
            values[_DUPLEX] = int(settings["duplex"] == "full")
        if "autoneg" in settings:
            values[_AUTONEG] = int(settings["autoneg"] in ("on", "true"))
        if "advertise" in settings:
            values[_ADVERTISED] = int(settings["advertise"], 16)
        self._ask(name, _SETTINGS.pack(*values))

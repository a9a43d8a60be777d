"""What the control domain's Linux is asked for: loop devices, interfaces, block devices.

All of it blocks for a moment, so it is called in threads.  Errors: OSError.
"""

import contextlib
import ctypes
import fcntl
import os
import re
import socket
import stat
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from xenops.backends.xen.devices.vbd_layout import physical_device

_LOOP_GET_FREE, _LOOP_CONFIGURE, _LOOP_CLR_FD = 0x4C82, 0x4C0A, 0x4C01
_LOOP_GET_STATUS64 = 0x4C05
_LO_READ_ONLY = 1
_LOOP_INFO = struct.Struct("=QQQQQIIII64s64s32s2Q")
_LOOP_CONFIG = struct.Struct("=II232s8Q")
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFHWADDR, _SIOCETHTOOL = 0x8913, 0x8914, 0x8924, 0x8946
_IFF_NOARP = 0x80
_ARPHRD_ETHER = 1
_ETHTOOL_SET = {"rx": 0x15, "tx": 0x17, "sg": 0x19, "tso": 0x1F, "ufo": 0x22, "gso": 0x24}
_LOOP_NUMBER = re.compile(r"loop[0-9]+")
BUSY_TRIES: Final = 20
"""Others may take the loop device that was free a moment ago."""


class Kernel(Protocol):
    """Linux, as far as devices of guests need it."""

    def is_block_device(self, path: str) -> bool:
        """Whether a path is a block device."""

    def open_disk(self, path: str, writable: bool) -> str:
        """Make sure that a block device can be opened and give its hexadecimal major:minor."""

    def attach_loop(self, path: str, writable: bool, tag: str) -> str:
        """Put a loop device over a file and give its path; ``tag`` finds it again."""

    def detach_loop(self, device: str) -> None:
        """Take a loop device off its file, at once or when its last user goes."""

    def loops(self, tag: str) -> list[str]:
        """Give the loop devices whose tag begins like this."""

    def has_backend(self, kind: str, domid: int, devid: int) -> bool:
        """Whether a backend driver still holds a device."""

    def set_up_interface(self, name: str, mac: str, offloads: Mapping[str, bool]) -> None:
        """Give our end of a network device its address and settings; it answers no ARP."""


class Linux:
    """The running kernel."""

    def __init__(self, dev: Path = Path("/dev"), sys: Path = Path("/sys")) -> None:
        self._dev = dev
        self._sys = sys

    def is_block_device(self, path: str) -> bool:
        try:
            return stat.S_ISBLK(os.stat(path).st_mode)
        except FileNotFoundError:
            return False

    def open_disk(self, path: str, writable: bool) -> str:
        flags = os.O_RDWR if writable else os.O_RDONLY
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
        return physical_device(found.st_mode, found.st_rdev)

    def attach_loop(self, path: str, writable: bool, tag: str) -> str:
        backing = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            for left in reversed(range(BUSY_TRIES)):
                try:
                    return self._configure(backing, writable, tag)
                except OSError:
                    if not left:
                        raise
        finally:
            os.close(backing)
        raise AssertionError("unreachable")

    def _configure(self, backing: int, writable: bool, tag: str) -> str:
        control = os.open(self._dev / "loop-control", os.O_RDWR | os.O_CLOEXEC)
        try:
            number = fcntl.ioctl(control, _LOOP_GET_FREE)
        finally:
            os.close(control)
        path = str(self._dev / f"loop{number}")
        flags = 0 if writable else _LO_READ_ONLY
        name = tag.encode()[:63]
        info = _LOOP_INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, name, b"", b"", 0, 0)
        device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            config = _LOOP_CONFIG.pack(backing, 0, info, *([0] * 8))
            fcntl.ioctl(device, _LOOP_CONFIGURE, config)
        finally:
            os.close(device)
        return path

    def detach_loop(self, device: str) -> None:
        with contextlib.suppress(OSError):  # detached already
            fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, _LOOP_CLR_FD)
            finally:
                os.close(fd)

    def loops(self, tag: str) -> list[str]:
        found = []
        for folder in sorted((self._sys / "block").glob("loop*/loop")):
            path = str(self._dev / folder.parent.name)
            if _LOOP_NUMBER.fullmatch(folder.parent.name) and _tag(path).startswith(tag):
                found.append(path)
        return found

    def has_backend(self, kind: str, domid: int, devid: int) -> bool:
        return (self._sys / f"bus/xen-backend/devices/{kind}-{domid}-{devid}").exists()

    def set_up_interface(self, name: str, mac: str, offloads: Mapping[str, bool]) -> None:
        request = name.encode().ljust(16, b"\0")
        address = struct.pack("=H", _ARPHRD_ETHER) + bytes.fromhex(mac.replace(":", ""))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            answer = fcntl.ioctl(control, _SIOCGIFFLAGS, request + bytes(24))
            (flags,) = struct.unpack_from("=H", answer, 16)
            wanted = struct.pack("=H", flags | _IFF_NOARP)
            fcntl.ioctl(control, _SIOCSIFFLAGS, request + wanted + bytes(22))
            fcntl.ioctl(control, _SIOCSIFHWADDR, request + address.ljust(24, b"\0"))
            for feature, on in offloads.items():
                _set_offload(control, request, _ETHTOOL_SET[feature], on)


def _tag(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        answer = fcntl.ioctl(fd, _LOOP_GET_STATUS64, bytes(_LOOP_INFO.size))
    except OSError:
        return ""
    finally:
        os.close(fd)
    name: bytes = _LOOP_INFO.unpack(answer)[9]
    return name.split(b"\0")[0].decode(errors="replace")


def _set_offload(control: socket.socket, request: bytes, command: int, on: bool) -> None:
    """Switch one feature; a device that lacks it stays as it is."""
    value = ctypes.create_string_buffer(struct.pack("=II", command, on), 8)
    pointer = struct.pack("=Q", ctypes.addressof(value))
    with contextlib.suppress(OSError):
        fcntl.ioctl(control, _SIOCETHTOOL, request + pointer + bytes(16))

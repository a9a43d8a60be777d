"""Ask and change the kernel's network of the namespace this was made in.  Blocking."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Mapping

from xcp_networkd.netlink import codec
from xcp_networkd.netlink.codec import Device, DeviceAddress, Message, Route, Value

_RECEIVE_BYTES = 1 << 17
_TIMEOUT_S = 10.0
_SOL_NETLINK = 270
_GET_STRICT_CHK = 12


class KernelError(OSError):
    """The kernel refused; ``errno`` says why, the text what was tried."""


class Kernel:
    """A routing netlink socket; not to be shared between threads."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.settimeout(_TIMEOUT_S)
        self._socket.bind((0, 0))
        # Dumps then honour their filters: by device, by master, by driver.
        self._socket.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def devices(
        self, *, counters: bool = False, master: int = 0, info: str = ""
    ) -> dict[str, Device]:
        """Devices by name, in the order of their numbers: all, or a master's, or a driver's."""
        mask: dict[int, Value] = {} if counters else {codec.IFLA_EXT_MASK: codec.SKIP_STATISTICS}
        if master:
            mask[codec.IFLA_MASTER] = master
        if info:
            mask[codec.IFLA_LINKINFO] = {codec.INFO_KIND: info}
        found = [codec.device(m) for m in self._dump(codec.GET_LINK, codec.link_body(mask))]
        return {d.name: d for d in sorted(found, key=lambda d: d.index)}

    def device(self, name: str) -> Device | None:
        """One device, None when there is no such."""
        mask: dict[int, Value] = {codec.IFLA_EXT_MASK: codec.SKIP_STATISTICS}
        self._send(codec.GET_LINK, 0, codec.link_body({codec.IFLA_IFNAME: name, **mask}))
        for message in codec.messages(self._socket.recv(_RECEIVE_BYTES)):
            if message.kind == codec.ERROR:
                if codec.error_number(message) != errno.ENODEV:
                    _raise(codec.error_number(message), f"ask for {name}")
                return None
            return codec.device(message)
        return None

    def addresses(self, index: int = 0) -> list[DeviceAddress]:
        """The addresses of a device, or of all."""
        body = codec.dump_body(codec.GET_ADDRESS, index)
        return [codec.address(m) for m in self._dump(codec.GET_ADDRESS, body)]

    def routes(self, index: int = 0) -> list[Route]:
        """The unicast routes of the main table through a device, or all."""
        body = codec.dump_body(codec.GET_ROUTE, index)
        found = (codec.route(m) for m in self._dump(codec.GET_ROUTE, body))
        return [route for route in found if route is not None]

    def neighbours(self) -> list[tuple[int, str, int]]:
        return [codec.neighbour(m) for m in self._dump(codec.GET_NEIGHBOUR)]

    def add_link(self, name: str, info: str, values: Mapping[int, Value]) -> None:
        """Make a device; an existing one of that name raises EEXIST."""
        attributes: dict[int, Value] = {codec.IFLA_IFNAME: name}
        nested: dict[int, Value] = {codec.INFO_KIND: info}
        data = values.get(codec.IFLA_LINKINFO)
        if data is not None:
            nested[codec.INFO_DATA] = data
        attributes |= {k: v for k, v in values.items() if k != codec.IFLA_LINKINFO}
        attributes[codec.IFLA_LINKINFO] = nested
        body = codec.link_body(attributes)
        flags = codec.CREATE | codec.EXCLUSIVE
        self._change(f"add {info} {name}", codec.NEW_LINK, flags, body)

    def delete_link(self, name: str) -> None:
        """Remove a device; one that is not there is no error."""
        body = codec.link_body({codec.IFLA_IFNAME: name})
        with ignoring(errno.ENODEV, errno.ENXIO):
            self._change(f"delete {name}", codec.DEL_LINK, 0, body)

    def set_link(
        self, name: str, values: Mapping[int, Value] | None = None, *, up: bool | None = None
    ) -> None:
        """Change attributes of a device and whether it is up."""
        attributes: dict[int, Value] = {codec.IFLA_IFNAME: name, **(values or {})}
        flags, change = (int(bool(up)), 0 if up is None else codec.FLAG_UP)
        body = codec.link_body(attributes, flags=flags, change=change)
        self._change(f"set {name}", codec.NEW_LINK, 0, body)

    def rename(self, index: int, name: str) -> None:
        """Give a device that is down another name."""
        body = codec.link_body({codec.IFLA_IFNAME: name}, index=index)
        self._change(f"rename to {name}", codec.NEW_LINK, 0, body)

    def set_data(self, name: str, info: str, data: Mapping[int, Value]) -> None:
        """Change what only the device's driver knows."""
        nested: dict[int, Value] = {codec.INFO_KIND: info, codec.INFO_DATA: data}
        self.set_link(name, {codec.IFLA_LINKINFO: nested})

    def add_address(self, index: int, family: int, address: str, prefix_length: int) -> None:
        body = codec.address_body(index, family, address, prefix_length)
        flags = codec.CREATE | codec.REPLACE
        self._change(f"add {address}/{prefix_length}", codec.NEW_ADDRESS, flags, body)

    def delete_address(self, index: int, family: int, address: str, prefix_length: int) -> None:
        body = codec.address_body(index, family, address, prefix_length)
        with ignoring(errno.EADDRNOTAVAIL, errno.ENODEV):
            self._change(f"delete {address}/{prefix_length}", codec.DEL_ADDRESS, 0, body)

    def replace_route(self, route: Route) -> None:
        flags = codec.CREATE | codec.REPLACE
        what = f"route {route.subnet or 'default'} via {route.gateway}"
        self._change(what, codec.NEW_ROUTE, flags, codec.route_body(route))

    def delete_route(self, route: Route) -> None:
        with ignoring(errno.ESRCH, errno.ENODEV):
            self._change("delete route", codec.DEL_ROUTE, 0, codec.route_body(route))

    def delete_neighbour(self, index: int, family: int, address: str) -> None:
        """Forget which MAC an address has."""
        body = codec.neighbour_body(index, family, address)
        with ignoring(errno.ENOENT):
            self._change(f"forget {address}", codec.DEL_NEIGHBOUR, 0, body)

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        self._socket.send(codec.request(kind, flags, self._sequence, body))

    def _change(self, what: str, kind: int, flags: int, body: bytes) -> None:
        self._send(kind, flags | codec.ACK, body)
        while True:
            for message in codec.messages(self._socket.recv(_RECEIVE_BYTES)):
                if message.kind == codec.ERROR:
                    _raise(codec.error_number(message), what)
                    return

    def _dump(self, kind: int, body: bytes | None = None) -> Iterator[Message]:
        self._send(kind, codec.DUMP, codec.dump_body(kind) if body is None else body)
        while True:
            for message in codec.messages(self._socket.recv(_RECEIVE_BYTES)):
                if message.kind == codec.DONE:
                    return
                if message.kind == codec.ERROR:
                    _raise(codec.error_number(message), "dump")
                    return
                yield message


def _raise(number: int, what: str) -> None:
    if number:
        raise KernelError(number, f"{what}: {os.strerror(number)}")


class _Ignoring(contextlib.AbstractContextManager[None]):
    def __init__(self, numbers: tuple[int, ...]) -> None:
        self._numbers = numbers

    def __exit__(self, kind: object, problem: object, trace: object) -> bool:
        return isinstance(problem, KernelError) and problem.errno in self._numbers


def ignoring(*numbers: int) -> "contextlib.AbstractContextManager[None]":
    """Take a KernelError with one of these numbers as done."""
    return _Ignoring(numbers)

"""Addresses, routes, MTU and settings of a device: what is there and what is to be.

``changes`` is pure; ``InterfaceSetup`` carries changes out.  An address that stays is never
taken away, not even for a moment.
"""

import errno
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from xcp_networkd import errors
from xcp_networkd.contract import Address, ConfigureInterface, InterfaceConfig, IPv4Mode, IPv6Mode
from xcp_networkd.linux import name_servers
from xcp_networkd.linux.dhcp import DhcpClients
from xcp_networkd.linux.ethtool import Ethtool
from xcp_networkd.linux.functions import VirtualFunctions
from xcp_networkd.linux.host import LinuxHost
from xcp_networkd.netlink import codec
from xcp_networkd.netlink.codec import Device, DeviceAddress, Route
from xcp_networkd.netlink.kernel import Kernel, ignoring

log = logging.getLogger(__name__)

V4: Final = socket.AF_INET
V6: Final = socket.AF_INET6
GLOBAL_SCOPE: Final = 0
StaticRoute = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a device has at the network layer; addresses of global scope only."""

    index: int = 0
    mtu: int = 1500
    up: bool = False
    ipv4: tuple[Address, ...] = ()
    ipv6: tuple[Address, ...] = ()
    gateway4: str = ""
    gateway6: str = ""
    routes: tuple[StaticRoute, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """Differences, each to be carried out once."""

    remove: tuple[tuple[int, str, int], ...] = ()
    add: tuple[tuple[int, str, int], ...] = ()
    remove_routes: tuple[Route, ...] = ()
    add_routes: tuple[Route, ...] = ()


@dataclass(slots=True)
class Snapshot:
    """Devices, addresses and routes of one moment."""

    devices: Mapping[str, Device]
    addresses: list[DeviceAddress]
    routes: list[Route]
    by_index: dict[int, Device] = field(init=False)
    _facts: dict[int, Facts] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.by_index = {d.index: d for d in self.devices.values()}
        self._facts = _facts(self.addresses, self.routes)

    @classmethod
    def take(cls, kernel: Kernel, *, counters: bool = False) -> "Snapshot":
        devices = kernel.devices(counters=counters)
        return cls(devices, kernel.addresses(), kernel.routes())

    @classmethod
    def of(cls, kernel: Kernel, name: str) -> "Snapshot":
        """One device alone; Interface_does_not_exist."""
        device = kernel.device(name)
        if device is None:
            raise errors.no_interface(name)
        index = device.index
        return cls({name: device}, kernel.addresses(index), kernel.routes(index))

    def facts(self, name: str) -> Facts:
        device = self.devices[name]
        found = self._facts.get(device.index, Facts())
        return replace(found, index=device.index, mtu=device.mtu, up=device.up)


def _facts(addresses: list[DeviceAddress], routes: list[Route]) -> dict[int, Facts]:
    found: dict[int, Facts] = {}
    for a in addresses:
        if a.scope != GLOBAL_SCOPE:
            continue
        old = found.get(a.index, Facts())
        entry = (a.address, a.prefix_length)
        if a.family == V4:
            found[a.index] = replace(old, ipv4=(*old.ipv4, entry))
        else:
            found[a.index] = replace(old, ipv6=(*old.ipv6, entry))
    for r in routes:
        if not r.gateway:
            continue
        old = found.get(r.index, Facts())
        if r.subnet:
            if r.family == V4 and r.protocol == codec.RTPROT_STATIC:
                route = (r.subnet, r.prefix_length, r.gateway)
                found[r.index] = replace(old, routes=(*old.routes, route))
        elif r.family == V4:
            found[r.index] = replace(old, gateway4=r.gateway)
        elif r.protocol != 9:  # router advertisements keep their own default routes
            found[r.index] = replace(old, gateway6=r.gateway)
    return found


def changes(facts: Facts, wanted: InterfaceConfig, *, gateway: bool) -> Changes:
    """Give what to remove and to add; nothing when all is as wanted.

    Addresses of a DHCP client or of router advertisements are theirs.
    """
    remove: list[tuple[int, str, int]] = []
    add: list[tuple[int, str, int]] = []
    if wanted.ipv4_mode != "DHCP4":
        keep4 = wanted.ipv4_addresses if wanted.ipv4_mode == "Static4" else ()
        remove += [(V4, *a) for a in facts.ipv4 if a not in keep4]
        add += [(V4, *a) for a in keep4 if a not in facts.ipv4]
    if wanted.ipv6_mode in ("None6", "Linklocal6", "Static6"):
        keep6 = wanted.ipv6_addresses if wanted.ipv6_mode == "Static6" else ()
        remove += [(V6, *a) for a in facts.ipv6 if a not in keep6]
        add += [(V6, *a) for a in keep6 if a not in facts.ipv6]
    # Taking the first address of a subnet away takes the routes through it along.
    lost = any(family == V4 for family, *_ in remove)
    gone: list[Route] = []
    come: list[Route] = []
    if wanted.ipv4_mode != "DHCP4" or not gateway:
        wanted4 = wanted.ipv4_gateway if gateway and wanted.ipv4_mode == "Static4" else ""
        _default(facts, V4, facts.gateway4, wanted4, gone, come, lost=lost)
    wanted6 = wanted.ipv6_gateway if gateway and wanted.ipv6_mode == "Static6" else ""
    _default(facts, V6, facts.gateway6, wanted6, gone, come, lost=False)
    for route in facts.routes:
        if route not in wanted.ipv4_routes:
            gone.append(_static(facts.index, route))
    for route in wanted.ipv4_routes:
        if lost or route not in facts.routes:
            come.append(_static(facts.index, route))
    return Changes(tuple(remove), tuple(add), tuple(gone), tuple(come))


def _default(
    facts: Facts,
    family: int,
    found: str,
    wanted: str,
    gone: list[Route],
    come: list[Route],
    *,
    lost: bool,
) -> None:
    if found and found != wanted:
        gone.append(Route(facts.index, family, "", 0, found, 0))
    if wanted and (lost or found != wanted):
        come.append(Route(facts.index, family, "", 0, wanted, codec.RTPROT_STATIC))


def _static(index: int, route: StaticRoute) -> Route:
    return Route(index, V4, route[0], route[1], route[2], codec.RTPROT_STATIC)


class InterfaceSetup:
    """Configure devices, and tell how they are configured."""

    def __init__(self, kernel: Kernel, host: LinuxHost, dhcp: DhcpClients, ethtool: Ethtool):
        self._kernel = kernel
        self._host = host
        self._dhcp = dhcp
        self._ethtool = ethtool
        self.functions = VirtualFunctions(host.sys)

    def found(
        self, snapshot: Snapshot, name: str, kept: InterfaceConfig, *, gateway: bool, dns: bool
    ) -> InterfaceConfig:
        """Give ``kept`` if the device is so, else what differs as it is.

        ``gateway`` and ``dns`` tell whether the device has these roles now.
        """
        facts = snapshot.facts(name)
        found = replace(kept, mtu=facts.mtu)
        if kept.virtual_functions and not self.functions.shown(name):
            found = replace(found, virtual_functions=False)
        if kept.ipv4_mode == "DHCP4":
            if not self._dhcp.serves(name, 4, gateway=gateway, dns=dns):
                found = replace(found, ipv4_mode="None4")
        elif set(kept.ipv4_addresses) != set(facts.ipv4):
            mode: IPv4Mode = "Static4" if facts.ipv4 else "None4"
            found = replace(found, ipv4_mode=mode, ipv4_addresses=facts.ipv4)
        elif gateway and kept.ipv4_mode == "Static4" and kept.ipv4_gateway != facts.gateway4:
            found = replace(found, ipv4_gateway=facts.gateway4)
        if set(kept.ipv4_routes) != set(facts.routes):
            found = replace(found, ipv4_routes=facts.routes)
        if kept.ipv6_mode == "DHCP6":
            if not self._dhcp.serves(name, 6, gateway=gateway, dns=dns):
                found = replace(found, ipv6_mode="None6")
        elif kept.ipv6_mode == "Static6" and set(kept.ipv6_addresses) != set(facts.ipv6):
            mode6: IPv6Mode = "Static6" if facts.ipv6 else "None6"
            found = replace(found, ipv6_mode=mode6, ipv6_addresses=facts.ipv6)
        if dns and kept.ipv4_mode != "DHCP4" and kept.name_servers:
            _, servers, domains = name_servers.read(self._host.resolv_conf)
            found = replace(found, name_servers=servers, domains=domains)
        return found

    def configure(
        self, step: ConfigureInterface, before: InterfaceConfig, *, mtu: bool = True
    ) -> None:
        """Carry out a step on a device that exists; ``before`` is what was carried out last."""
        name, config = step.interface, step.config
        if config.virtual_functions:
            self.functions.show(name)
        elif before.virtual_functions:
            self.functions.hide(name)
        self._write_dns(step)
        if config.ipv4_mode != "DHCP4":
            self._dhcp.stop(name, 4)
        if config.ipv6_mode != "DHCP6":
            self._dhcp.stop(name, 6)
        self._write_ipv6_mode(name, config)
        facts = Snapshot.of(self._kernel, name).facts(name)
        if mtu and facts.mtu != config.mtu:
            self.set_mtu(name, config.mtu)
        if not facts.up:
            self._kernel.set_link(name, up=True)
        self._apply(facts, changes(facts, config, gateway=step.gateway))
        if config.ipv4_mode == "DHCP4":
            self._dhcp.start(name, 4, gateway=step.gateway, dns=step.dns)
        if config.ipv6_mode == "DHCP6":
            self._dhcp.start(name, 6, gateway=step.gateway, dns=step.dns)
        self._ethtool.apply(name, config.ethtool_settings, config.ethtool_offload)

    def clear(self, name: str) -> None:
        """Take every address and client off a device, which becomes a port."""
        self._dhcp.stop(name, 4)
        self._dhcp.stop(name, 6)
        facts = Snapshot.of(self._kernel, name).facts(name)
        self._apply(facts, changes(facts, InterfaceConfig(), gateway=False))

    def forget(self, name: str) -> None:
        """End the clients of a device that goes away."""
        self._dhcp.stop(name, 4)
        self._dhcp.stop(name, 6)

    def set_mtu(self, name: str, mtu: int) -> None:
        """Set a device's MTU; what the hardware refuses is logged."""
        try:
            self._kernel.set_link(name, {codec.IFLA_MTU: mtu})
        except OSError as problem:
            log.warning("%s: MTU %d: %s", name, mtu, problem)

    def _apply(self, facts: Facts, found: Changes) -> None:
        kernel = self._kernel
        for route in found.remove_routes:
            kernel.delete_route(route)
        # New addresses come first: a secondary one must not go with the first of its subnet.
        for family, address, length in found.add:
            kernel.add_address(facts.index, family, address, length)
        for family, address, length in found.remove:
            kernel.delete_address(facts.index, family, address, length)
        for family, address, length in found.add if found.remove else ():
            kernel.add_address(facts.index, family, address, length)
        for route in found.add_routes:
            with ignoring(errno.EEXIST):
                kernel.replace_route(route)

    def _write_dns(self, step: ConfigureInterface) -> None:
        config = step.config
        if step.dns and config.name_servers and config.ipv4_mode != "DHCP4":
            wanted = name_servers.text(step.interface, config.name_servers, config.domains)
            path = self._host.resolv_conf
            if not path.exists() or path.read_text(encoding="utf-8") != wanted:
                name_servers.write(path, wanted)

    def _write_ipv6_mode(self, name: str, config: InterfaceConfig) -> None:
        listens = config.ipv6_mode in ("Autoconf6", "DHCP6")
        values = {
            "disable_ipv6": int(config.ipv6_mode == "None6"),
            "accept_ra": int(listens),
            "autoconf": int(config.ipv6_mode == "Autoconf6"),
        }
        folder = self._host.proc_sys / "net/ipv6/conf" / name
        for key, value in values.items():
            try:
                file = folder / key
                if file.read_text(encoding="ascii").strip() != str(value):
                    file.write_text(str(value), encoding="ascii")
            except OSError as problem:
                log.debug("%s: %s: %s", name, key, problem)

"""A simulated host network: NICs, bridges, bonds, VLANs, addresses, traffic.

What a kernel would keep is in a file of its own, so that a killed daemon finds
its bridges where it left them.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xapi_py.base.reactor import Clock
from xapi_py.base.simulator_config import NicConfig
from xcp_networkd import codec, errors, state_file
from xcp_networkd.config import HostNetwork
from xcp_networkd.contract import (
    AddPort,
    Address,
    BackendKind,
    BridgeConfig,
    ConfigureInterface,
    Counters,
    CreateBridge,
    DestroyBridge,
    InterfaceConfig,
    Link,
    NetworkState,
    PortConfig,
    RemovePort,
    SetBridge,
    SetRoles,
    Step,
    VifLock,
    VifPort,
)
from xcp_networkd.dhcp_server.packets import Leases

NO_TRAFFIC = Counters(0, 0, 0, 0)
_BYTES_PER_PACKET = 700


class SimulatedNetwork:
    """A ``xcp_networkd.contract.Backend`` without a system behind it."""

    def __init__(self, host: HostNetwork, state: Path, reactor: Clock) -> None:
        self._host = host
        self._reactor = reactor
        self._file = state / "simulated-kernel.json"
        self.kind: BackendKind = host.network.backend
        kept: Mapping[str, Any] = state_file.read(self._file) or {}
        self._state = codec.state_from_wire(kept.get("state", {}))
        self._carrier: dict[str, bool] = dict(kept.get("carrier", {}))
        self._boot_s = float(kept.get("boot_s", reactor.seconds()))
        self._fail_steps = dict(host.network.fail_steps)
        self.locks: dict[str, VifLock] = {}
        self._leases: dict[str, Leases] = {}

    @property
    def nics(self) -> dict[str, NicConfig]:
        """The physical devices by name."""
        return {nic.device: nic for nic in self._host.nics}

    def set_carrier(self, device: str, carrier: bool) -> None:
        """Pull or plug the cable of a NIC."""
        if device not in self.nics:
            raise errors.no_interface(device)
        self._carrier[device] = carrier
        self._save()

    def fail_step(self, step: str, text: str) -> None:
        """Make steps of a kind fail from now on; empty text stops that."""
        if text:
            self._fail_steps[step] = text
        else:
            self._fail_steps.pop(step, None)

    async def observe(self) -> NetworkState:
        return self._state

    async def settle(self) -> None:
        """Every step is in the file when it returns."""

    async def present(self) -> set[str]:
        return set(self.nics)

    async def reachable(self, interface: str) -> bool:
        link = (await self.links()).get(interface)
        return link is not None and link.carrier and bool(link.ipv4 or link.ipv6)

    async def lock_vif(self, name: str, lock: VifLock) -> None:
        if not any(name in b.ports for b in self._state.bridges.values()):
            raise errors.no_interface(name)
        self.locks[name] = lock

    def set_leases(self, bridge: str, leases: Leases) -> None:
        """Take what a DHCP server would serve."""
        if bridge not in self._state.bridges:
            raise errors.no_interface(bridge)
        self._leases[bridge] = leases

    def leases_of(self, bridge: str) -> Mapping[str, str]:
        """Give what ``set_leases`` was told."""
        return self._leases[bridge].by_mac if bridge in self._leases else {}

    async def attach_vif(self, bridge: str, vif: VifPort) -> None:
        self._bridge(bridge)
        await self.detach_vif(vif.name)
        await self.execute(AddPort(bridge, vif.name, PortConfig((vif.name,), kind="vif")))
        self.locks[vif.name] = vif.lock

    async def detach_vif(self, name: str) -> None:
        for bridge, config in self._state.bridges.items():
            if name in config.ports:
                self._apply(RemovePort(bridge, name))
                self._save()

    async def execute(self, step: Step) -> None:
        failure = self._fail_steps.get(type(step).__name__)
        if failure:
            raise errors.script_error(failure)
        self._apply(step)
        self._save()

    async def execute_together(self, steps: Sequence[Step]) -> None:
        for step in steps:
            await self.execute(step)

    def _apply(self, step: Step) -> None:
        match step:
            case DestroyBridge(bridge):
                self._destroy(bridge)
            case CreateBridge(bridge, config):
                self._check_vlan(config)
                self._put_bridge(bridge, config)
            case SetBridge(bridge, config):
                self._put_bridge(bridge, replace(config, ports=self._bridge(bridge).ports))
            case RemovePort(bridge, port):
                old = self._bridge(bridge)
                ports = {k: v for k, v in old.ports.items() if k != port}
                self.locks.pop(port, None)
                self._put_bridge(bridge, replace(old, ports=ports))
            case AddPort(bridge, port, port_config):
                self._add_port(bridge, port, port_config)
            case ConfigureInterface(interface, interface_config):
                nic = self.nics.get(interface)
                if interface_config.virtual_functions and not (nic and nic.virtual_functions):
                    raise errors.script_error(f"{interface} has no virtual functions")
                interfaces = {**self._state.interfaces, interface: interface_config}
                self._state = replace(self._state, interfaces=interfaces)
            case SetRoles(gateway_interface, dns_interface):
                self._state = replace(
                    self._state, gateway_interface=gateway_interface, dns_interface=dns_interface
                )

    def _bridge(self, name: str) -> BridgeConfig:
        found = self._state.bridges.get(name)
        if found is None:
            raise errors.no_bridge(name)
        return found

    def _put_bridge(self, name: str, config: BridgeConfig) -> None:
        self._state = replace(self._state, bridges={**self._state.bridges, name: config})

    def _destroy(self, name: str) -> None:
        bridges = {
            k: v
            for k, v in self._state.bridges.items()
            if k != name and (v.vlan is None or v.vlan[0] != name)
        }
        interfaces = {
            k: v
            for k, v in self._state.interfaces.items()
            if k in bridges or k not in self._state.bridges
        }
        self._state = replace(self._state, bridges=bridges, interfaces=interfaces)

    def _check_vlan(self, config: BridgeConfig) -> None:
        if config.vlan is None:
            return
        parent, tag = config.vlan
        for port in self._bridge(parent).ports:
            if f"{port}.{tag}" in self._host.network.used_vlans:
                raise errors.vlan_in_use(port, tag)

    def _add_port(self, bridge: str, port: str, config: PortConfig) -> None:
        for interface in config.interfaces:
            if config.kind != "vif" and interface not in self.nics:
                raise errors.no_interface(interface)
        for other, found in self._state.bridges.items():
            taken = {i for p in found.ports.values() for i in p.interfaces}
            if other != bridge and taken & set(config.interfaces):
                raise errors.script_error(f"{port} is a port of {other}")
        old = self._bridge(bridge)
        self._put_bridge(bridge, replace(old, ports={**old.ports, port: config}))

    def _save(self) -> None:
        kept = {
            "state": codec.state_to_wire(self._state),
            "carrier": self._carrier,
            "boot_s": self._boot_s,
        }
        state_file.write(self._file, kept, durable=False)

    async def links(self) -> dict[str, Link]:
        found = {name: self._nic(nic) for name, nic in self.nics.items()}
        for bridge, config in self._state.bridges.items():
            for port, port_config in config.ports.items():
                members = port_config.interfaces
                if len(members) > 1:
                    found[port] = self._bond(bridge, port, port_config, found)
                for member in members:
                    if member in found:
                        found[member] = replace(found[member], bridge=bridge, up=True)
                    elif port_config.kind == "vif":
                        found[member] = Link(
                            member, "vif", "fe:ff:ff:ff:ff:ff", 1500, True, True, bridge=bridge
                        )
        for bridge in self._state.bridges:
            found[bridge] = self._bridge_link(bridge, found)
        return {name: self._with_addresses(link) for name, link in found.items()}

    def _nic(self, nic: NicConfig) -> Link:
        carrier = self._carrier.get(nic.device, nic.carrier)
        shows = nic.virtual_functions if self._interface(nic.device).virtual_functions else 0
        card, _, own = nic.pci_bus_path.rpartition(":")
        return Link(
            nic.device,
            "nic",
            nic.mac.lower(),
            min(self._interface(nic.device).mtu, nic.max_mtu)
            if nic.device in self._state.interfaces
            else nic.mtu,
            nic.device in self._state.interfaces,
            carrier,
            nic.speed_mbps if carrier else 0,
            nic.duplex if carrier else "unknown",
            nic.pci_bus_path,
            nic.vendor,
            nic.product,
            capabilities=("sriov",) if nic.virtual_functions else (),
            # The two ports of a card take turns, as on many real ones.
            virtual_functions=tuple(
                f"{card}:{0x10 + n // 4:02x}.{n % 4 * 2 + int(own[-1]) % 2}" for n in range(shows)
            ),
        )

    def _bond(self, bridge: str, name: str, config: PortConfig, links: Mapping[str, Link]) -> Link:
        members = [links[i] for i in config.interfaces if i in links]
        up = [m for m in members if m.carrier]
        mac = config.bond_mac or (members[0].mac if members else "")
        active = config.bond_properties.get("mode") == "active-backup"
        carrying = up[:1] if active else up
        return Link(
            name,
            "bond",
            mac,
            self._interface(name).mtu,
            True,
            bool(up),
            sum(m.speed_mbps for m in carrying),
            "full" if up else "unknown",
            bridge=bridge,
            interfaces=config.interfaces,
            links_up=len(up),
            active=up[0].name if up else "",
        )

    def _bridge_link(self, name: str, links: Mapping[str, Link]) -> Link:
        config = self._state.bridges[name]
        ports = self._state.bridges[config.vlan[0]].ports if config.vlan else config.ports
        devices = [links[p] for p in ports if p in links]
        mac = config.bridge_mac or next((d.mac for d in devices), "")
        carrier = any(d.carrier for d in devices) if devices else True
        return Link(name, "bridge", mac, self._interface(name).mtu, True, carrier)

    def _interface(self, name: str) -> InterfaceConfig:
        return self._state.interfaces.get(name, InterfaceConfig())

    def _with_addresses(self, link: Link) -> Link:
        config = self._interface(link.name)
        ipv4, gateway = config.ipv4_addresses, config.ipv4_gateway
        servers, domains = config.name_servers, config.domains
        if config.ipv4_mode == "DHCP4" and link.carrier:
            dhcp = self._host.network.dhcp
            ipv4, gateway = (self._lease(link),), dhcp.gateway
            servers, domains = dhcp.dns, dhcp.domains
        ipv6 = config.ipv6_addresses
        if config.ipv6_mode in ("DHCP6", "Autoconf6", "Linklocal6") and link.mac:
            ipv6 = ((_link_local(link.mac), 64),)
        return replace(
            link,
            ipv4=ipv4,
            ipv4_gateway=gateway,
            ipv6=ipv6,
            ipv6_gateway=config.ipv6_gateway,
            name_servers=servers,
            domains=domains,
        )

    def _lease(self, link: Link) -> Address:
        """The same card always gets the same address, also as part of a bond; so do VLANs."""
        dhcp = self._host.network.dhcp
        bridge = self._state.bridges.get(link.name)
        last = 100 + zlib.crc32(link.name.encode()) % 150
        if bridge is None or not bridge.vlan:
            for position, nic in enumerate(self._host.nics):
                if nic.mac.lower() == link.mac:
                    last = 10 + position
        return f"{dhcp.prefix}.{self._host.host}.{last}", dhcp.prefix_length

    async def counters(self) -> dict[str, Counters]:
        links = await self.links()
        age_s = max(0.0, self._reactor.seconds() - self._boot_s)
        return {name: self._traffic(link, age_s) for name, link in links.items()}

    def _traffic(self, link: Link, age_s: float) -> Counters:
        if not link.up:
            return NO_TRAFFIC
        weight = 0.5 + (zlib.crc32(link.name.encode()) % 1000) / 1000
        received = int(self._host.network.traffic_bytes_per_s * weight * age_s)
        sent = received * 2 // 3
        return Counters(received, sent, received // _BYTES_PER_PACKET, sent // _BYTES_PER_PACKET)


def _link_local(mac: str) -> str:
    parts = [int(p, 16) for p in mac.split(":")]
    words = [parts[0] ^ 2, parts[1], parts[2], 0xFF, 0xFE, *parts[3:]]
    groups = (f"{words[i] << 8 | words[i + 1]:x}" for i in range(0, 8, 2))
    return "fe80::" + ":".join(groups)

"""The network daemon's RPC methods.

Names and members are those of the classic interface (briefs, network section 14).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from xapi_py.base.rpc.server import CallContext, Method
from xapi_py.base.rpc.updates import UpdateFeed
from xcp_networkd import codec, errors, plan
from xcp_networkd.contract import (
    Address,
    Backend,
    BridgeConfig,
    InterfaceConfig,
    Link,
    NetworkState,
    PortConfig,
)
from xcp_networkd.desired import DesiredNetwork
from xcp_networkd.dhcp_server.packets import Leases
from xcp_networkd.nic_positions import NicPositions
from xcp_networkd.reset import NetworkReset

Call = Callable[..., Awaitable[object]]
Json = Mapping[str, Any]
Named = list[tuple[str, Json]]


def _addresses(addresses: tuple[Address, ...]) -> list[list[object]]:
    return [[a, p] for a, p in addresses]


def _named(config: Named | Json) -> list[tuple[str, Json]]:
    """Accept pairs of name and configuration, or an object."""
    return list(config.items()) if isinstance(config, Mapping) else [(n, c) for n, c in config]


@dataclass(slots=True)
class InterfaceMethods:
    """``Interface.*``"""

    backend: Backend
    desired: DesiredNetwork
    positions: NicPositions

    async def _link(self, name: str) -> Link:
        link = (await self.backend.links()).get(name)
        if link is None:
            raise errors.no_interface(name)
        return link

    async def scan(self) -> object:
        """Every device with all that is known of it."""
        return [asdict(link) for link in (await self.backend.links()).values()]

    async def get_all(self) -> object:
        return list(await self.backend.links())

    async def get_interface_positions(self) -> object:
        """Pairs of name and position, the same at every start."""
        nics = [v for v in (await self.backend.links()).values() if v.kind == "nic"]
        return [list(pair) for pair in self.positions.of(nics).items()]

    async def exists(self, name: str) -> object:
        return name in await self.backend.links()

    async def get_mac(self, name: str) -> object:
        return (await self._link(name)).mac

    async def get_pci_bus_path(self, name: str) -> object:
        return (await self._link(name)).pci_bus_path

    async def is_up(self, name: str) -> object:
        return (await self._link(name)).up

    async def is_connected(self, name: str) -> object:
        return (await self._link(name)).carrier

    async def is_physical(self, name: str) -> object:
        link = (await self.backend.links()).get(name)
        return link is not None and link.kind == "nic"

    async def has_vlan(self, name: str, vlan: int) -> object:
        """Whether a tag is used on a device."""
        state = await self.backend.observe()
        parents = {b for b, c in state.bridges.items() if name in c.ports}
        return any(
            c.vlan and c.vlan[0] in parents and c.vlan[1] == vlan for c in state.bridges.values()
        )

    async def get_mtu(self, name: str) -> object:
        return (await self._link(name)).mtu

    async def get_capabilities(self, name: str) -> object:
        return list((await self._link(name)).capabilities)

    async def get_ipv4_addr(self, name: str) -> object:
        return _addresses((await self._link(name)).ipv4)

    async def get_ipv4_gateway(self, name: str) -> object:
        return (await self._link(name)).ipv4_gateway or None

    async def get_ipv6_addr(self, name: str) -> object:
        return _addresses((await self._link(name)).ipv6)

    async def get_ipv6_gateway(self, name: str) -> object:
        return (await self._link(name)).ipv6_gateway or None

    async def get_dns(self, name: str) -> object:
        link = await self._link(name)
        return [list(link.name_servers), list(link.domains)]

    async def set_ipv4_conf(self, name: str, conf: Any) -> object:
        return await self.make_config([(name, {"ipv4_conf": conf})], merge=True)

    async def set_ipv4_gateway(self, name: str, address: str) -> object:
        return await self.make_config([(name, {"ipv4_gateway": address})], merge=True)

    async def set_persistent(self, name: str, value: bool) -> object:
        def edit(state: NetworkState) -> NetworkState:
            old = state.interfaces.get(name, InterfaceConfig())
            changed = {**state.interfaces, name: replace(old, persistent=value)}
            return replace(state, interfaces=changed)

        await self.desired.change(edit)
        return None

    async def set_locking(
        self,
        name: str,
        mac: str = "",
        mode: str = "unlocked",
        ipv4_allowed: Sequence[str] = (),
        ipv6_allowed: Sequence[str] = (),
        rate_kbps: int = 0,
    ) -> object:
        """Enforce what a virtual machine's device may send, and how many KiB a second."""
        lock = codec.lock(name, mac, mode, ipv4_allowed, ipv6_allowed, rate_kbps)
        await self.desired.between_changes(lambda: self.backend.lock_vif(name, lock))
        return None

    async def make_config(
        self, config: Named | Json, conservative: bool = False, merge: bool = False
    ) -> object:
        """Set up interfaces; devices that do not exist are skipped."""

        def edit(state: NetworkState) -> NetworkState:
            interfaces = dict(state.interfaces)
            for name, data in _named(config):
                known = codec.state_to_wire(state)["interface_config"].get(name, {})
                whole = {**known, **data} if merge else data
                interfaces[name] = codec.interface_from_wire(name, whole)
            return replace(state, interfaces=interfaces)

        await self.desired.change(edit)
        return None


@dataclass(slots=True)
class BridgeMethods:
    """``Bridge.*``"""

    backend: Backend
    desired: DesiredNetwork

    async def get_all(self) -> object:
        return list((await self.backend.observe()).bridges)

    async def get_kind(self) -> object:
        return self.backend.kind

    async def _bridge(self, name: str) -> BridgeConfig:
        found = (await self.backend.observe()).bridges.get(name)
        if found is None:
            raise errors.no_bridge(name)
        return found

    async def get_all_ports(self) -> object:
        bridges = (await self.backend.observe()).bridges
        return [[p, list(c.interfaces)] for b in bridges.values() for p, c in b.ports.items()]

    async def get_all_bonds(self) -> object:
        bridges = (await self.backend.observe()).bridges
        return [
            [p, list(c.interfaces)]
            for b in bridges.values()
            for p, c in b.ports.items()
            if len(c.interfaces) > 1
        ]

    async def get_interfaces(self, name: str) -> object:
        config = await self._bridge(name)
        return [i for port in config.ports.values() for i in port.interfaces]

    async def get_physical_interfaces(self, name: str) -> object:
        """The NICs below a bridge, those of the parent for a VLAN."""
        config = await self._bridge(name)
        if config.vlan is not None:
            config = await self._bridge(config.vlan[0])
        links = await self.backend.links()
        members = [i for port in config.ports.values() for i in port.interfaces]
        return [i for i in members if i in links and links[i].kind == "nic"]

    async def create(
        self,
        name: str,
        vlan: list[Any] | None = None,
        mac: str = "",
        igmp_snooping: bool | None = None,
        other_config: dict[str, str] | None = None,
    ) -> object:
        """Make a bridge, or change one while keeping its ports."""

        def edit(state: NetworkState) -> NetworkState:
            data = {
                "vlan": vlan,
                "bridge_mac": mac,
                "igmp_snooping": igmp_snooping,
                "other_config": other_config or {},
            }
            made = codec.bridge_from_wire(name, data)
            old = state.bridges.get(name)
            if old is not None:
                made = replace(made, ports=old.ports, persistent=old.persistent)
            return replace(state, bridges={**state.bridges, name: made})

        await self.desired.change(edit)
        return None

    async def destroy(self, name: str, force: bool = False) -> object:
        """Remove a bridge if it is there; one that carries VLANs stays unless forced."""

        def edit(state: NetworkState) -> NetworkState:
            vlans = {b for b, c in state.bridges.items() if c.vlan and c.vlan[0] == name}
            if vlans and not force:
                return state
            gone = {name, *vlans}
            return replace(
                state,
                bridges={b: c for b, c in state.bridges.items() if b not in gone},
                interfaces={i: c for i, c in state.interfaces.items() if i not in gone},
            )

        await self.desired.change(edit)
        return None

    async def set_persistent(self, name: str, value: bool) -> object:
        def edit(state: NetworkState) -> NetworkState:
            old = state.bridges.get(name)
            if old is None:
                raise errors.no_bridge(name)
            return replace(state, bridges={**state.bridges, name: replace(old, persistent=value)})

        await self.desired.change(edit)
        return None

    async def add_port(
        self,
        bridge: str,
        name: str,
        interfaces: list[str],
        bond_properties: Any = (),
        bond_mac: str = "",
        kind: str = "basic",
    ) -> object:
        """Put a port into a bridge.  A port of kind vif is not kept in the file."""
        data = {
            "interfaces": interfaces,
            "bond_properties": bond_properties,
            "bond_mac": bond_mac,
            "kind": kind,
        }

        def edit(state: NetworkState) -> NetworkState:
            port = codec.bridge_from_wire(bridge, {"ports": {name: data}}).ports[name]
            return _with_port(state, bridge, name, port)

        await self.desired.change(edit)
        return None

    async def remove_port(self, bridge: str, name: str) -> object:
        await self.desired.change(lambda state: _with_port(state, bridge, name, None))
        return None

    async def make_config(self, config: Named | Json, conservative: bool = False) -> object:
        """Set up bridges; other bridges stay as they are."""

        def edit(state: NetworkState) -> NetworkState:
            made = {n: codec.bridge_from_wire(n, c) for n, c in _named(config)}
            return plan.with_vifs(state, replace(state, bridges={**state.bridges, **made}))

        await self.desired.change(edit)
        return None


def _with_port(
    state: NetworkState, bridge: str, name: str, port: PortConfig | None
) -> NetworkState:
    old = state.bridges.get(bridge)
    if old is None:
        raise errors.no_bridge(bridge)
    ports = {k: v for k, v in old.ports.items() if k != name}
    if port is not None:
        ports[name] = port
    return replace(state, bridges={**state.bridges, bridge: replace(old, ports=ports)})


@dataclass(slots=True)
class VifMethods:
    """``Vif.*``: devices of virtual machines, which the kept state knows nothing of."""

    backend: Backend
    desired: DesiredNetwork

    async def attach(self, bridge: str, name: str, **vif: Any) -> object:
        """Put a device into a bridge, out of any other, with its rules in force."""
        port = codec.vif(name, **vif)
        await self.desired.between_changes(lambda: self.backend.attach_vif(bridge, port))
        return None

    async def detach(self, name: str) -> object:
        """Take a device out of its bridge, if it is in one, and forget its rules."""
        await self.desired.between_changes(lambda: self.backend.detach_vif(name))
        return None


class LeaseServer(Protocol):
    """Where leases are served; see ``dhcp_server.service``."""

    def set_leases(self, bridge: str, leases: Leases) -> None: ...

    def leases_of(self, bridge: str) -> Mapping[str, str]: ...


@dataclass(slots=True)
class DhcpMethods:
    """``Dhcp.*``: the server for the network between a host and its own guests."""

    server: LeaseServer

    async def set_leases(
        self, bridge: str, address: str, prefix_length: int, leases: Mapping[str, str]
    ) -> object:
        """Give exactly these MACs these addresses on a bridge; none ends the service."""
        by_mac = {codec.mac(bridge, mac): ip for mac, ip in leases.items()}
        ((own, length),) = codec.addresses(bridge, [(address, prefix_length)])
        codec.addresses(bridge, [(ip, prefix_length) for ip in by_mac.values()])
        self.server.set_leases(bridge, Leases(own, length, by_mac))
        return None

    async def get_leases(self, bridge: str) -> object:
        """Give what ``set_leases`` was told; nothing for a bridge without service."""
        return dict(self.server.leases_of(bridge))


@dataclass(slots=True)
class NetworkMethods:
    """``Network.*`` and the calls on the whole state."""

    backend: Backend
    desired: DesiredNetwork
    reset: NetworkReset

    async def pending_reset(self) -> object:
        """Tell whether the network began anew and the records have to follow."""
        return self.reset.pending()

    async def reset_done(self) -> object:
        """End an administrator's reset: the records have followed."""
        self.reset.done()
        return None

    async def apply(self, config: Json) -> object:
        """Make the host's network exactly what the document says, or leave it as it was."""
        wanted = codec.state_from_wire(config)
        await self.desired.change(lambda state: plan.with_vifs(state, wanted))
        return None

    async def change(
        self,
        destroy: Sequence[str] = (),
        bridge_config: Json | None = None,
        interface_config: Json | None = None,
        gateway_interface: str | None = None,
        dns_interface: str | None = None,
    ) -> object:
        """Change parts of the network together: all of it, or nothing.

        ``destroy`` are bridges that go, with their VLANs; bridges and interfaces that are not
        named stay, and so do the roles that are null.
        """
        bridges = {n: codec.bridge_from_wire(n, c) for n, c in (bridge_config or {}).items()}
        interfaces = {
            n: codec.interface_from_wire(n, c) for n, c in (interface_config or {}).items()
        }

        def edit(state: NetworkState) -> NetworkState:
            return plan.changed(
                state,
                frozenset(destroy),
                NetworkState(
                    bridges,
                    interfaces,
                    state.gateway_interface if gateway_interface is None else gateway_interface,
                    state.dns_interface if dns_interface is None else dns_interface,
                ),
            )

        await self.desired.change(edit)
        return None

    async def get(self) -> object:
        return codec.state_to_wire(self.desired.state)

    async def stats(self) -> object:
        """Counters and link state of every device."""
        counters = await self.backend.counters()
        return {
            name: {
                **asdict(counters[name]),
                "kind": link.kind,
                "carrier": link.carrier,
                "speed_mbps": link.speed_mbps,
                "duplex": link.duplex,
                "pci_bus_path": link.pci_bus_path,
                "vendor": link.vendor,
                "product": link.product,
                "links": len(link.interfaces),
                "links_up": link.links_up,
            }
            for name, link in (await self.backend.links()).items()
            if name in counters
        }

    async def set_gateway_interface(self, name: str) -> object:
        await self.desired.change(lambda state: replace(state, gateway_interface=name))
        return None

    async def set_dns_interface(self, name: str) -> object:
        await self.desired.change(lambda state: replace(state, dns_interface=name))
        return None

    async def clear_state(self) -> object:
        """Begin anew: nothing is persistent and the file is held until ``sync_state``."""
        self.desired.hold(True)
        self.desired.forget()
        return None

    async def sync_state(self) -> object:
        self.desired.hold(False)
        return None

    async def reset_state(self) -> object:
        """Remove everything this daemon made."""
        await self.desired.change(lambda _: NetworkState())
        return None


_CALLS = {
    "Interface": (
        "scan get_all get_interface_positions exists get_mac get_pci_bus_path is_up is_connected "
        "is_physical has_vlan get_mtu get_capabilities get_ipv4_addr get_ipv4_gateway "
        "get_ipv6_addr get_ipv6_gateway get_dns set_ipv4_conf set_ipv4_gateway set_persistent "
        "set_locking make_config"
    ),
    "Bridge": (
        "get_all get_kind get_all_ports get_all_bonds get_interfaces get_physical_interfaces "
        "create destroy set_persistent add_port remove_port make_config"
    ),
    "Vif": "attach detach",
    "Dhcp": "set_leases get_leases",
    "Network": (
        "apply change get stats set_gateway_interface set_dns_interface "
        "clear_state sync_state reset_state pending_reset reset_done"
    ),
}


def calls(
    backend: Backend,
    desired: DesiredNetwork,
    positions: NicPositions,
    reset: NetworkReset,
    leases: LeaseServer,
) -> dict[str, Call]:
    """Give the calls by name."""
    owners = {
        "Interface": InterfaceMethods(backend, desired, positions),
        "Bridge": BridgeMethods(backend, desired),
        "Vif": VifMethods(backend, desired),
        "Dhcp": DhcpMethods(leases),
        "Network": NetworkMethods(backend, desired, reset),
    }
    return {
        f"{group}.{name}": getattr(owners[group], name)
        for group, names in _CALLS.items()
        for name in names.split()
    }


def method_table(
    named: Mapping[str, Call],
    feed: UpdateFeed,
    epoch: str,
    delay: Callable[[str], Awaitable[None]],
) -> dict[str, Method]:
    """Make RPC methods whose answer is ``{"result", "cursor", "epoch"}``.

    All effects of the call are in the update feed up to that cursor of that epoch.
    """

    def serve(name: str, call: Call) -> Method:
        async def method(context: CallContext, **params: object) -> object:
            await delay(name)
            result = await call(**params)
            return {"result": result, "cursor": feed.cursor, "epoch": epoch}

        return method

    async def updates(
        context: CallContext, cursor: int = 0, timeout_s: float = 30.0, epoch: str = ""
    ) -> object:
        return await feed.get(epoch, cursor, timeout_s)

    table: dict[str, Method] = {name: serve(name, call) for name, call in named.items()}
    return table | {"UPDATES.get": updates}

"""What the network daemon works with: the desired state, what it finds, and backends.

The desired state has the members of the daemon's classic configuration file
(briefs, network section 14); a backend executes steps and tells what is there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

IPv4Mode = Literal["None4", "DHCP4", "Static4"]
IPv6Mode = Literal["None6", "DHCP6", "Autoconf6", "Linklocal6", "Static6"]
PortKind = Literal["basic", "pvs_proxy", "vif"]
BackendKind = Literal["bridge", "openvswitch"]
Address = tuple[str, int]
"""An address and its prefix length."""


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """How a device, mostly a bridge, is to be set up at the network layer.

    ``ipv4_routes`` are (subnet, prefix length, gateway); ``dns`` holds name
    servers and search domains.  ``virtual_functions``: a card shows its functions
    (SR-IOV); those that nobody asked for here stay.
    """

    ipv4_mode: IPv4Mode = "None4"
    ipv4_addresses: tuple[Address, ...] = ()
    ipv4_gateway: str = ""
    ipv4_routes: tuple[tuple[str, int, str], ...] = ()
    ipv6_mode: IPv6Mode = "None6"
    ipv6_addresses: tuple[Address, ...] = ()
    ipv6_gateway: str = ""
    name_servers: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    mtu: int = 1500
    ethtool_settings: tuple[tuple[str, str], ...] = ()
    ethtool_offload: tuple[tuple[str, str], ...] = (("lro", "off"),)
    virtual_functions: bool = False
    persistent: bool = False


@dataclass(frozen=True, slots=True)
class PortConfig:
    """A port of a bridge; more than one interface make it a bond of that name."""

    interfaces: tuple[str, ...]
    bond_mac: str = ""
    bond_properties: Mapping[str, str] = field(default_factory=dict)
    kind: PortKind = "basic"


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """A bridge; ``vlan`` is (parent bridge, tag) or None."""

    ports: Mapping[str, PortConfig] = field(default_factory=dict)
    vlan: tuple[str, int] | None = None
    bridge_mac: str = ""
    igmp_snooping: bool | None = None
    other_config: Mapping[str, str] = field(default_factory=dict)
    persistent: bool = False


@dataclass(frozen=True, slots=True)
class NetworkState:
    """All bridges and interfaces, desired or found."""

    bridges: Mapping[str, BridgeConfig] = field(default_factory=dict)
    interfaces: Mapping[str, InterfaceConfig] = field(default_factory=dict)
    gateway_interface: str = ""
    dns_interface: str = ""


@dataclass(frozen=True, slots=True)
class DestroyBridge:
    """Remove a bridge with its ports; its VLAN bridges are gone by then."""

    bridge: str


@dataclass(frozen=True, slots=True)
class CreateBridge:
    """Make a bridge without ports; its parent exists."""

    bridge: str
    config: BridgeConfig


@dataclass(frozen=True, slots=True)
class SetBridge:
    """Change MAC, snooping or other options of a bridge that stays."""

    bridge: str
    config: BridgeConfig


@dataclass(frozen=True, slots=True)
class RemovePort:
    """Take a port out of its bridge, dissolving a bond."""

    bridge: str
    port: str


@dataclass(frozen=True, slots=True)
class AddPort:
    """Put a port into a bridge, making a bond of more than one interface."""

    bridge: str
    port: str
    config: PortConfig


@dataclass(frozen=True, slots=True)
class ConfigureInterface:
    """Bring an interface to a configuration, changing only what differs."""

    interface: str
    config: InterfaceConfig
    gateway: bool
    dns: bool


@dataclass(frozen=True, slots=True)
class SetRoles:
    """Note which interfaces carry the default route and the name servers."""

    gateway_interface: str
    dns_interface: str


Step = (
    DestroyBridge | CreateBridge | SetBridge | RemovePort | AddPort | ConfigureInterface | SetRoles
)


SEGMENTS_KIB: Final = 128


@dataclass(frozen=True, slots=True)
class VifLock:
    """What a virtual machine's device may send and whether it takes part at all.

    ``unlocked``: anything.  ``disabled``: nothing passes in either direction.
    ``locked``: only frames from ``mac`` with one of the addresses, and DHCP.
    ``rate_kib`` is how many KiB a second it may send in any mode, 0 for no limit;
    what is more is dropped.
    """

    mac: str
    mode: Literal["unlocked", "disabled", "locked"] = "unlocked"
    ipv4_allowed: tuple[str, ...] = ()
    ipv6_allowed: tuple[str, ...] = ()
    rate_kib: int = 0

    @property
    def burst_kib(self) -> int:
        """How much may come at once: a second's worth, and two of the largest segments that a
        guest hands over."""
        return self.rate_kib + SEGMENTS_KIB


@dataclass(frozen=True, slots=True)
class VifPort:
    """A virtual machine's device for a bridge.

    ``mtu`` 0 leaves the device as it is.  Of Open vSwitch only: ``trunks`` are the VLANs
    it carries, 0 for frames without tag and none for all; ``external_ids`` are noted on
    the switch's interface for its controller.
    """

    name: str
    lock: VifLock
    mtu: int = 0
    trunks: tuple[int, ...] = ()
    external_ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """A device that is there now.

    ``kind`` is nic, bond, bridge or vif.  ``speed_mbps`` is 0 when unknown.
    For a bond ``interfaces`` are its members and ``links_up`` how many carry.
    ``virtual_functions`` are the PCI addresses of the functions a card shows.
    """

    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    carrier: bool
    speed_mbps: int = 0
    duplex: str = "unknown"
    pci_bus_path: str = ""
    vendor: str = ""
    product: str = ""
    capabilities: tuple[str, ...] = ()
    bridge: str = ""
    ipv4: tuple[Address, ...] = ()
    ipv4_gateway: str = ""
    ipv6: tuple[Address, ...] = ()
    ipv6_gateway: str = ""
    name_servers: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    links_up: int = 0
    active: str = ""
    virtual_functions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counters:
    """Traffic of a device since it came up; they only grow."""

    rx_bytes: int
    tx_bytes: int
    rx_packets: int
    tx_packets: int
    rx_errors: int = 0
    tx_errors: int = 0


class Backend(Protocol):
    """Bridges and interfaces of one host.

    Errors: RpcError Interface_does_not_exist, Bridge_does_not_exist,
    Vlan_in_use [device, tag], Script_error [text].  Each step is idempotent.
    """

    kind: BackendKind

    async def observe(self) -> NetworkState:
        """Give what is configured now, as far as this daemon configures it."""

    async def present(self) -> set[str]:
        """Give the names of the network cards that the last look, ``observe``, found."""

    async def links(self) -> dict[str, Link]:
        """Give every device."""

    async def counters(self) -> dict[str, Counters]: ...

    async def execute(self, step: Step) -> None: ...

    async def execute_together(self, steps: Sequence[Step]) -> None:
        """Execute steps of one kind; some of them may be done when one fails."""

    async def settle(self) -> None:
        """Wait until everything executed so far would survive a killed daemon."""

    async def reachable(self, interface: str) -> bool:
        """Whether the host can talk through an interface now.

        It has carrier and an address, and its gateway, if it has one, answers.
        """

    async def lock_vif(self, name: str, lock: VifLock) -> None:
        """Enforce what a virtual machine's device may send, from its next frame on."""

    async def attach_vif(self, bridge: str, vif: VifPort) -> None:
        """Put a virtual machine's device into a bridge, out of any other, and bring it up.

        No frame passes before its rules are in force, and they stay in force when the
        bridge is made anew under it.
        """

    async def detach_vif(self, name: str) -> None:
        """Take a device out of its bridge and forget its rules; it may be gone already."""

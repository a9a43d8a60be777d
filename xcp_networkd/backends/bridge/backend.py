"""Bridges, VLAN devices and bonds of the kernel, through netlink."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from xcp_networkd import errors, plan
from xcp_networkd.backends.bridge import bonding, observe
from xcp_networkd.backends.bridge.devices import BridgeDevices, marked
from xcp_networkd.contract import (
    AddPort,
    BackendKind,
    BridgeConfig,
    ConfigureInterface,
    Counters,
    CreateBridge,
    DestroyBridge,
    InterfaceConfig,
    Link,
    NetworkState,
    RemovePort,
    SetBridge,
    SetRoles,
    Step,
    VifLock,
    VifPort,
)
from xcp_networkd.linux import links, name_servers, reach
from xcp_networkd.linux.dhcp import DhcpClients
from xcp_networkd.linux.ethtool import Ethtool
from xcp_networkd.linux.host import LinuxHost, Run, command
from xcp_networkd.linux.interfaces import InterfaceSetup, Snapshot
from xcp_networkd.linux.record import Record
from xcp_networkd.netlink import codec
from xcp_networkd.netlink.codec import Device
from xcp_networkd.netlink.kernel import Kernel, KernelError
from xcp_networkd.vif_rules import nftables

log = logging.getLogger(__name__)


class BridgeNetwork:
    """A ``xcp_networkd.contract.Backend`` on the kernel's own bridges."""

    kind: BackendKind = "bridge"

    def __init__(self, host: LinuxHost, run: Run) -> None:
        self._host = host
        self._run = run
        self._record = Record(host.state / "applied.json")
        self._kernel = Kernel()
        self._ethtool = Ethtool()
        self._dhcp = DhcpClients(host)
        self._setup = InterfaceSetup(self._kernel, host, self._dhcp, self._ethtool)
        self._devices = BridgeDevices(self._kernel, self._setup)
        self._cards: set[str] = set()

    def close(self) -> None:
        """Let the sockets go; what was set up stays."""
        self._kernel.close()
        self._ethtool.close()

    async def observe(self) -> NetworkState:
        return await self._run(self._observe)

    def _observe(self) -> NetworkState:
        snapshot, kept = Snapshot.take(self._kernel), self._record.state
        self._cards = {n for n, d in snapshot.devices.items() if links.is_nic(d)}
        interfaces = {
            name: self._setup.found(
                snapshot,
                name,
                kept.interfaces.get(name, InterfaceConfig()),
                gateway=plan.carries_gateway(kept, name),
                dns=plan.carries_dns(kept, name),
            )
            for name, device in snapshot.devices.items()
            if name in kept.interfaces or observe.is_ours(device, kept.bridges)
        }
        default = InterfaceConfig()
        return NetworkState(
            observe.bridges(snapshot, kept.bridges),
            {n: c for n, c in interfaces.items() if n in kept.interfaces or c != default},
            kept.gateway_interface,
            kept.dns_interface,
        )

    async def present(self) -> set[str]:
        return set(self._cards)

    async def links(self) -> dict[str, Link]:
        return await self._run(self._links)

    def _links(self) -> dict[str, Link]:
        snapshot, kept = Snapshot.take(self._kernel), self._record.state
        found: dict[str, Link] = {}
        for name, device in snapshot.devices.items():
            kind = _kind(device, kept)
            if not kind:
                continue
            above = snapshot.by_index.get(device.master)
            if above is not None and above.info == "bond":
                above = snapshot.by_index.get(above.master)
            link = links.describe(
                device,
                kind,
                snapshot,
                self._ethtool,
                above.name if above is not None else "",
                snapshot.facts(name),
            )
            if kind == "bond":
                link = _with_members(link, device, snapshot)
            if kind == "nic":
                link = links.with_functions(link, self._setup.functions)
            servers, domains = links.with_name_servers(
                link, kept.interfaces.get(name), self._leased_names
            )
            found[name] = replace(link, name_servers=servers, domains=domains)
        return found

    def _leased_names(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        writer, servers, domains = name_servers.read(self._host.resolv_conf)
        return (servers, domains) if writer == name else ((), ())

    async def counters(self) -> dict[str, Counters]:
        devices = await self._run(lambda: self._kernel.devices(counters=True))
        kept = self._record.state
        return {n: links.counters(d) for n, d in devices.items() if _kind(d, kept)}

    async def settle(self) -> None:
        self._record.save()

    async def reachable(self, interface: str) -> bool:
        return await self._run(reach.reachable, self._kernel, interface)

    async def lock_vif(self, name: str, lock: VifLock) -> None:
        await self._run(self._lock_vif, name, lock)
        self._record.save()

    def _lock_vif(self, name: str, lock: VifLock) -> None:
        if self._kernel.device(name) is None:
            raise errors.no_interface(name)
        command(["nft", "-f", "-"], stdin=nftables.ruleset(name, lock))
        self._record.note_lock(name, lock)

    async def attach_vif(self, bridge: str, vif: VifPort) -> None:
        await self._run(self._attach_vif, bridge, vif)
        self._record.save()

    def _attach_vif(self, bridge: str, vif: VifPort) -> None:
        self._devices.device(bridge, bridge=True)
        self._devices.device(vif.name)
        if nftables.needed(vif.lock) or vif.name in self._record.vifs:
            self._lock_vif(vif.name, vif.lock)
        try:
            self._devices.add_vif(bridge, vif.name, vif.mtu)
        except KernelError as problem:
            raise errors.script_error(str(problem.strerror)) from problem
        self._record.note_vif(bridge, vif)

    async def detach_vif(self, name: str) -> None:
        await self._run(self._detach_vif, name)
        self._record.save()

    def _detach_vif(self, name: str) -> None:
        if self._kernel.device(name) is not None:
            self._devices.remove_vif(name)
        known = self._record.vifs.get(name)
        if known is not None and nftables.needed(known.lock):
            command(["nft", "-f", "-"], stdin=nftables.ruleset(name, VifLock(known.lock.mac)))
        self._record.forget_vif(name)

    async def execute(self, step: Step) -> None:
        await self._run(self._execute, step)

    async def execute_together(self, steps: Sequence[Step]) -> None:
        for step in steps:
            await self.execute(step)

    def _execute(self, step: Step) -> None:
        try:
            self._dispatch(step)
        except KernelError as problem:
            raise errors.script_error(str(problem.strerror)) from problem
        self._record.note(step)

    def _dispatch(self, step: Step) -> None:
        match step:
            case DestroyBridge(bridge):
                self._devices.destroy(bridge)
            case CreateBridge(bridge, config):
                self._devices.create(bridge, config)
            case SetBridge(bridge, config):
                self._devices.device(bridge, bridge=True)
                self._devices.set_bridge(bridge, config)
            case RemovePort(bridge, port):
                kept = self._record.state.bridges.get(bridge, BridgeConfig())
                self._devices.remove_port(bridge, port, kept.ports.get(port))
            case AddPort(bridge, port, port_config):
                self._devices.add_port(bridge, port, port_config)
            case ConfigureInterface(interface, interface_config):
                before = self._record.state.interfaces.get(interface, InterfaceConfig())
                self._setup.configure(step, before)
                self._devices.follow_mtu(interface, interface_config.mtu)
            case SetRoles():
                pass


def _kind(device: Device, kept: NetworkState) -> str:
    """The contract's kind of a device, empty for one that is none of ours."""
    if observe.is_ours(device, kept.bridges):
        return "bridge"
    if device.info == "bond" and marked(device):
        return "bond"
    if links.is_nic(device):
        return "nic"
    return "vif" if device.master and links.is_vif(device) else ""


def _with_members(link: Link, device: Device, snapshot: Snapshot) -> Link:
    members = [d for d in snapshot.devices.values() if d.master == device.index]
    up = bonding.carrying(device, members)
    active = snapshot.by_index.get(device.number(codec.BOND_ACTIVE_SLAVE))
    return replace(
        link,
        carrier=bool(up),
        interfaces=tuple(m.name for m in members),
        links_up=len(up),
        active=active.name if active is not None else "",
    )

"""Bridges, fake bridges for VLANs and bonds of Open vSwitch."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from xapi_py.base.rpc.errors import RpcError
from xcp_networkd import errors, plan
from xcp_networkd.backends.openvswitch import commands, database, observe
from xcp_networkd.backends.openvswitch.database import Row, Tables
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
    PortConfig,
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
from xcp_networkd.netlink.kernel import Kernel, KernelError
from xcp_networkd.vif_rules import openflow

log = logging.getLogger(__name__)

VSCTL_TIMEOUT_S = 20
_NO_BRIDGE = re.compile(
    r"no bridge named ([^\s'\"]+)|no row \"([^\s'\"]+)\" in table Bridge"
    r"|parent bridge ([^\s'\"]+) does not exist"
)


class OpenVSwitchNetwork:
    """A ``xcp_networkd.contract.Backend`` on Open vSwitch."""

    kind: BackendKind = "openvswitch"

    def __init__(self, host: LinuxHost, run: Run) -> None:
        self._host = host
        self._run = run
        self._record = Record(host.state / "applied.json")
        self._switch = ""
        self._cards: set[str] = set()
        self._kernel = Kernel()
        self._ethtool = Ethtool()
        self._dhcp = DhcpClients(host)
        self._setup = InterfaceSetup(self._kernel, host, self._dhcp, self._ethtool)

    def close(self) -> None:
        """Let the sockets go; what was set up stays."""
        self._kernel.close()
        self._ethtool.close()

    async def observe(self) -> NetworkState:
        return await self._run(self._observe)

    def _tables(self) -> Tables:
        return database.read(self._host.ovsdb)

    def _observe(self) -> NetworkState:
        snapshot, kept = Snapshot.take(self._kernel), self._record.state
        self._cards = {n for n, d in snapshot.devices.items() if links.is_nic(d)}
        bridges = observe.bridges(self._tables(), kept.bridges, self._cards)
        bonds = _bonds(bridges)
        interfaces = {n: c for n, c in kept.interfaces.items() if n in bonds}
        for name in snapshot.devices:
            if name in kept.interfaces or name in bridges:
                config = self._setup.found(
                    snapshot,
                    name,
                    kept.interfaces.get(name, InterfaceConfig()),
                    gateway=plan.carries_gateway(kept, name),
                    dns=plan.carries_dns(kept, name),
                )
                if name in kept.interfaces or config != InterfaceConfig():
                    interfaces[name] = config
        return NetworkState(bridges, interfaces, kept.gateway_interface, kept.dns_interface)

    async def present(self) -> set[str]:
        return set(self._cards)

    async def links(self) -> dict[str, Link]:
        return await self._run(self._links)

    def _relock(self) -> None:
        """Put the rules of all devices in force again after the switch was started anew."""
        try:
            switch = (self._host.ovs_run / "ovs-vswitchd.pid").read_text(encoding="ascii")
        except OSError:
            return
        if switch == self._switch:
            return
        complete = True
        for name, vif in tuple(self._record.vifs.items()):
            if vif.lock.mode != "unlocked":
                try:
                    self._lock_vif(name, vif.lock)
                except RpcError as problem:
                    complete = False
                    log.warning("%s is not locked yet: %s", name, problem)
        if complete:
            self._switch = switch

    def _links(self) -> dict[str, Link]:
        self._relock()
        snapshot, kept, tables = Snapshot.take(self._kernel), self._record.state, self._tables()
        nics = {n for n, d in snapshot.devices.items() if links.is_nic(d)}
        bridges = observe.bridges(tables, kept.bridges, nics)
        owners = {
            i: (bridge, p)
            for bridge, config in bridges.items()
            for p in config.ports.values()
            for i in p.interfaces
        }
        found: dict[str, Link] = {}
        for name, device in snapshot.devices.items():
            kind = "bridge" if name in bridges else "nic" if name in nics else "vif"
            if kind == "vif" and name not in owners:
                continue
            master = owners[name][0] if name in owners else ""
            facts = snapshot.facts(name)
            link = links.describe(device, kind, snapshot, self._ethtool, master, facts)
            if kind == "nic":
                link = links.with_functions(link, self._setup.functions)
            servers, domains = links.with_name_servers(
                link, kept.interfaces.get(name), self._leased_names
            )
            found[name] = replace(link, name_servers=servers, domains=domains)
        rows = {str(row["name"]): row for row in tables.ports.values()}
        for name, (bridge, config) in _bonds(bridges).items():
            found[name] = _bond_link(name, bridge, config, rows[name], tables, found)
        return found

    def _leased_names(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        writer, servers, domains = name_servers.read(self._host.resolv_conf)
        return (servers, domains) if writer == name else ((), ())

    async def counters(self) -> dict[str, Counters]:
        found = await self.links()
        devices = await self._run(lambda: self._kernel.devices(counters=True))
        known = {n: links.counters(d) for n, d in devices.items() if n in found}
        for name, link in found.items():
            if link.kind == "bond":
                known[name] = _sum([known[m] for m in link.interfaces if m in known])
        return known

    async def settle(self) -> None:
        self._record.save()

    async def reachable(self, interface: str) -> bool:
        return await self._run(reach.reachable, self._kernel, interface)

    async def lock_vif(self, name: str, lock: VifLock) -> None:
        await self._run(self._lock_vif, name, lock)
        await self._run(self._vsctl, commands.limit(name, lock))
        self._record.save()

    def _lock_vif(self, name: str, lock: VifLock) -> None:
        tables = self._tables()
        port = next((r for r in tables.interfaces.values() if r["name"] == name), None)
        if port is None or not port["ofport"] or port["ofport"] < 0:
            raise errors.no_interface(name)
        bridge = observe.real_bridge_of(tables, name)
        self._flows(bridge, openflow.flow_mods(name, port["ofport"], lock))
        word = "no-forward" if lock.mode == "disabled" else "forward"
        command(["ovs-ofctl", "mod-port", self._control(bridge), name, word])
        self._record.note_lock(name, lock)

    def _control(self, bridge: str) -> str:
        return f"unix:{self._host.ovs_run / bridge}.mgmt"

    def _flows(self, bridge: str, text: str) -> None:
        words = ["ovs-ofctl", "-O", "OpenFlow14", "--bundle", "add-flows", self._control(bridge)]
        command([*words, "-"], stdin=text)

    async def attach_vif(self, bridge: str, vif: VifPort) -> None:
        await self._run(self._attach_vif, bridge, vif)
        self._record.save()

    def _attach_vif(self, bridge: str, vif: VifPort) -> None:
        if self._kernel.device(vif.name) is None:
            raise errors.no_interface(vif.name)
        tables = self._tables()
        old = observe.real_bridge_of(tables, vif.name)
        move = bool(old) and vif.name not in observe.ports_of(tables, bridge)
        if vif.lock.mode != "unlocked":
            # Only a device that is down sends nothing before its rules are there.
            self._set_up(vif.name, up=False)
        if move:
            self._flows(old, openflow.no_flows(vif.name))
        self._vsctl(commands.add_vif(bridge, vif, move=move))
        if vif.lock.mode != "unlocked" or vif.name in self._record.vifs:
            self._lock_vif(vif.name, vif.lock)
        self._set_up(vif.name, up=True)
        self._record.note_vif(bridge, vif)

    def _set_up(self, name: str, *, up: bool) -> None:
        try:
            self._kernel.set_link(name, up=up)
        except KernelError as problem:
            raise errors.script_error(str(problem.strerror)) from problem

    async def detach_vif(self, name: str) -> None:
        await self._run(self._detach_vif, name)
        self._record.save()

    def _detach_vif(self, name: str) -> None:
        bridge = observe.real_bridge_of(self._tables(), name)
        if bridge:
            known = self._record.vifs.get(name)
            if known is not None and known.lock.mode != "unlocked":
                self._flows(bridge, openflow.no_flows(name))
            self._vsctl(commands.remove_port(name))
        self._record.forget_vif(name)

    def _vsctl(self, arguments: list[str]) -> None:
        if not arguments:
            return
        database_option = f"--db=unix:{self._host.ovsdb}"
        words = ["ovs-vsctl", f"--timeout={VSCTL_TIMEOUT_S}", database_option, *arguments]
        try:
            command(words, environment={"OVS_RUNDIR": str(self._host.ovs_run)})
        except RpcError as problem:
            missing = _NO_BRIDGE.search(str(problem.params))
            if missing:
                raise errors.no_bridge(next(filter(None, missing.groups()))) from problem
            raise

    async def execute(self, step: Step) -> None:
        await self._run(self._execute, step)

    async def execute_together(self, steps: Sequence[Step]) -> None:
        await self._run(self._execute_all, steps)

    def _execute(self, step: Step) -> None:
        self._execute_all((step,))

    def _execute_all(self, steps: Sequence[Step]) -> None:
        """Carry steps out, bridges and ports of cards in one transaction: each takes long."""
        bridges = [s for s in steps if isinstance(s, CreateBridge)]
        ports = [s for s in steps if isinstance(s, AddPort) and s.config.kind != "vif"]
        try:
            self._create_bridges(bridges)
            self._add_ports(ports)
            for step in steps:
                if step not in bridges and step not in ports:
                    self._dispatch(step)
        except KernelError as problem:
            raise errors.script_error(str(problem.strerror)) from problem
        for step in steps:
            self._record.note(step)

    def _create_bridges(self, steps: Sequence[CreateBridge]) -> None:
        made = (commands.create_bridge(s.bridge, s.config, self._host.datapath) for s in steps)
        self._vsctl([word for words in made for word in words])
        for step in steps:
            self._kernel.set_link(step.bridge, up=True)

    def _dispatch(self, step: Step) -> None:
        match step:
            case DestroyBridge(bridge):
                self._setup.forget(bridge)
                self._vsctl(commands.destroy_bridge(bridge))
            case SetBridge(bridge, config):
                self._vsctl(commands.set_bridge(bridge, config))
            case RemovePort(bridge, port):
                kept = self._record.state.bridges.get(bridge, BridgeConfig()).ports.get(port)
                single = kept is not None and len(kept.interfaces) == 1
                self._vsctl(commands.remove_port(kept.interfaces[0] if kept and single else port))
            case AddPort(bridge, port, port_config):
                self._add_vif(bridge, port, port_config)
            case ConfigureInterface():
                self._configure(step)
            case SetRoles():
                pass

    def _add_vif(self, bridge: str, port: str, config: PortConfig) -> None:
        known = self._record.vifs.get(port)
        if known is not None:
            self._attach_vif(bridge, known)
        else:
            self._put_in([AddPort(bridge, port, config)], config.interfaces)

    def _add_ports(self, steps: Sequence[AddPort]) -> None:
        interfaces = [name for step in steps for name in step.config.interfaces]
        self._put_in(steps, interfaces)
        # A switch that does not take the card must not cost the host its address.
        for interface in interfaces:
            self._setup.clear(interface)

    def _put_in(self, steps: Sequence[AddPort], interfaces: Sequence[str]) -> None:
        for interface in interfaces:
            if self._kernel.device(interface) is None:
                raise errors.no_interface(interface)
        for interface in interfaces:
            self._kernel.set_link(interface, up=True)
        made = (commands.add_port(s.bridge, s.port, s.config) for s in steps)
        self._vsctl([word for words in made for word in words])

    def _configure(self, step: ConfigureInterface) -> None:
        name, mtu = step.interface, step.config.mtu
        device = self._kernel.device(name)
        if device is None or device.mtu != mtu:
            self._request_mtu(name, mtu)
            # At the start of the machine the switch makes its devices only now; it has, when
            # the request is answered.  A bond never becomes a device.
            device = self._kernel.device(name)
        if device is not None:
            before = self._record.state.interfaces.get(name, InterfaceConfig())
            self._setup.configure(step, before, mtu=False)

    def _request_mtu(self, name: str, mtu: int) -> None:
        """Set the MTU of a device, or of a bond's members, the way it stays set."""
        tables = self._tables()
        port = next((p for p in tables.ports.values() if p["name"] == name), None)
        known = {str(row["name"]) for row in tables.interfaces.values()}
        switched = [str(m["name"]) for m in observe.members(port, tables)] if port else []
        switched = switched or ([name] if name in known else [])
        if switched:
            self._vsctl([word for m in switched for word in commands.request_mtu(m, mtu)])
        elif self._kernel.device(name) is None:
            raise errors.no_interface(name)
        else:
            self._setup.set_mtu(name, mtu)


def _bonds(bridges: Mapping[str, BridgeConfig]) -> dict[str, tuple[str, PortConfig]]:
    """Bonds, which are no devices of the kernel, with their bridges."""
    return {
        name: (bridge, port)
        for bridge, config in bridges.items()
        for name, port in config.ports.items()
        if len(port.interfaces) > 1
    }


def _bond_link(
    name: str, bridge: str, config: PortConfig, row: Row, tables: Tables, found: Mapping[str, Link]
) -> Link:
    members = [found[i] for i in config.interfaces if i in found]
    rows = {str(m["name"]): m for m in observe.members(row, tables)}
    up = [m for m in members if m.carrier and rows[m.name]["link_state"] == "up"]
    if row["lacp"] == "active":
        agreed = [m for m in up if rows[m.name]["lacp_current"]]
        up = agreed or up[:1]
    one_at_a_time = row["bond_mode"] == "active-backup"
    active = next((m.name for m in members if m.mac == row["bond_active_slave"]), "")
    return Link(
        name,
        "bond",
        config.bond_mac or (members[0].mac if members else ""),
        min((m.mtu for m in members), default=1500),
        True,
        bool(up),
        sum(m.speed_mbps for m in (up[:1] if one_at_a_time else up)),
        "full" if up else "unknown",
        bridge=bridge,
        interfaces=config.interfaces,
        links_up=len(up),
        active=active,
    )


def _sum(parts: list[Counters]) -> Counters:
    return Counters(
        sum(p.rx_bytes for p in parts),
        sum(p.tx_bytes for p in parts),
        sum(p.rx_packets for p in parts),
        sum(p.tx_packets for p in parts),
        sum(p.rx_errors for p in parts),
        sum(p.tx_errors for p in parts),
    )

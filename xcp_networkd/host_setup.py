"""Put the network daemon together with the system's own network."""

import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from xapi_py.base import service
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.rpc.updates import UpdateFeed
from xcp_networkd import daemon, installer, nic_order
from xcp_networkd.backends.bridge.backend import BridgeNetwork
from xcp_networkd.backends.openvswitch.backend import OpenVSwitchNetwork
from xcp_networkd.config import SystemConfig
from xcp_networkd.contract import Link, NetworkState
from xcp_networkd.desired import DesiredNetwork
from xcp_networkd.dhcp_server.service import DhcpServer
from xcp_networkd.installer import FoundNic
from xcp_networkd.linux import name_servers
from xcp_networkd.linux.host import LinuxHost, Run, boot_id
from xcp_networkd.monitor import Monitor
from xcp_networkd.netlink.kernel import Kernel
from xcp_networkd.nic_positions import NicPositions
from xcp_networkd.reset import NetworkReset

log = logging.getLogger(__name__)

T = TypeVar("T")


def linux_host(system: SystemConfig, state: Path) -> LinuxHost:
    run = Path(system.ovs_run)
    return LinuxHost(
        *(state, Path(system.resolv_conf), run / "db.sock", run, system.datapath),
        sys=Path(system.sysfs),
    )


def _in_thread(reactor: Any) -> tuple[ThreadPool, Run]:
    """One thread for everything that may block: netlink, ovs-vsctl, nft."""
    threads = ThreadPool(1, 1, "network")
    threads.start()

    async def run(work: Callable[..., T], /, *arguments: Any) -> T:
        result: T = await deferToThreadPool(reactor, threads, work, *arguments)
        return result

    return threads, run


async def build(system: SystemConfig, state: Path, reactor: Any) -> service.Service:
    """Give the daemon's service, with the persistent configuration in place."""
    threads, run = _in_thread(reactor)
    kind = OpenVSwitchNetwork if system.backend == "openvswitch" else BridgeNetwork
    backend = kind(linux_host(system, state), run)
    epoch = new_uuid()
    feed = UpdateFeed(reactor, epoch)
    desired = DesiredNetwork(
        *(backend, state / "networkd.json", feed, reactor, system.management_timeout_s),
        boot=boot_id(),
    )
    leases = DhcpServer(state / "dhcp-leases.json", reactor)
    monitor = Monitor(backend, desired, feed, reactor)
    try:
        positions = NicPositions(state)
        nics = [link for link in (await backend.links()).values() if link.kind == "nic"]
        if system.rename_nics:
            await run(rename, positions.of(nics))
            nics = [link for link in (await backend.links()).values() if link.kind == "nic"]
        reset = NetworkReset(Path(system.network_reset), state / "network-reset.followed")
        there = await run(found_nics, nics, Path(system.resolv_conf))
        await begin(desired, reset, Path(system.management_conf), nics, there)
        leases.start()
        await monitor.start()
    except BaseException:
        threads.stop()
        backend.close()
        raise

    async def no_delay(method: str) -> None:
        return None

    def stop() -> None:
        monitor.stop()
        leases.stop()
        threads.stop()
        backend.close()

    table = daemon.calls(backend, desired, positions, reset, leases)
    return service.Service(daemon.method_table(table, feed, epoch, no_delay), stop)


async def begin(
    desired: DesiredNetwork,
    reset: NetworkReset,
    management_conf: Path,
    nics: list[Link],
    found: Sequence[FoundNic] = (),
) -> None:
    """Bring the persistent network up, or the one that an administrator's reset asks for.

    At the first start that is the installer's, else what the host is reached through now.
    """
    wanted = reset.wanted({nic.name: nic.mac for nic in nics})
    if wanted is None:
        first = first_state(management_conf, nics)
        await desired.start(first if first.bridges else installer.as_found(found))
        return
    await desired.start(wanted, anew=True)
    reset.followed()


def found_nics(nics: Sequence[Link], resolv_conf: Path) -> list[FoundNic]:
    """Give the cards that are in no bridge, with the addresses somebody else gave them."""
    kernel = Kernel()
    try:
        names = {device.index: name for name, device in kernel.devices().items()}
        leased = {
            (names.get(address.index), address.family)
            for address in kernel.addresses()
            if address.scope == 0 and not address.permanent
        }
    finally:
        kernel.close()
    _, servers, domains = name_servers.read(resolv_conf)
    return [
        FoundNic(
            nic.name,
            nic.mac,
            nic.ipv4,
            nic.ipv4_gateway,
            (nic.name, socket.AF_INET) in leased,
            nic.ipv6,
            nic.ipv6_gateway,
            (nic.name, socket.AF_INET6) in leased,
            servers,
            domains,
        )
        for nic in nics
        if not nic.bridge
    ]


def first_state(management_conf: Path, nics: list[Link]) -> NetworkState:
    """What the installer asked for; nothing when it left no word."""
    try:
        text = management_conf.read_text(encoding="utf-8")
    except OSError:
        return NetworkState()
    try:
        return installer.first_state(installer.parse(text), {nic.name: nic.mac for nic in nics})
    except RpcError as problem:
        log.error("%s: %s", management_conf, problem.params)
        return NetworkState()


def rename(positions: dict[str, int]) -> None:
    """Call each card eth<position>; a card in use keeps its name."""
    kernel = Kernel()
    try:
        for old, new in nic_order.renames(positions):
            device = kernel.device(old)
            if device is None:
                continue
            if device.master or device.up:
                log.warning("%s is in use and is not called %s", old, new)
                continue
            kernel.rename(device.index, new)
    finally:
        kernel.close()

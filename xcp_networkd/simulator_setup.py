"""Put the network daemon together with the simulated backend."""

from collections.abc import Mapping
from pathlib import Path

from twisted.internet.defer import Deferred

from xapi_py.base.names import new_uuid
from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.server import CallContext, Method
from xapi_py.base.rpc.updates import UpdateFeed
from xcp_networkd import codec, daemon, plan
from xcp_networkd.backends.simulator import SimulatedNetwork
from xcp_networkd.config import HostNetwork
from xcp_networkd.contract import BridgeConfig, InterfaceConfig, NetworkState, PortConfig
from xcp_networkd.desired import DesiredNetwork
from xcp_networkd.nic_positions import NicPositions
from xcp_networkd.reset import NetworkReset


def first_state(host: HostNetwork) -> NetworkState:
    """What a freshly installed host has: the management bridge, if there is a NIC for it."""
    management = host.network.management
    nic = next((n for n in host.nics if n.device == management.device), None)
    if nic is None or management.mode == "none":
        return NetworkState()
    if management.mode == "static":
        address = InterfaceConfig(
            ipv4_mode="Static4",
            ipv4_addresses=((management.ip, management.prefix_length),),
            ipv4_gateway=management.gateway,
            name_servers=management.dns,
            persistent=True,
        )
    else:
        address = InterfaceConfig(ipv4_mode="DHCP4", persistent=True)
    bridge = f"xenbr{nic.device.removeprefix('eth')}"
    ports = {nic.device: PortConfig((nic.device,))}
    bridges = {bridge: BridgeConfig(ports, bridge_mac=nic.mac.lower(), persistent=True)}
    interface = bridge
    if management.vlan >= 0:
        interface = "xentemp"
        bridges[interface] = BridgeConfig(vlan=(bridge, management.vlan), persistent=True)
    state = NetworkState(bridges, {interface: address}, interface, interface)
    return codec.state_from_wire(codec.state_to_wire(state))


async def build(host: HostNetwork, state: Path, reactor: Clock) -> Mapping[str, Method]:
    """Give the RPC methods, with the persistent configuration in place."""
    epoch = new_uuid()
    feed = UpdateFeed(reactor, epoch)
    backend = SimulatedNetwork(host, state, reactor)
    desired = DesiredNetwork(
        backend, state / "networkd.json", feed, reactor, host.network.management_timeout_s
    )
    reset = NetworkReset(state / "network-reset", state / "network-reset.followed")
    wanted = reset.wanted({nic.device: nic.mac.lower() for nic in host.nics})
    await desired.start(first_state(host) if wanted is None else wanted, anew=wanted is not None)
    if wanted is not None:
        reset.followed()
    latencies_s = host.network.latencies_s

    async def delay(method: str) -> None:
        seconds = latencies_s.get(method, latencies_s.get("*", 0.0))
        if seconds > 0:
            done: Deferred[None] = Deferred()
            reactor.callLater(seconds, done.callback, None)
            await done

    def set_carrier(context: CallContext, device: str, carrier: bool) -> object:
        backend.set_carrier(device, carrier)
        feed.add("interface", device)
        for name in sorted(plan.above(desired.state, device) - {device}):
            feed.add("interface", name)
        return None

    def fail_step(context: CallContext, step: str, text: str) -> object:
        backend.fail_step(step, text)
        return None

    return {
        **daemon.method_table(
            daemon.calls(backend, desired, NicPositions(state), reset, backend), feed, epoch, delay
        ),
        "DEBUG.set_carrier": set_carrier,
        "DEBUG.fail_step": fail_step,
    }

"""How long a big network takes: 16 NICs in bridges, 64 VLANs on the first, an address each.

Run as root: ``pytest -s tests/bench/bench_networkd.py``.  The bars: 5 s to apply, 100 ms for
applying it again.  Where the kernel has no VLAN devices, its bridges stand for the VLANs.
"""

import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from tests.system import real_backends
from tests.system.namespaces import kernel_has, namespaces
from tests.system.test_network_replay import finish, nic
from xapi_py.base.rpc.updates import UpdateFeed
from xcp_networkd.contract import BridgeConfig, InterfaceConfig, NetworkState
from xcp_networkd.desired import DesiredNetwork

pytestmark = [pytest.mark.system, pytest.mark.bench]

NICS = 16
VLANS = 64
APPLY_BAR_S = 5.0
AGAIN_BAR_S = 0.1


def big(*, vlans: bool) -> NetworkState:
    bridges = {f"xenbr{n}": nic(f"eth{n}") for n in range(NICS)}
    for n in range(VLANS):
        vlan = ("xenbr0", n + 1) if vlans else None
        bridges[f"xapi{n}"] = BridgeConfig(vlan=vlan, persistent=True)
    interfaces = {
        name: InterfaceConfig(ipv4_mode="Static4", ipv4_addresses=((f"10.9.{number}.1", 24),))
        for number, name in enumerate(bridges)
    }
    return NetworkState(bridges, interfaces, "xenbr0", "xenbr0")


@pytest.mark.parametrize("system", ["bridge", "openvswitch"])
def test_big_network_is_applied_within_the_bar(system: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        host, outside = stack.enter_context(namespaces(2))
        real_backends.with_nics(host, outside, tuple(f"eth{n}" for n in range(NICS)))
        if system == "openvswitch":
            stack.enter_context(real_backends.switch(host, tmp_path))
        stack.enter_context(host.entered())
        backend = real_backends.backend(system, tmp_path, tmp_path)
        stack.callback(backend.close)
        clock = Clock()
        file = tmp_path / "networkd.json"
        desired = DesiredNetwork(backend, file, UpdateFeed(clock, "epoch"), clock)
        state = big(vlans=system == "openvswitch" or kernel_has("vlan"))
        apply_s = timed(desired, state, clock)
        again_s = min(timed(desired, state, clock) for _ in range(3))
        print(
            f"\n{system}: apply {apply_s:.2f} s ({apply_s / APPLY_BAR_S:.0%} of the bar), "
            f"again {again_s * 1000:.0f} ms ({again_s / AGAIN_BAR_S:.0%})"
        )
        assert apply_s < APPLY_BAR_S
        assert again_s < AGAIN_BAR_S


def timed(desired: DesiredNetwork, state: NetworkState, clock: Clock) -> float:
    begin = time.perf_counter()
    finish(desired.change(lambda _: state), clock)
    return time.perf_counter() - begin

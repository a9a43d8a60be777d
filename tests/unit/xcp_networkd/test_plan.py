from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from xcp_networkd import plan
from xcp_networkd.contract import (
    AddPort,
    BridgeConfig,
    ConfigureInterface,
    CreateBridge,
    DestroyBridge,
    InterfaceConfig,
    NetworkState,
    PortConfig,
    RemovePort,
    SetBridge,
    Step,
)

NICS = ("eth0", "eth1", "eth2", "eth3")


@st.composite
def states(draw: st.DrawFn) -> NetworkState:
    """Consistent states: real bridges over distinct NICs, VLANs on some of them."""
    nics = draw(st.permutations(NICS))
    bridges: dict[str, BridgeConfig] = {}
    for number in range(draw(st.integers(0, 3))):
        count = draw(st.integers(0, min(2, len(nics))))
        taken, nics = tuple(nics[:count]), nics[count:]
        name = taken[0] if count == 1 else f"bond{number}"
        ports = {name: PortConfig(taken)} if taken else {}
        persistent = draw(st.booleans())
        bridges[f"br{number}"] = BridgeConfig(ports, persistent=persistent)
    for number, parent in enumerate(draw(st.lists(st.sampled_from(sorted(bridges) or ["x"])))):
        if parent in bridges:
            tag = draw(st.integers(0, 3))
            if all(b.vlan != (parent, tag) for b in bridges.values()):
                bridges[f"vlan{number}"] = BridgeConfig(vlan=(parent, tag))
    chosen = draw(st.lists(st.sampled_from([*sorted(bridges), "eth0"]), unique=True))
    interfaces = {n: InterfaceConfig(mtu=draw(st.integers(1500, 1502))) for n in chosen}
    return NetworkState(bridges, interfaces)


def apply(state: NetworkState, steps: list[Step]) -> NetworkState:
    """Carry out steps as strictly as a real system would."""
    bridges, interfaces = dict(state.bridges), dict(state.interfaces)
    for step in steps:
        match step:
            case DestroyBridge(name):
                assert not any(b.vlan and b.vlan[0] == name for b in bridges.values())
                del bridges[name]
                interfaces.pop(name, None)
            case CreateBridge(name, config):
                assert name not in bridges and not config.ports
                assert config.vlan is None or config.vlan[0] in bridges
                bridges[name] = config
            case SetBridge(name, config):
                bridges[name] = replace(config, ports=bridges[name].ports)
            case RemovePort(name, port):
                ports = {k: v for k, v in bridges[name].ports.items() if k != port}
                bridges[name] = replace(bridges[name], ports=ports)
            case AddPort(name, port, port_config):
                taken = {
                    i for b in bridges.values() for p in b.ports.values() for i in p.interfaces
                }
                assert not taken & set(port_config.interfaces)
                ports = {**bridges[name].ports, port: port_config}
                bridges[name] = replace(bridges[name], ports=ports)
            case ConfigureInterface(name, interface_config):
                interfaces[name] = interface_config
    return NetworkState(bridges, interfaces)


@given(states(), states())
def test_steps_lead_from_any_state_to_any_other(found: NetworkState, desired: NetworkState) -> None:
    plan.check(desired)
    reached = apply(found, plan.steps(found, desired, NICS))
    assert reached.bridges == desired.bridges
    for name, config in desired.interfaces.items():
        assert reached.interfaces.get(name, InterfaceConfig()) == config


@given(states())
def test_nothing_is_done_when_all_is_well(state: NetworkState) -> None:
    assert plan.steps(state, state, NICS) == []


def test_ports_without_device_are_left_out_and_not_tried_again() -> None:
    desired = NetworkState({"br0": BridgeConfig({"bond0": PortConfig(("eth0", "eth9"))})})
    first = plan.steps(NetworkState(), desired, NICS)
    assert first[-1] == AddPort("br0", "bond0", PortConfig(("eth0",)))
    found = apply(NetworkState(), first)
    assert plan.steps(found, desired, NICS) == []


def test_persistent_part_takes_parents_of_vlans_along() -> None:
    state = NetworkState(
        {"br0": BridgeConfig(), "v": BridgeConfig(vlan=("br0", 1), persistent=True)},
        {"br0": InterfaceConfig(), "v": InterfaceConfig(persistent=True)},
    )
    kept = plan.persistent_part(state)
    assert (sorted(kept.bridges), sorted(kept.interfaces)) == (["br0", "v"], ["v"])

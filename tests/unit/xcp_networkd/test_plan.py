from dataclasses import replace
from typing import TypeGuard

from hypothesis import given, settings
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
    SetRoles,
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
    interfaces = {n: draw(configs()) for n in chosen}
    roles = st.sampled_from(["", *chosen])
    return NetworkState(bridges, interfaces, draw(roles), draw(roles))


@st.composite
def configs(draw: st.DrawFn) -> InterfaceConfig:
    mtu = draw(st.integers(1500, 1502))
    match draw(st.sampled_from(["none", "dhcp", "static"])):
        case "dhcp":
            return InterfaceConfig(ipv4_mode="DHCP4", mtu=mtu)
        case "static":
            address = (f"192.0.2.{draw(st.integers(1, 3))}", 24)
            gateway = draw(st.sampled_from(["", "192.0.2.254"]))
            servers = draw(st.sampled_from([(), ("192.0.2.53",)]))
            return InterfaceConfig(
                ipv4_mode="Static4",
                ipv4_addresses=(address,),
                ipv4_gateway=gateway,
                name_servers=servers,
                mtu=mtu,
            )
    return InterfaceConfig(mtu=mtu, virtual_functions=draw(st.booleans()))


def apply(state: NetworkState, steps: list[Step]) -> NetworkState:
    """Carry out steps as strictly as a real system would."""
    bridges, interfaces = dict(state.bridges), dict(state.interfaces)
    roles = (state.gateway_interface, state.dns_interface)
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
                interfaces.pop(name, None)
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
            case SetRoles(gateway_interface, dns_interface):
                roles = (gateway_interface, dns_interface)
    return NetworkState(bridges, interfaces, *roles)


@settings(max_examples=40, deadline=None)
@given(states(), states())
def test_steps_lead_from_any_state_to_any_other(found: NetworkState, desired: NetworkState) -> None:
    plan.check(desired)
    reached = apply(found, plan.steps(found, desired, NICS))
    assert reached.bridges == desired.bridges
    for name, config in desired.interfaces.items():
        assert reached.interfaces.get(name, InterfaceConfig()) == config
    assert plan.steps(reached, desired, NICS) == []


@settings(max_examples=40, deadline=None)
@given(states(), states())
def test_interface_that_gets_or_loses_a_role_is_set_up_anew(
    found: NetworkState, desired: NetworkState
) -> None:
    done = {s.interface: s for s in plan.steps(found, desired, NICS) if _configures(s)}
    for name, config in desired.interfaces.items():
        old = plan.carries_gateway(found, name)
        new = plan.carries_gateway(desired, name)
        if old != new and (config.ipv4_gateway or config.ipv4_mode == "DHCP4"):
            assert done[name].gateway == new


def _configures(step: Step) -> TypeGuard[ConfigureInterface]:
    return isinstance(step, ConfigureInterface)


@settings(max_examples=40, deadline=None)
@given(states(), states())
def test_killed_daemon_takes_no_card_from_what_the_file_says(
    found: NetworkState, kept: NetworkState
) -> None:
    merged = plan.merged(found, kept)
    plan_of = {n: merged.bridges[n] for n in kept.bridges}
    assert plan_of == dict(kept.bridges)
    cards = [i for b in merged.bridges.values() for p in b.ports.values() for i in p.interfaces]
    assert len(cards) == len(set(cards))


@settings(max_examples=40, deadline=None)
@given(states(), states())
def test_steps_go_together_without_changing_their_order(
    found: NetworkState, desired: NetworkState
) -> None:
    planned = plan.steps(found, desired, NICS) * 9
    batches = list(plan.batches(planned))
    assert [step for steps in batches for step in steps] == planned
    assert all(len({type(s) for s in b}) == 1 and len(b) <= plan.TOGETHER for b in batches)


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

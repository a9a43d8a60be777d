"""Addresses and routes: the plan, carried out on a model of what a kernel does."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from xcp_networkd.contract import InterfaceConfig
from xcp_networkd.linux.interfaces import V4, V6, Changes, Facts, changes

ADDRESSES = st.sampled_from([("192.0.2.1", 24), ("192.0.2.2", 24), ("198.51.100.9", 25)])
ADDRESSES6 = st.sampled_from([("2001:db8::1", 64), ("2001:db8::2", 64)])
ROUTES = st.sampled_from([("10.0.0.0", 8, "192.0.2.99"), ("10.1.0.0", 16, "192.0.2.98")])
GATEWAYS = st.sampled_from(["", "192.0.2.254", "192.0.2.253"])


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    ipv4 = tuple(draw(st.lists(ADDRESSES, unique=True)))
    return Facts(
        index=5,
        ipv4=ipv4,
        ipv6=tuple(draw(st.lists(ADDRESSES6, unique=True))),
        gateway4=draw(GATEWAYS) if ipv4 else "",
        routes=tuple(draw(st.lists(ROUTES, unique=True))) if ipv4 else (),
    )


@st.composite
def configs(draw: st.DrawFn) -> InterfaceConfig:
    ipv4 = tuple(draw(st.lists(ADDRESSES, unique=True)))
    ipv6 = tuple(draw(st.lists(ADDRESSES6, unique=True)))
    return InterfaceConfig(
        ipv4_mode="Static4" if ipv4 else "None4",
        ipv4_addresses=ipv4,
        ipv4_gateway=draw(GATEWAYS) if ipv4 else "",
        ipv4_routes=tuple(draw(st.lists(ROUTES, unique=True))) if ipv4 else (),
        ipv6_mode="Static6" if ipv6 else "None6",
        ipv6_addresses=ipv6,
    )


def carry_out(found: Facts, plan: Changes) -> Facts:
    """What a kernel makes of it, at its worst: losing an address loses every route."""
    ipv4, ipv6 = list(found.ipv4), list(found.ipv6)
    gateway, routes = found.gateway4, list(found.routes)
    for route in plan.remove_routes:
        if route.subnet:
            routes.remove((route.subnet, route.prefix_length, route.gateway))
        else:
            gateway = ""
    for family, address, length in plan.add:
        (ipv4 if family == V4 else ipv6).append((address, length))
    for family, address, length in plan.remove:
        (ipv4 if family == V4 else ipv6).remove((address, length))
        if family == V4:
            gateway, routes = "", []
    for route in plan.add_routes:
        if route.subnet:
            routes.append((route.subnet, route.prefix_length, route.gateway))
        else:
            gateway = route.gateway
    return Facts(5, found.mtu, found.up, tuple(ipv4), tuple(ipv6), gateway, "", tuple(routes))


@given(facts(), configs(), st.booleans())
def test_any_configuration_is_reached_from_any_other(
    found: Facts, wanted: InterfaceConfig, gateway: bool
) -> None:
    reached = carry_out(found, changes(found, wanted, gateway=gateway))
    assert set(reached.ipv4) == set(wanted.ipv4_addresses)
    assert set(reached.ipv6) == set(wanted.ipv6_addresses)
    assert set(reached.routes) == set(wanted.ipv4_routes)
    assert reached.gateway4 == (wanted.ipv4_gateway if gateway else "")
    assert changes(reached, wanted, gateway=gateway) == Changes()


@given(facts(), configs())
def test_an_address_that_stays_is_never_taken_away(found: Facts, wanted: InterfaceConfig) -> None:
    plan = changes(found, wanted, gateway=True)
    kept = {*wanted.ipv4_addresses, *wanted.ipv6_addresses}
    assert not kept & {(address, length) for _, address, length in plan.remove}


@given(facts())
def test_a_lease_is_left_to_its_client(found: Facts) -> None:
    plan = changes(found, InterfaceConfig(ipv4_mode="DHCP4", ipv6_mode="DHCP6"), gateway=True)
    assert (plan.remove, plan.add) == ((), ())
    assert all(ipaddress.ip_address(r.gateway).version == 6 or r.subnet for r in plan.remove_routes)


@given(facts())
def test_router_advertisements_keep_their_addresses(found: Facts) -> None:
    plan = changes(found, InterfaceConfig(ipv6_mode="Autoconf6"), gateway=True)
    assert not [entry for entry in plan.remove if entry[0] == V6]

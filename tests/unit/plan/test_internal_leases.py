"""Which addresses guests get on their host's internal network."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from xapi_py.plan.internal_leases import assigned

RANGE = {"ip_begin": "169.254.0.1", "ip_end": "169.254.0.5", "netmask": "255.255.0.0"}


def network(assigned_ips: dict[str, str] | None = None, **other_config: str) -> Any:
    config = other_config or RANGE
    return SimpleNamespace(other_config=config, assigned_ips=assigned_ips or {})


def test_first_guests_get_the_addresses_after_the_hosts_own() -> None:
    assert assigned(network(), ["a", "b"]) == {"a": "169.254.0.2", "b": "169.254.0.3"}


def test_address_stays_and_a_free_one_is_used_again() -> None:
    there = {"a": "169.254.0.2", "b": "169.254.0.3"}
    assert assigned(network(there), ["b", "c"]) == {"b": "169.254.0.3", "c": "169.254.0.2"}


def test_range_that_is_used_up_or_absent_gives_nothing() -> None:
    assert len(assigned(network(), list("abcdefg"))) == 4
    assert assigned(network(ip_begin="x", ip_end=""), ["a"]) == {}


@given(st.lists(st.lists(st.sampled_from("abcdef"), unique=True)))
def test_no_two_guests_share_an_address(rounds: list[list[str]]) -> None:
    there: dict[str, str] = {}
    for vifs in rounds:
        found = dict(assigned(network(there), vifs))
        assert len(set(found.values())) == len(found)
        assert "169.254.0.1" not in found.values()
        assert all(found[vif] == there[vif] for vif in set(vifs) & set(there))
        there = found

"""What the rules say; that they hold is shown with real frames in tests/system."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcp_networkd.contract import VifLock
from xcp_networkd.vif_rules import nftables, openflow

MAC = "02:00:00:00:00:01"
LOCK = VifLock(MAC, "locked", ("192.0.2.1",), ("2001:db8::1",))


@given(st.text("vif0123456789.-", min_size=1, max_size=15), st.text("vif.-_", max_size=15))
def test_no_two_devices_share_a_chain(first: str, second: str) -> None:
    assert (nftables.chain_name(first) == nftables.chain_name(second)) == (first == second)


@given(st.text("vif0123456789.-", min_size=1, max_size=15), st.text("vif.-_", max_size=15))
def test_flows_of_two_devices_have_different_marks(first: str, second: str) -> None:
    assert (openflow.cookie(first) == openflow.cookie(second)) == (first == second)
    assert openflow.cookie(first) < 1 << 64


def test_unlocking_leaves_nothing_of_the_device() -> None:
    text = nftables.ruleset("vif1.0", VifLock(MAC))
    chain = nftables.chain_name("vif1.0")
    assert text.rstrip().endswith(f"delete chain {nftables.TABLE} {chain}")
    assert "add rule bridge xapi of_" not in text
    flows = openflow.flow_mods("vif1.0", 3, VifLock(MAC)).splitlines()
    assert all(line.startswith("delete ") for line in flows)
    assert openflow.no_flows("vif1.0").rstrip() in flows


def test_disabled_device_neither_sends_nor_receives() -> None:
    text = nftables.ruleset("vif1.0", VifLock(MAC, "disabled"))
    assert 'add element bridge xapi receivers { "vif1.0" : drop }' in text
    assert "delete element" not in text
    flows = openflow.flow_mods("vif1.0", 3, VifLock(MAC, "disabled"))
    assert "priority=4000,in_port=3,actions=drop" in flows


@pytest.mark.parametrize("mode", ["unlocked", "locked"])
def test_a_limit_comes_before_what_may_pass(mode: Literal["unlocked", "locked"]) -> None:
    text = nftables.ruleset("vif1.0", VifLock(MAC, mode, ("192.0.2.1",), rate_kib=4000))
    rules = [line for line in text.splitlines() if line.startswith("add rule bridge xapi of_")]
    assert rules[0].endswith("limit rate over 4000 kbytes/second burst 128 kbytes drop")
    assert (len(rules) > 1, "delete" in text) == (mode == "locked", True)


def test_whatever_is_not_allowed_is_dropped() -> None:
    assert nftables.locked_rules(LOCK)[-1] == "drop"
    assert openflow.locked_flows(LOCK)[-1] == (4000, "", "drop")
    lowest = min(priority for priority, *_ in openflow.locked_flows(LOCK))
    assert lowest == 4000


@pytest.mark.parametrize("lock", [LOCK, VifLock(MAC, "locked")])
def test_every_allowing_flow_names_the_mac(lock: VifLock) -> None:
    allowing = [match for _, match, action in openflow.locked_flows(lock) if action == "normal"]
    assert allowing and all(f"dl_src={MAC}" in match for match in allowing)


def test_without_ipv6_addresses_no_ipv6_passes() -> None:
    rules = "\n".join(nftables.locked_rules(VifLock(MAC, "locked", ("192.0.2.1",))))
    assert "ip6" not in rules

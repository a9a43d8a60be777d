"""Network devices of VMs through the network daemon."""

from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from tests.unit.xenops.factories import begun, done, outcome
from tests.unit.xenops.test_storage import Answers
from xapi_py.base.rpc.errors import RpcError, RpcUnreachable
from xenops.metadata import Vif
from xenops.network import NetworkDaemon, rules

VIF = Vif(
    "0",
    "02:00:00:00:00:01",
    "xenbr0",
    mtu=9000,
    rate_kbps=256,
    trunks=(25,),
    locking_mode="locked",
    ipv4_allowed=("192.0.2.20",),
    extra_private_keys={"vif-uuid": "v", "network-uuid": "n"},
)
RULES = {
    "name": "vif3.0",
    "mac": "02:00:00:00:00:01",
    "mode": "locked",
    "ipv4_allowed": ["192.0.2.20"],
    "ipv6_allowed": [],
    "rate_kbps": 256,
}


def test_attaching_names_bridge_mtu_rules_and_owners() -> None:
    daemon = Answers()
    done(NetworkDaemon(Clock(), daemon).attach("t", "vif3.0", VIF, "vm"))
    owners = {"xs-vm-uuid": "vm", "xs-vif-uuid": "v", "xs-network-uuid": "n"}
    place = {"bridge": "xenbr0", "mtu": 9000, "trunks": [25], "external_ids": owners}
    assert daemon.calls == [("Vif.attach", RULES | place)]


@pytest.mark.parametrize("rate", [-1, 10**9])
def test_a_limit_that_limits_nothing_is_none(rate: int) -> None:
    assert rules(replace(VIF, rate_kbps=rate))["rate_kbps"] == 0


def test_locking_tells_the_rules_alone() -> None:
    daemon = Answers()
    done(NetworkDaemon(Clock(), daemon).lock("t", "vif3.0", VIF))
    assert daemon.calls == [("Interface.set_locking", RULES)]


def test_a_refusal_is_passed_on() -> None:
    daemon = Answers(RpcError("Bridge_does_not_exist", "xenbr0"))
    with pytest.raises(RpcError, match="Bridge_does_not_exist"):
        done(NetworkDaemon(Clock(), daemon).attach("t", "vif3.0", VIF, "vm"))


def test_a_restart_of_the_network_daemon_goes_unnoticed() -> None:
    clock, daemon = Clock(), Answers(RpcUnreachable("gone"))
    running = begun(NetworkDaemon(clock, daemon).attach("t", "vif3.0", VIF, "vm"))
    clock.advance(1)
    assert outcome(running) is None
    assert len(daemon.calls) == 2


def test_detaching_never_fails() -> None:
    daemon = Answers(RpcError("Script_error", "no"))
    done(NetworkDaemon(Clock(), daemon).detach("t", "vif3.0"))
    assert daemon.calls == [("Vif.detach", {"name": "vif3.0"})]

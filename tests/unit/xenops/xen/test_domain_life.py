"""The life of domains on Xen in memory: what is in xenstore, and what is left after trouble."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.unit.xenops.factories import MIB, UUID, begun, done, make_md, outcome
from tests.unit.xenops.xen.fake_xen import XenBench
from xapi_py.base.rpc.errors import RpcError
from xenops.backends.contract import Change, CreateRequest, ShutdownReason
from xenops.backends.xen.backend import XenBackend
from xenops.bindings.interface import HvmParam
from xenops.metadata import VmMetadata
from xenops.xenstore.codec import MessageType

SIZE = CreateRequest(300 * MIB, 300 * MIB)
OTHER = "6f2a3c52-0000-4000-8000-000000000002"


def make_pv(**values: Any) -> VmMetadata:
    return make_md(**({"ty": "PV", "pv": {"direct": True, "kernel": __file__}} | values))


class Host:
    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.xen = XenBench(folder, self.clock)
        self.server = self.xen.server
        self.changes: list[Change] = []
        self.restart()

    def restart(self) -> None:
        self.backend: XenBackend = self.xen.backend()
        self.backend.listen(self.changes.append)

    def running(self, md: VmMetadata | None = None, request: CreateRequest = SIZE) -> int:
        md = md or make_pv()
        domid = done(self.backend.create(md, request))
        done(self.backend.build(domid, md.vm))
        done(self.backend.clear_action_request(domid))
        done(self.backend.unpause(domid))
        self.clock.advance(2)
        return domid


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize(("flag", "bits"), [("true", 0b100101), ("false", 0)])
def test_viridian_interfaces_are_those_the_platform_asks_for(
    host: Host, flag: str, bits: int
) -> None:
    md = make_md(ty="HVM", platformdata={"viridian": flag})
    domid = done(host.backend.create(md, SIZE))
    done(host.backend.build(domid, md.vm))
    assert host.xen.xen.params.get((domid, HvmParam.VIRIDIAN), 0) == bits


def test_a_guest_finds_its_tree_as_the_reference_writes_it(host: Host) -> None:
    md = make_pv(
        name="web",
        vcpu_max=2,
        xsdata={"vm-data/a": "1", "secret": "x"},
        platformdata={"viridian": "true", "timeoffset": "7"},
        bios_strings={"bios-vendor": "Xen"},
        generation_id="1:2",
    )
    domid = done(host.backend.create(md, SIZE))
    home = f"/local/domain/{domid}"
    value = host.server.value
    assert value(f"{home}/action-request") == "poweroff"
    done(host.backend.build(domid, md.vm))
    expected = {
        "vm": f"/vm/{UUID}",
        "name": "web",
        "domid": str(domid),
        "domain-type": "pv",
        "vm-data/a": "1",
        "platform/viridian": "true",
        "platform/vcpu/number": "2",
        "platform/vcpu/weight": "256",
        "platform/generation-id": "1:2",
        "bios-strings/bios-vendor": "Xen",
        "control/platform-feature-multiprocessor-suspend": "1",
        "control/platform-feature-xs_reset_watches": "1",
        "control/has-vendor-device": "0",
        "cpu/0/availability": "online",
        "cpu/1/availability": "offline",
        "memory/static-max": str(256 * 1024),
        "memory/dynamic-min": str(256 * 1024),
        "memory/dynamic-max": str(256 * 1024),
        "store/ring-ref": str(1000 + domid),
        "console/ring-ref": str(2000 + domid),
        "console/type": "xenconsoled",
        "console/limit": "65536",
    }
    assert {key: value(f"{home}/{key}") for key in expected} == expected
    assert value(f"{home}/secret") is None
    assert value(f"/vm/{UUID}/domains/{domid}") == home
    permissions = {path: host.server.tree[path].permissions for path in host.server.tree}
    assert permissions[home] == ("n0", f"r{domid}")
    assert permissions[f"{home}/memory"] == ("n0", f"r{domid}")
    assert permissions[f"{home}/control"] == (f"n{domid}",)
    assert permissions[f"/xenops/domain/{domid}"] == ("n0",)
    assert host.server.introduced[domid][0] == 1000 + domid


def test_nothing_is_left_of_a_destroyed_domain(host: Host) -> None:
    domid = host.running()
    emulator = f"/local/domain/0/device-model/{domid}/state"  # of one that has died since
    host.server.put(emulator, "running")
    done(host.backend.destroy(domid))
    assert host.server.value(emulator) is None
    assert host.xen.leftovers() == []
    assert host.server.introduced == {}
    assert host.backend.domains() == []


@pytest.mark.parametrize("call", ["set_max_vcpus", "alloc_unbound", "apply_cpu_policy"])
def test_a_build_that_fails_says_why(host: Host, call: str) -> None:
    md = make_pv()
    domid = done(host.backend.create(md, SIZE))
    host.xen.xen.failures[call] = 12
    with pytest.raises(RpcError, match="Domain_not_built"):
        done(host.backend.build(domid, md.vm))
    done(host.backend.destroy(domid))
    assert host.xen.leftovers() == []


def test_a_kernel_that_is_none_is_named(host: Host) -> None:
    md = make_pv()
    domid = done(host.backend.create(md, SIZE))
    host.xen.workers.failure = "xc_dom_parse_image: Invalid argument (not an ELF image)"
    with pytest.raises(RpcError, match="not an ELF image"):
        done(host.backend.build(domid, md.vm))


def test_a_kernel_that_is_missing_is_named(host: Host) -> None:
    md = make_pv(pv={"direct": True, "kernel": "/no/kernel"})
    domid = done(host.backend.create(md, SIZE))
    with pytest.raises(RpcError, match="/no/kernel"):
        done(host.backend.build(domid, md.vm))


def test_a_creation_that_fails_in_xenstore_leaves_nothing(host: Host) -> None:
    host.server.faults[MessageType.TRANSACTION_END] = ["ENOSPC"]
    with pytest.raises(Exception, match="ENOSPC"):
        done(host.backend.create(make_pv(), SIZE))
    assert host.xen.leftovers() == []
    assert host.backend.domains() == []


def test_processors_that_cannot_are_named(host: Host) -> None:
    host.xen.xen.capable = False
    with pytest.raises(RpcError, match="Unimplemented"):
        done(host.backend.create(make_md(), SIZE))
    assert host.xen.leftovers() == []


def test_a_half_made_domain_is_not_survivable_for_the_next_daemon(host: Host) -> None:
    domid = done(host.backend.create(make_pv(), SIZE))
    host.restart()
    found = host.backend.find(UUID)
    assert found is not None and (found.domid, found.survivable) == (domid, False)
    done(host.backend.destroy(domid))
    assert host.xen.leftovers() == []


def test_a_domain_without_its_first_key_is_not_survivable_either(host: Host) -> None:
    domid = done(host.backend.create(make_pv(), SIZE))
    for path in (f"/local/domain/{domid}", f"/xenops/domain/{domid}", f"/vm/{UUID}"):
        host.server.drop(path)
    host.restart()
    found = host.backend.find(UUID)
    assert found is not None and not found.survivable
    done(host.backend.destroy(domid))
    assert host.xen.leftovers() == []


def test_domains_of_others_are_seen_and_left_alone(host: Host) -> None:
    domid = host.running(make_pv(id=OTHER))
    host.server.drop(f"/xenops/domain/{domid}")
    host.restart()
    found = host.backend.find(OTHER)
    assert found is not None and found.survivable
    assert host.backend.stat(domid).memory_actual > 0


def test_a_domain_that_vanishes_is_announced_and_forgotten(host: Host) -> None:
    domid = host.running()
    host.changes.clear()
    host.xen.xen.destroy(domid)
    assert Change("vm", UUID) in host.changes
    assert host.backend.find(UUID) is None
    with pytest.raises(RpcError, match="Does_not_exist"):
        host.backend.stat(domid)


def test_a_guest_that_stops_is_announced_once(host: Host) -> None:
    domid = host.running()
    host.changes.clear()
    done(host.backend.run_guest(domid, "crash"))
    host.xen._told()
    assert host.changes == [Change("vm", UUID)]
    found = host.backend.find(UUID)
    assert found is not None and found.shutdown is ShutdownReason.CRASH


def test_a_guest_that_takes_no_notice_is_reported_in_time(host: Host) -> None:
    domid = host.running()
    host.xen.deaf = True
    asked = begun(host.backend.request_shutdown(domid, "poweroff", 60))
    host.clock.advance(59)
    assert not asked.called
    host.clock.advance(1)
    assert outcome(asked) is False


def test_a_machine_without_drivers_has_its_power_button_pressed(host: Host) -> None:
    domid = done(host.backend.create(make_md(), SIZE))
    asked = begun(host.backend.request_shutdown(domid, "poweroff", 60))
    assert ("send_trigger", (domid, "power")) in host.xen.xen.calls
    host.xen.xen.shutdown(domid, 0)
    host.xen._told()
    assert outcome(asked)
    assert host.server.value(f"/local/domain/{domid}/control/shutdown") is None


def test_a_machine_that_ignores_its_power_button_is_stopped(host: Host) -> None:
    domid = done(host.backend.create(make_md(), SIZE))
    asked = begun(host.backend.request_shutdown(domid, "poweroff", 60))
    host.clock.advance(59)
    assert not asked.called
    host.clock.advance(1)
    assert outcome(asked)
    found = host.backend.find(UUID)
    assert found is not None and found.shutdown is ShutdownReason.POWEROFF


def test_a_machine_without_drivers_is_reset_at_once(host: Host) -> None:
    domid = done(host.backend.create(make_md(), SIZE))
    assert done(host.backend.request_shutdown(domid, "reboot", 60))
    found = host.backend.find(UUID)
    assert found is not None and found.shutdown is ShutdownReason.REBOOT


def test_a_machine_with_drivers_is_asked(host: Host) -> None:
    md = make_md()
    domid = done(host.backend.create(md, SIZE))
    host.server.put(f"/local/domain/{domid}/domid", str(domid))
    host.xen.xen.params[domid, HvmParam.CALLBACK_IRQ] = 1
    asked = begun(host.backend.request_shutdown(domid, "reboot", 60))
    assert host.server.value(f"/local/domain/{domid}/control/shutdown") == "reboot"
    host.clock.advance(0)
    assert outcome(asked)


def test_processors_and_scheduling_are_set_before_the_guest_runs(host: Host) -> None:
    params = {"weight": 512, "cap": 50, "affinity": [[0, 1], [1]]}
    md = make_pv(scheduler_params=params, platformdata={"featureset": "0000000f-00000001"})
    domid = done(host.backend.create(md, SIZE))
    done(host.backend.build(domid, md.vm))
    calls = host.xen.xen.calls
    assert ("set_scheduling", (domid, 512, 50)) in calls
    assert ("set_affinity", (domid, 0, (0, 1))) in calls
    assert ("set_affinity", (domid, 1, (1,))) in calls
    assert ("apply_cpu_policy", (domid, [15, 1], False)) in calls


def test_guests_with_a_balloon_make_room_for_another(host: Host) -> None:
    low, high = 256 * MIB, 2000 * MIB
    md = make_pv(memory_mib=(256, 2000, 2000))
    domid = host.running(md, CreateRequest(low, high))
    assert host.server.value(f"/local/domain/{domid}/control/feature-balloon") == "1"
    request = CreateRequest(1500 * MIB, 1500 * MIB)
    creating = begun(host.backend.create(make_pv(id=OTHER), request))
    target = int(host.server.value(f"/local/domain/{domid}/memory/target") or 0)
    assert target < 2000 * 1024
    assert not creating.called
    host.xen.xen.change(domid, total_pages=target // 4)
    host.clock.advance(1)
    assert outcome(creating) > domid


def test_a_guest_that_keeps_its_memory_is_called_uncooperative(host: Host) -> None:
    md = make_pv(memory_mib=(256, 2000, 2000))
    domid = host.running(md, CreateRequest(256 * MIB, 2000 * MIB))
    creating = begun(host.backend.create(make_pv(id=OTHER), CreateRequest(1500 * MIB, 1500 * MIB)))
    for _ in range(40):
        host.clock.advance(0.25)
    with pytest.raises(RpcError, match="Cannot_free_this_much_memory"):
        outcome(creating)
    assert host.backend.stat(domid).uncooperative_balloon_driver


def test_a_range_moves_the_target_and_what_the_guest_may_have(host: Host) -> None:
    md = make_pv(memory_mib=(256, 256, 512))
    domid = host.running(md)
    done(host.backend.set_memory_dynamic_range(domid, 128 * MIB, 192 * MIB))
    assert host.backend.stat(domid).memory_target == 192 * MIB
    assert host.server.value(f"/local/domain/{domid}/memory/dynamic-min") == str(128 * 1024)
    host.restart()
    assert host.backend.stat(domid).memory_target == 192 * MIB


def test_what_the_administrator_wrote_replaces_what_was_there(host: Host) -> None:
    domid = host.running(make_pv(xsdata={"vm-data/a": "1"}))
    done(host.backend.set_xsdata(domid, {"vm-data/b": "2", "other": "3"}))
    assert host.backend.stat(domid).xsdata == {"vm-data/b": "2"}
    assert host.server.value(f"/local/domain/{domid}/vm-data/a") is None
    host.server.put(f"/local/domain/{domid}/vm-data/c", "from the guest")
    assert host.backend.stat(domid).xsdata["vm-data/c"] == "from the guest"


def test_a_guest_cannot_fill_the_daemon(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    domid = host.running()
    for number in range(1200):
        host.server.put(f"/local/domain/{domid}/data/x{number}", "y" * 2000)
    keys = host.backend.stat(domid).guest_agent
    assert sum(len(value) for value in keys.values()) <= 2 * MIB
    assert "too much" in caplog.text


def test_stray_bytes_of_a_guest_become_text(host: Host) -> None:
    domid = host.running()
    host.server.put(f"/local/domain/{domid}/data/os_name", "bad \udcff byte")
    assert host.backend.stat(domid).guest_agent["data/os_name"] == "bad \ufffd byte"


def test_processors_are_switched_by_their_keys(host: Host) -> None:
    domid = host.running(make_pv(vcpu_max=2, vcpus=1))
    done(host.backend.set_vcpus(domid, 2))
    assert host.server.value(f"/local/domain/{domid}/cpu/1/availability") == "online"
    assert host.backend.stat(domid).vcpu_target == 2


def test_two_domains_of_one_vm_share_its_tree_until_the_last_ends(host: Host) -> None:
    first = host.running()
    second = done(host.backend.create(make_pv(), SIZE))
    found = host.backend.find(UUID)
    assert found is not None and found.domid == second
    done(host.backend.destroy(first))
    assert host.server.value(f"/vm/{UUID}/uuid") == UUID
    done(host.backend.destroy(second))
    assert host.xen.leftovers() == []


def test_xenstored_may_be_restarted(host: Host) -> None:
    domid = host.running()
    host.server.lose_connections()
    host.clock.advance(5)
    host.server.put(f"/local/domain/{domid}/data/os_name", "new")
    assert host.backend.stat(domid).guest_agent["data/os_name"] == "new"


def test_flags_whose_names_no_node_can_have_are_left_out(host: Host) -> None:
    flags = {"good-one": "1", "bad one": "2", "worse\0": "3", "//": "4", "vcpu/mine": "5"}
    md = make_pv(platformdata=flags, xsdata={"vm-data/ä": "1", "vm-data/x": "2"})
    domid = done(host.backend.create(md, SIZE))
    below = host.server.below(f"/local/domain/{domid}/platform")
    assert {"good-one", "mine"} <= {path.rpartition("/")[2] for path in below}
    assert not {"bad one", "worse\0"} & {path.rpartition("/")[2] for path in below}
    assert host.server.value(f"/local/domain/{domid}/vm-data/x") == "2"


def test_every_guest_may_read_what_its_agent_is_licensed_to_do(host: Host) -> None:
    host.backend.set_guest_agent_features(
        {"Guest_agent_auto_update": {"licensed": "1", "parameters": {"enabled": "1"}}}
    )
    top = "/guest_agent_features/Guest_agent_auto_update"
    assert host.server.below(top) == {
        top: "",
        f"{top}/licensed": "1",
        f"{top}/parameters": "",
        f"{top}/parameters/enabled": "1",
    }
    assert host.server.tree[f"{top}/parameters/enabled"].permissions == ("r0",)


def test_memory_that_no_domain_has_is_the_hosts_own(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.xen.xen.own_pages = 25 * 256
    assert host.backend.host_stat().memory_overhead == 25 * MIB
    host.running()
    assert host.backend.host_stat().memory_overhead == 25 * MIB

"""Appliances, shutdown tables, suspend, vCPUs, MACs, BIOS strings, agents, texts."""

import pytest

from tests.unit.plan.factories import DictView, make_host, make_vm
from xapi_py.base.errors import ApiError
from xapi_py.plan import (
    appliance,
    bios,
    events_text,
    guest_metrics,
    mac,
    shutdown,
    suspend,
    vcpus,
)
from xapi_py.plan.shutdown import Action


def test_appliance_groups_go_up_for_start_and_down_for_shutdown() -> None:
    view = DictView()
    late = make_vm(view, order=2)
    early = make_vm(view, order=0)
    also = make_vm(view, order=0)
    done = make_vm(view, order=1, power_state="Running")
    members = [late, early, also, done]
    start = appliance.plan("start", members)
    assert [(g.order, g.vms) for g in start.groups] == [
        (0, (early.ref, also.ref)), (2, (late.ref,)),
    ]  # fmt: skip
    for vm in members:
        vm.power_state = "Running"
    stop = appliance.plan("shutdown", members)
    assert [g.order for g in stop.groups] == [2, 1, 0]
    assert stop.call == "VM.shutdown"


def test_appliance_outcome_names_stragglers() -> None:
    view = DictView()
    up, down = make_vm(view, power_state="Running"), make_vm(view)
    assert appliance.outcome("start", [up]) is None
    error = appliance.outcome("start", [up, down])
    assert error is not None
    assert error.description == ["OPERATION_PARTIALLY_FAILED", "VM_appliance.start", down.ref]


@pytest.mark.parametrize(
    ("reason", "uptime", "actions", "delay"),
    [
        ("poweroff", 5.0, (Action.SHUTDOWN,), 0),
        ("reboot", 500.0, (Action.START,), 0),
        ("reboot", 5.0, (Action.START,), 15),
        ("crash", 500.0, (Action.COREDUMP, Action.START), 0),
        ("crash", 5.0, (Action.COREDUMP, Action.SHUTDOWN), 0),
        ("what", 5.0, (Action.SHUTDOWN,), 0),
    ],
)
def test_aftermath(reason: str, uptime: float, actions: tuple[Action, ...], delay: int) -> None:
    vm = make_vm(
        DictView(), actions_after_shutdown="destroy", actions_after_reboot="restart",
        actions_after_crash="coredump_and_restart",
    )  # fmt: skip
    found = shutdown.aftermath(vm, reason, uptime)
    assert (found.actions, found.delay_s) == (actions, delay)


def test_force_cancels_the_soft_ones() -> None:
    current = {"T1": "clean_shutdown", "T2": "snapshot", "T3": "hard_shutdown"}
    assert shutdown.to_cancel(current, "T3") == ("T1",)


def test_suspend_sr_passes_over_what_is_not_plugged() -> None:
    view = DictView()
    host, vm = make_host(view), make_vm(view)
    unplugged, default = view.add("SR"), view.add("SR")
    view.add("PBD", SR=default.ref, host=host.ref, currently_attached=True)
    pool = view.add("pool", default_SR=default.ref)
    vm.suspend_SR = unplugged.ref
    assert suspend.suspend_sr(view, vm, host) == default.ref
    pool.default_SR = "OpaqueRef:NULL"
    with pytest.raises(ApiError, match="VM_NO_SUSPEND_SR"):
        suspend.suspend_sr(view, vm, host)


def test_image_size() -> None:
    assert suspend.image_size_bytes(1000000, [5]) == 1260000 + 5 + 104857600


@pytest.mark.parametrize(
    ("maximum", "startup", "fine"), [(4, 2, True), (4, 8, False), (0, 0, False), (-1, 1, False)]
)
def test_vcpu_counts(maximum: int, startup: int, fine: bool) -> None:
    error = vcpus.counts_error(maximum, startup, 8)
    assert (error is None) is fine
    if error is not None:
        rule = "VCPU values must satisfy: 0 < VCPUs_at_startup ≤ VCPUs_max"
        assert error.description == ["INVALID_VALUE", rule, "8"]


@pytest.mark.parametrize(
    ("vm", "host", "expected"),
    [
        ({}, {}, ()),
        ({"mask": "1,2,3"}, {}, ((1, 2, 3),) * 3),
        ({"mask": "1;2"}, {}, ((1,), (2,), (1,))),
        ({}, {"mask": "0,1"}, ((0, 1),) * 3),
        ({"mask": "1,x;2"}, {"mask": "1"}, ((1,), (), (1,))),
    ],
)
def test_affinity(
    vm: dict[str, str], host: dict[str, str], expected: tuple[tuple[int, ...], ...]
) -> None:
    assert vcpus.affinity(vm, host, 3) == expected


def test_cores_per_socket() -> None:
    assert vcpus.cores_per_socket_error(4, {"cores-per-socket": "2"}) is None
    error = vcpus.cores_per_socket_error(3, {"cores-per-socket": "2"})
    assert error is not None
    assert error.description == ["VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE", "3", "2"]


def test_mac_of_seed_is_stable_local_and_unicast() -> None:
    seed = "a6a4d5f0-0000-4000-8000-000000000000"
    macs = [mac.mac_of_seed(seed, n) for n in range(16)]
    assert macs == [mac.mac_of_seed(seed, n) for n in range(16)]
    assert len(set(macs)) == 16
    for text in macs:
        assert mac.is_mac(text)
        assert int(text[:2], 16) & 3 == 2


@pytest.mark.parametrize("text", ["", "zz", "02:00:00:00:00", "02:00:00:00:00:0g", "020000000000"])
def test_bad_macs(text: str) -> None:
    assert not mac.is_mac(text)


@pytest.mark.parametrize(
    ("current", "wanted", "code"),
    [
        ({}, {"bios-vendor": "x"}, None),
        ({"bios-vendor": "x"}, {"bogus": "x"}, "VM_BIOS_STRINGS_ALREADY_SET"),
        ({}, {"bogus": "x"}, "INVALID_VALUE"),
        ({}, {"bios-vendor": ""}, "INVALID_VALUE"),
        ({}, {"bios-vendor": "é"}, "INVALID_VALUE"),
        ({}, {"bios-vendor": "x" * 513}, "INVALID_VALUE"),
    ],
)
def test_bios_strings(current: dict[str, str], wanted: dict[str, str], code: str | None) -> None:
    error = bios.setting_error(current, wanted)
    assert (error.code if error else None) == code


def test_agent_keys() -> None:
    fields = guest_metrics.fields_of(
        {
            "attr/PVAddons/MajorVersion": "9", "attr/PVAddons/MinorVersion": "1",
            "drivers/0": "XenServer XENVBD 9.1.8.79 ", "data/os_name": "Windows 10",
            "attr/vif/0/ipv4/0": "10.0.0.5", "attr/vif/0/ipv6/0": "fe80::1",
            "attr/eth0/ip": "1.1.1.1", "control/feature-suspend": "1",
            "control/feature-shutdown": "1", "data/cant_suspend_reason": "no",
            "feature/hotplug/vbd": "1", "data/ts": "1",
        },
        True,
    )  # fmt: skip
    assert fields.PV_drivers_version == {
        "major": "9", "minor": "1", "micro": "-1", "xenvbd": "XenServer 9.1.8.79 ",
    }  # fmt: skip
    assert fields.networks == {"0/ip": "10.0.0.5", "0/ipv4/0": "10.0.0.5", "0/ipv6/0": "fe80::1"}
    assert fields.other == {
        "feature-shutdown": "1", "data-cant-suspend-reason": "no", "data-ts": "1",
    }  # fmt: skip
    assert (fields.can_use_hotplug_vbd, fields.can_use_hotplug_vif) == ("yes", "unspecified")
    assert fields.os_version == {"name": "Windows 10"}


def test_heartbeats_are_not_worth_writing() -> None:
    assert not guest_metrics.worth_writing({"data/updated": "1"}, {"data/updated": "2"})
    assert guest_metrics.worth_writing({}, {"data/os_name": "x"})


def test_old_agent_addresses() -> None:
    keys = {"attr/eth1/ip": "10.0.0.1", "attr/eth1/ipv6/0/addr": "fe80::2"}
    assert guest_metrics.addresses(keys) == {
        "1/ip": "10.0.0.1", "1/ipv4/0": "10.0.0.1", "1/ipv6/0": "fe80::2",
    }  # fmt: skip


def test_message_bodies() -> None:
    view = DictView()
    vm, host = make_vm(view, name_label="a"), make_host(view, name_label="h")
    assert events_text.started(vm, host) == (
        f"VM 'a' (uuid: {vm.uuid}) started on host: h (uuid: {host.uuid})"
    )
    assert events_text.shut_down(vm, True).endswith("shutdown forcibly")

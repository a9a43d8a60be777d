"""A new user's first hour with the official SDK, over every transport, seen by a second session."""

import pytest
import XenAPI

from tests.integration.journey import (
    GIB,
    NULL,
    TRANSPORTS,
    User,
    Watcher,
    destroy_vm,
    user,
    watching,
)

pytestmark = pytest.mark.integration

TEMPLATE = "Windows 8 (32-bit)"


@pytest.fixture(params=TRANSPORTS)
def me(request, shared_server):
    with user(shared_server.host(), request.param) as client:
        yield client


@pytest.fixture
def watcher(me, shared_server):
    with watching(shared_server.host(), "http" if me.is_xml else "json-2.0") as second:
        yield second


def test_the_life_of_a_vm_from_a_template(me: User, watcher: Watcher):
    template = me.one("VM", TEMPLATE)
    vm = me("VM.clone", template, "journey")
    assert watcher.until_same(me, "VM", vm)["is_a_template"] is True

    me("VM.provision", vm)
    made = watcher.until_same(me, "VM", vm)
    assert (made["is_a_template"], made["power_state"]) == (False, "Halted")
    (disk,) = disks(me, vm)
    assert int(me("VDI.get_virtual_size", disk)) == 24 * GIB
    watcher.until_same(me, "VDI", disk)

    me("VM.start", vm, False, False)
    running = watcher.until_same(me, "VM", vm)
    assert running["power_state"] == "Running"
    assert running["resident_on"] == me.host()
    assert int(running["domid"]) > 0
    consoles = [watcher.until_same(me, "console", ref) for ref in running["consoles"]]
    assert "rfb" in {console["protocol"] for console in consoles}
    assert all(console["location"].startswith("https://") for console in consoles)

    snapshot = me("VM.snapshot", vm, "journey snapshot")
    taken = watcher.until_same(me, "VM", snapshot)
    assert (taken["is_a_snapshot"], taken["snapshot_of"]) == (True, vm)
    template_of_mine = me("VM.clone", snapshot, "journey template")
    assert watcher.until_same(me, "VM", template_of_mine)["is_a_template"] is True

    second = me("VM.clone", template_of_mine, "journey second")
    me("VM.provision", second)
    me("VM.start", second, False, False)
    assert watcher.until_same(me, "VM", second)["power_state"] == "Running"

    watcher.until_allowed("VM", vm, "suspend")
    me("VM.suspend", vm)
    suspended = watcher.until_same(me, "VM", vm)
    assert (suspended["power_state"], suspended["suspend_VDI"] != NULL) == ("Suspended", True)
    me("VM.resume", vm, False, False)
    assert watcher.until_same(me, "VM", vm)["power_state"] == "Running"
    watcher.until_allowed("VM", vm, "clean_shutdown")
    me("VM.clean_shutdown", vm)
    assert watcher.until_same(me, "VM", vm)["power_state"] == "Halted"
    me("VM.hard_shutdown", second)
    assert watcher.until_same(me, "VM", second)["power_state"] == "Halted"

    for ref in (vm, second, template_of_mine, snapshot):
        held = disks(me, ref)
        destroy_vm(me, ref)
        watcher.until_gone("VM", ref)
        for vdi in held:
            watcher.until_gone("VDI", vdi)
    assert watcher.states(vm)[0] == watcher.states(vm)[-1] == "Halted"
    assert {"Running", "Suspended"} <= set(watcher.states(vm))


def test_the_watcher_knows_all_objects_as_the_server_has_them(me: User, watcher: Watcher):
    vm = me("VM.clone", me.one("VM", "Other install media"), "mirrored")
    watcher.until("the VM is known", lambda: vm in watcher.records.get("vm", {}))
    destroy_vm(me, vm)
    watcher.until_gone("VM", vm)
    for cls in ("VM", "host", "network", "SR", "VDI", "PIF", "PBD", "SM", "console", "pool"):
        listed = me(f"{cls}.get_all")
        watcher.until(
            f"{cls} has {len(listed)} objects",
            lambda cls=cls, listed=listed: set(watcher.records.get(cls.lower(), {})) == set(listed),
        )
        assert int(watcher.counts[cls.lower()]) == len(listed)


def test_errors_are_the_same_over_every_transport(me: User):
    template = me.one("VM", TEMPLATE)
    with pytest.raises(XenAPI.Failure) as refused:
        me("VM.start", template, False, False)
    assert refused.value.details == ["VM_IS_TEMPLATE", template, "start"]
    vm = me("VM.clone", template, "halted")
    me("VM.set_is_a_template", vm, False)
    with pytest.raises(XenAPI.Failure) as refused:
        me("VM.clean_shutdown", vm)
    assert refused.value.details == ["VM_BAD_POWER_STATE", vm, "running", "halted"]
    me("VM.destroy", vm)


def disks(me: User, vm: str) -> list[str]:
    records = [me("VBD.get_record", vbd) for vbd in me("VM.get_VBDs", vm)]
    return [r["VDI"] for r in records if r["type"] == "Disk"]

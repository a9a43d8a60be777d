"""VMs as XenCenter makes and uses them: its calls in its order, fields from its event cache."""

import pytest
import XenAPI

from tests.contract.xencenter_client import SCHANNEL_2017, Client, Connection, XmlRpc
from tests.integration.journey import (
    GIB,
    NULL,
    Record,
    User,
    Watcher,
    destroy_vm,
    user,
    watching,
)

pytestmark = pytest.mark.integration

WINDOWS = "Windows 8 (32-bit)"


@pytest.fixture
def me(shared_server):
    with user(shared_server.host(), "https") as client:
        yield client


@pytest.fixture
def watcher(me: User, shared_server):
    with watching(shared_server.host(), "https") as second:
        yield second


@pytest.fixture
def vm(me: User, watcher: Watcher):
    """A running VM with one disk, its tools up."""
    made = quick_create(me, WINDOWS, "running")
    me.task("VM.start", made, False, False)
    watcher.until_allowed("VM", made, "suspend")
    yield made
    destroy_vm(me, made)


def quick_create(me: User, template: str, name: str) -> str:
    """Make a VM in the fewest calls."""
    vm = me.task("VM.clone", me.one("VM", template), f"__gui__{name}")
    me.task("VM.provision", vm)
    me("VM.set_name_label", vm, name)
    return vm


def new_disk(me: User, sr: str, name: str, size: int = GIB) -> str:
    record = {
        "name_label": name,
        "name_description": "",
        "SR": sr,
        "virtual_size": me.int(size),
        "type": "user",
        "sharable": False,
        "read_only": False,
        "other_config": {},
        "sm_config": {},
        "xenstore_data": {},
        "tags": [],
    }
    return me.task("VDI.create", record)


def vbd(vm: str, vdi: str, device: str, **more: object) -> Record:
    return {
        "VM": vm,
        "VDI": vdi,
        "userdevice": device,
        "bootable": False,
        "mode": "RW",
        "type": "Disk",
        "unpluggable": True,
        "empty": vdi == NULL,
        "other_config": {"owner": "true"},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
        **more,
    }


def vif(me: User, vm: str, network: str, device: str, **more: object) -> Record:
    return {
        "VM": vm,
        "network": network,
        "device": device,
        "MAC": "",
        "MTU": me.int(1500),
        "other_config": {},
        "qos_algorithm_type": "ratelimit",
        "qos_algorithm_params": {"kbps": "1024"},
        "locking_mode": "network_default",
        **more,
    }


def default_sr(me: User) -> str:
    sr: str = me("pool.get_default_SR", me.pool())
    return sr


def cd_drive(me: User, vm: str) -> str | None:
    for ref in me("VM.get_VBDs", vm):
        if me("VBD.get_type", ref) == "CD":
            return str(ref)
    return None


def an_iso(me: User) -> str:
    """Give a disc of a library, not the tools'."""
    for sr in me("SR.get_all_records").values():
        if sr["content_type"] == "iso" and sr["type"] == "iso" and not sr["is_tools_sr"]:
            for vdi in sr["VDIs"]:
                return str(vdi)
    raise AssertionError("no library with a disc")


# New VM


def test_the_wizard_makes_a_vm(me: User, watcher: Watcher):
    template = me.one("VM", WINDOWS)
    host, sr = me.host(), default_sr(me)
    vm = me.task("VM.clone", template, "__gui__wizard")
    watcher.until_same(me, "VM", vm)
    me("VM.copy_bios_strings", vm, host)
    other = me("VM.get_other_config", vm)
    assert other.pop("disks").startswith("<provision>")
    me("VM.set_other_config", vm, other)
    me.task("VM.provision", vm)
    assert me("VM.get_VBDs", vm) == []

    me("VM.set_name_label", vm, "wizard")
    me("VM.set_name_description", vm, "made by the wizard")
    me("VM.set_VCPUs_max", vm, me.int(4))
    me("VM.set_VCPUs_at_startup", vm, me.int(4))
    me("VM.set_platform", vm, {**me("VM.get_platform", vm), "cores-per-socket": "2"})
    me("VM.set_affinity", vm, host)
    three = me.int(3 * GIB)
    me("VM.set_memory_limits", vm, me("VM.get_memory_static_min", vm), three, three, three)

    free = me("VM.get_allowed_VBD_devices", vm)
    assert {"0", "1", "3"} <= set(free)
    cd = me.task("VBD.create", vbd(vm, NULL, "3", type="CD", mode="RO", other_config={}))
    watcher.until_same(me, "VBD", cd)
    me.task("VBD.insert", cd, an_iso(me))
    assert "3" not in me("VM.get_allowed_VBD_devices", vm)

    disk = new_disk(me, sr, "wizard 0", 24 * GIB)
    me("VDI.set_sm_config", disk, {**me("VDI.get_sm_config", disk), "vmhint": vm})
    first = next(d for d in me("VM.get_allowed_VBD_devices", vm) if d != "3")
    assert first == "0"
    me.task("VBD.create", vbd(vm, disk, first, bootable=True))
    assert "0" not in me("VM.get_allowed_VBD_devices", vm)
    me("VDI.set_name_description", disk, "system")
    me("VM.set_suspend_SR", vm, sr)

    for inherited in me("VM.get_VIFs", vm):
        me.task("VIF.destroy", inherited)
    device = me("VM.get_allowed_VIF_devices", vm)[0]
    interface = me.task("VIF.create", vif(me, vm, me("network.get_all")[0], device))
    assert watcher.until_same(me, "VIF", interface)["MAC_autogenerated"] is True
    assert device not in me("VM.get_allowed_VIF_devices", vm)

    me("VM.assert_can_boot_here", vm, host)
    me.task("VM.start_on", vm, host, False, False)
    made = watcher.until_same(me, "VM", vm)
    assert (made["power_state"], made["name_label"]) == ("Running", "wizard")
    assert (int(made["VCPUs_at_startup"]), int(made["memory_static_max"])) == (4, 3 * GIB)
    assert made["bios_strings"].get("bios-vendor") != "Xen"
    assert me("VDI.get_sm_config", disk)["vmhint"] == vm
    destroy_vm(me, vm)
    watcher.until_gone("VM", vm)


def test_quick_create_makes_a_vm_with_disks(me: User, watcher: Watcher):
    vm = quick_create(me, WINDOWS, "quick")
    made = watcher.until_same(me, "VM", vm)
    assert (made["name_label"], made["is_a_template"]) == ("quick", False)
    (ref,) = [v for v in made["VBDs"] if me("VBD.get_type", v) == "Disk"]
    assert me("VDI.get_SR", me("VBD.get_VDI", ref)) == default_sr(me)
    me.task("VM.start", vm, False, False)
    assert watcher.until_same(me, "VM", vm)["power_state"] == "Running"
    destroy_vm(me, vm)


def test_a_full_copy_has_disks_of_its_own(me: User, watcher: Watcher):
    vm = quick_create(me, WINDOWS, "original")
    copy = me.task("VM.copy", vm, "copied", default_sr(me))
    watcher.until_same(me, "VM", copy)
    mine, its = ({me("VBD.get_VDI", v) for v in me("VM.get_VBDs", x)} for x in (vm, copy))
    assert len(its) == len(mine)
    assert not (mine & its) - {NULL}
    destroy_vm(me, vm)
    destroy_vm(me, copy)


def test_a_vm_becomes_a_template_for_others(me: User, watcher: Watcher):
    vm = quick_create(me, WINDOWS, "golden")
    me("VM.set_is_a_template", vm, True)
    assert watcher.until_same(me, "VM", vm)["is_a_template"] is True
    child = quick_create(me, "golden", "child")
    assert len(me("VM.get_VBDs", child)) == len(me("VM.get_VBDs", vm))
    destroy_vm(me, child)
    me("VM.set_is_a_template", vm, False)
    destroy_vm(me, vm)


# Life


def test_the_buttons_of_a_running_vm(me: User, watcher: Watcher, vm: str):
    me.task("VM.pause", vm)
    assert watcher.until_same(me, "VM", vm)["power_state"] == "Paused"
    assert "unpause" in me("VM.get_allowed_operations", vm)
    me.task("VM.unpause", vm)
    watcher.until_allowed("VM", vm, "clean_reboot")
    before = me("VM.get_domid", vm)
    me.task("VM.clean_reboot", vm)
    assert watcher.until_same(me, "VM", vm)["domid"] != before
    me.task("VM.hard_reboot", vm)
    assert watcher.until_same(me, "VM", vm)["power_state"] == "Running"
    watcher.until_allowed("VM", vm, "suspend")
    me.task("VM.suspend", vm)
    me.task("VM.resume_on", vm, me.host(), False, False)
    assert watcher.until_same(me, "VM", vm)["power_state"] == "Running"


def test_the_guest_tells_its_name_and_addresses(me: User, watcher: Watcher, vm: str):
    metrics = me("VM.get_guest_metrics", vm)
    guest = watcher.until_same(me, "VM_guest_metrics", metrics)
    assert guest["os_version"]["name"]
    assert guest["PV_drivers_version"]["major"]
    assert guest["live"] is True


def test_memory_and_processors_of_a_running_vm(me: User, watcher: Watcher, vm: str):
    record = me("VM.get_record", vm)
    low = int(record["memory_static_min"])
    me("VM.set_memory_dynamic_range", vm, me.int(max(low, GIB)), record["memory_static_max"])
    changed = watcher.until_same(me, "VM", vm)
    assert int(changed["memory_dynamic_min"]) == max(low, GIB)


def test_operations_show_while_they_last(make_pool, tmp_path):
    described = tmp_path / "slow.yaml"
    described.write_text("xenops: {latencies: {build: 1.0}}")
    host = make_pool("--simulator", str(described)).start().host()
    with user(host, "https") as me, watching(host, "https") as watcher:
        vm = quick_create(me, WINDOWS, "seen")
        task = me("Async.VM.start", vm, False, False)
        known = watcher.records["vm"]
        watcher.until(
            "the start goes on",
            lambda: known.get(vm, {}).get("current_operations") == {task: "start"},
        )
        assert "start" not in known[vm]["allowed_operations"]
        with pytest.raises(XenAPI.Failure) as refused:
            me("VM.start", vm, False, False)
        assert refused.value.details[:3] == ["OTHER_OPERATION_IN_PROGRESS", "VM", vm]
        watcher.until("the VM runs", lambda: known[vm]["power_state"] == "Running")
        watcher.until("the start is over", lambda: known[vm]["current_operations"] == {})
        assert "hard_shutdown" in known[vm]["allowed_operations"]


# Snapshots


def test_snapshots_checkpoints_and_going_back(me: User, watcher: Watcher, vm: str):
    first = me.task("VM.snapshot", vm, "first")
    me("VM.set_name_description", first, "before")
    taken = watcher.until_same(me, "VM", first)
    assert (taken["snapshot_of"], taken["is_a_snapshot"]) == (vm, True)
    assert taken["snapshot_info"]["power-state-at-snapshot"] == "Running"
    assert watcher.until_same(me, "VM", vm)["parent"] == first
    checkpoint = me.task("VM.checkpoint", vm, "second")
    kept = watcher.until_same(me, "VM", checkpoint)
    assert (kept["power_state"], kept["parent"]) == ("Suspended", first)
    assert watcher.until_same(me, "VM", first)["children"] == [checkpoint]
    assert set(watcher.until_same(me, "VM", vm)["snapshots"]) == {first, checkpoint}
    assert me("VM.get_power_state", vm) == "Running"

    me("VM.set_name_description", vm, "changed")
    me.task("VM.revert", checkpoint)
    assert watcher.until_same(me, "VM", vm)["power_state"] == "Suspended"
    me("VM.assert_can_boot_here", vm, me.host())
    me.task("VM.resume", vm, False, False)
    assert watcher.until_same(me, "VM", vm)["power_state"] == "Running"

    me.task("VM.revert", first)
    reverted = watcher.until_same(me, "VM", vm)
    assert reverted["power_state"] == "Halted"
    assert reverted["parent"] == first
    me.task("VM.start", vm, False, False)

    template = me.task("VM.clone", first, "from snapshot")
    me("VM.set_name_description", template, "template")
    assert watcher.until_same(me, "VM", template)["is_a_template"] is True
    second = quick_create(me, "from snapshot", "second from snapshot")
    me.task("VM.start", second, False, False)
    assert watcher.until_same(me, "VM", second)["power_state"] == "Running"

    for ref in (second, template, checkpoint, first):
        destroy_vm(me, ref)
        watcher.until_gone("VM", ref)
    assert watcher.until_same(me, "VM", vm)["snapshots"] == []


def test_a_quiesced_snapshot_needs_a_guest_that_can(me: User, vm: str):
    with pytest.raises(XenAPI.Failure) as refused:
        me.task("VM.snapshot_with_quiesce", vm, "quiet")
    assert refused.value.details[0] in (
        "VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED",
        "VM_SNAPSHOT_WITH_QUIESCE_PLUGIN_DEOS_NOT_RESPOND",
        "VM_SNAPSHOT_WITH_QUIESCE_FAILED",
    )
    assert me("VM.get_snapshots", vm) == []


# Appliances


def test_an_appliance_starts_its_vms_in_order(me: User, watcher: Watcher):
    vms = [quick_create(me, WINDOWS, f"member {n}") for n in range(3)]
    appliance = me.task("VM_appliance.create", {"name_label": "app", "name_description": ""})
    for order, vm in zip((2, 0, 1), vms, strict=True):
        me("VM.set_appliance", vm, appliance)
        me("VM.set_order", vm, me.int(order))
    assert set(watcher.until_same(me, "VM_appliance", appliance)["VMs"]) == set(vms)
    me.task("VM_appliance.start", appliance, False)
    for vm in vms:
        assert watcher.until_same(me, "VM", vm)["power_state"] == "Running"
    started = sorted(vms, key=lambda vm: first_seen(watcher, vm, "Running"))
    assert started == [vms[1], vms[2], vms[0]]
    for vm in vms:
        watcher.until_allowed("VM", vm, "clean_shutdown")
    me.task("VM_appliance.clean_shutdown", appliance)
    assert {watcher.until_same(me, "VM", vm)["power_state"] for vm in vms} == {"Halted"}
    me.task("VM_appliance.start", appliance, False)
    me.task("VM_appliance.hard_shutdown", appliance)
    assert {watcher.until_same(me, "VM", vm)["power_state"] for vm in vms} == {"Halted"}
    for vm in vms:
        me("VM.set_appliance", vm, NULL)
        destroy_vm(me, vm)
    me("VM_appliance.destroy", appliance)
    watcher.until_gone("VM_appliance", appliance)


def first_seen(watcher: Watcher, vm: str, state: str) -> int:
    """Give the place in history where a VM was first told in a state."""
    return next(
        place
        for place, (cls, _, ref, snapshot) in enumerate(watcher.history)
        if cls == "vm" and ref == vm and snapshot.get("power_state") == state
    )


# Console


@pytest.mark.parametrize("by", ["ref", "uuid"])
def test_V2_V3_the_console_speaks_rfb_after_connect(me: User, vm: str, shared_server, by: str):
    host = shared_server.host()
    (console,) = [c for c in me("VM.get_consoles", vm) if me("console.get_protocol", c) == "rfb"]
    name = console if by == "ref" else me("console.get_uuid", console)
    client = Client(Connection(host.address, host.https, ciphers=SCHANNEL_2017[0]), XmlRpc())
    session = client.call("session.login_with_password", host.user, host.password, "2.6", "x")
    viewer = Connection(host.address, host.https, ciphers=SCHANNEL_2017[0], timeout_s=20)
    lines = (f"CONNECT /console?{by}={name} HTTP/1.0", f"Host: {host.address}")
    viewer.send("\r\n".join([*lines, f"Cookie: session_id={session}", "", ""]).encode())
    assert viewer.answer().status == 200
    greeting = viewer.read(12)
    assert greeting.startswith(b"RFB 003.")
    assert greeting.endswith(b"\n")
    viewer.send(b"RFB 003.003\n")
    assert viewer.read(4) == b"\x00\x00\x00\x01"
    viewer.send(b"\x01")
    screen = viewer.read(24)
    width, height = int.from_bytes(screen[:2]), int.from_bytes(screen[2:4])
    assert width > 0
    assert height > 0
    viewer.read(int.from_bytes(screen[20:24]))
    encodings = (4, 2, 1, 0, -239, -223, -254)
    wanted = b"".join(e.to_bytes(4, signed=True) for e in encodings)
    viewer.send(b"\x00\x00\x00\x00" + screen[4:20])
    viewer.send(b"\x02\x00" + len(encodings).to_bytes(2) + wanted)
    viewer.send(b"\xfe\x01\x00\x00\x00\x00\x00\x1c")
    viewer.send(b"\x03\x00\x00\x00\x00\x00" + screen[:4])
    assert viewer.read(2) == b"\x00\x00"
    viewer.close()


def test_V2_a_console_needs_a_session(me: User, vm: str, shared_server):
    host = shared_server.host()
    viewer = Connection(host.address, host.https, ciphers=SCHANNEL_2017[0], timeout_s=20)
    viewer.send(f"CONNECT /console?ref={me('VM.get_consoles', vm)[0]} HTTP/1.0\r\n\r\n".encode())
    assert viewer.answer().status in (401, 403)
    viewer.close()


# Devices


def test_the_disc_in_the_drive_is_changed(me: User, watcher: Watcher, vm: str):
    drive = cd_drive(me, vm)
    if drive is None:
        drive = me.task("VBD.create", vbd(vm, NULL, "3", type="CD", mode="RO", other_config={}))
        if "plug" in me("VBD.get_allowed_operations", drive):
            me.task("VBD.plug", drive)
    disc = an_iso(me)
    for _ in range(2):
        if not me("VBD.get_empty", drive):
            me.task("VBD.eject", drive)
        assert watcher.until_same(me, "VBD", drive)["empty"] is True
        me.task("VBD.insert", drive, disc)
        assert watcher.until_same(me, "VBD", drive)["VDI"] == disc
    with pytest.raises(XenAPI.Failure) as refused:
        me("VBD.insert", drive, disc)
    assert refused.value.details == ["VBD_NOT_EMPTY", drive]
    me.task("VBD.eject", drive)


def test_the_tools_disc_is_there(me: User):
    (tools,) = [s for s in me("SR.get_all_records").values() if s["is_tools_sr"]]
    assert [me("VDI.get_is_tools_iso", vdi) for vdi in tools["VDIs"]] == [True]


def test_a_disk_is_added_to_a_running_vm_and_removed(me: User, watcher: Watcher, vm: str):
    disk = new_disk(me, default_sr(me), "hot")
    device = next(d for d in me("VM.get_allowed_VBD_devices", vm) if d != "3")
    ref = me("VBD.create", vbd(vm, disk, device))
    assert "plug" in me("VBD.get_allowed_operations", ref)
    me.task("VBD.plug", ref)
    assert watcher.until_same(me, "VBD", ref)["currently_attached"] is True
    watcher.until_same(me, "VDI", disk)
    with pytest.raises(XenAPI.Failure) as refused:
        me("VDI.destroy", disk)
    assert refused.value.details[0] == "VDI_IN_USE"
    me.task("VBD.unplug", ref)
    assert watcher.until_same(me, "VBD", ref)["currently_attached"] is False
    me("VBD.destroy", ref)
    watcher.until_gone("VBD", ref)
    me("VDI.resize", disk, me.int(2 * GIB))
    assert int(watcher.until_same(me, "VDI", disk)["virtual_size"]) == 2 * GIB
    me("VDI.destroy", disk)
    watcher.until_gone("VDI", disk)


def test_a_nic_is_added_to_a_running_vm_and_removed(me: User, watcher: Watcher, vm: str):
    device = me("VM.get_allowed_VIF_devices", vm)[0]
    network = me("network.get_all")[0]
    ref = me.task("VIF.create", vif(me, vm, network, device, MAC="02:11:22:33:44:55"))
    assert "plug" in me("VIF.get_allowed_operations", ref)
    me("VIF.plug", ref)
    plugged = watcher.until_same(me, "VIF", ref)
    assert (plugged["currently_attached"], plugged["MAC"]) == (True, "02:11:22:33:44:55")
    me("VIF.unplug", ref)
    assert watcher.until_same(me, "VIF", ref)["currently_attached"] is False
    me.task("VIF.destroy", ref)
    watcher.until_gone("VIF", ref)


def test_a_failed_action_leaves_nothing_behind(me: User, watcher: Watcher):
    before = set(me("VM.get_all"))
    template = me.task("VM.clone", me.one("VM", WINDOWS), "fails")
    other = me("VM.get_other_config", template)
    nowhere = other["disks"].replace('sr=""', 'sr="00000000-0000-0000-0000-000000000000"')
    assert nowhere != other["disks"]
    me("VM.set_other_config", template, {**other, "disks": nowhere})
    disks = set(me("VDI.get_all"))
    with pytest.raises(XenAPI.Failure) as refused:
        me.task("VM.provision", template)
    assert refused.value.details[0] == "UUID_INVALID"
    assert set(me("VDI.get_all")) == disks
    assert watcher.until_same(me, "VM", template)["current_operations"] == {}
    me("VM.destroy", template)
    assert set(me("VM.get_all")) == before

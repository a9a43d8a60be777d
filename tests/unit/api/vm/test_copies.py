"""Clones, copies, provisioning, snapshots, checkpoints and going back to them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.vm.pool import Pool, Storage, storage, vif_record
from xapi_py.api.registry import HANDLERS, Registration
from xapi_py.api.vm import disks
from xapi_py.datamodel import errors as err

DISKS = (
    '<provision><disk device="0" size="8589934592" sr="" bootable="true" type="system"/>'
    '<disk device="1" size="1073741824" sr="" bootable="false" type="user"/></provision>'
)


@pytest.fixture
def vdis() -> Iterator[Storage]:
    with storage() as stand_in:
        yield stand_in


@pytest.fixture
def pool(tmp_path: Path, vdis: Storage) -> Pool:
    return Pool(tmp_path)


def pending(pool: Pool) -> list[str]:
    return [v.ref for v in pool.db.rows("VDI") if disks.PENDING in v.other_config]


def with_disk(pool: Pool, **fields: Any) -> tuple[str, str]:
    sr = pool.sr()
    vm = pool.vm(**fields)
    _, vdi = pool.disk(vm, sr)
    return vm, vdi


def test_builtin_template_is_cloned_provisioned_and_started(pool: Pool) -> None:
    sr = pool.sr()
    (template,) = pool.do("VM.get_by_name_label", "Windows 10 (64-bit)")
    vm = pool.do("VM.clone", template, "guest")
    assert pool.row(vm).is_a_template and not pool.row(vm).is_default_template
    assert pool.row(vm).other_config["base_template_name"] == "Windows 10 (64-bit)"
    pool.do("VM.provision", vm)
    row = pool.row(vm)
    assert not row.is_a_template and "disks" not in row.other_config
    (vbd,) = row.VBDs
    vdi = pool.db.row("VDI", pool.db.row("VBD", vbd).VDI)
    assert (vdi.SR, vdi.type) == (sr, "system") and pending(pool) == []
    pool.do("VM.start", vm, False, False)
    assert pool.db.row("VBD", vbd).currently_attached
    assert pool.db.row("VBD", vbd).device == "xvda"


def test_provisioning_that_runs_out_of_space_leaves_nothing(pool: Pool, vdis: Storage) -> None:
    pool.sr()
    vm = pool.vm(is_a_template=True, other_config={"disks": DISKS})
    vdis.fail = "create"
    assert pool.refusal("VM.provision", vm)[0] == "SR_BACKEND_FAILURE_44"
    assert pool.row(vm).is_a_template and pool.db.count("VDI") == 0
    pool.do("VM.provision", vm)
    assert len(pool.row(vm).VBDs) == 2


def test_provision_without_a_default_sr(pool: Pool) -> None:
    vm = pool.vm(is_a_template=True, other_config={"disks": DISKS})
    assert pool.refusal("VM.provision", vm) == ["DEFAULT_SR_NOT_FOUND", "OpaqueRef:NULL"]


def test_clone_has_own_disks_and_macs(pool: Pool) -> None:
    vm, vdi = with_disk(pool)
    network = pool.do("network.create", {"name_label": "n", "other_config": {}})
    vif = pool.do("VIF.create", vif_record(VM=vm, network=network))
    clone = pool.do("VM.clone", vm, "copy")
    row = pool.row(clone)
    (vbd,) = row.VBDs
    assert pool.db.row("VBD", vbd).VDI not in (vdi, "OpaqueRef:NULL")
    (other,) = row.VIFs
    assert pool.db.row("VIF", other).MAC != pool.db.row("VIF", vif).MAC
    assert (row.name_label, row.power_state, row.is_a_snapshot) == ("copy", "Halted", False)
    assert pending(pool) == []


def test_clone_that_fails_half_way_removes_its_disks(pool: Pool, vdis: Storage) -> None:
    vm, _ = with_disk(pool)
    with pool.db.transaction() as tx:
        sr = tx.create("SR", {})
    pool.disk(vm, sr, "1")
    made: list[int] = []

    original = vdis.derive

    async def second_fails(call: Any, vdi: Any, *rest: Any, **extra: Any) -> Any:
        made.append(1)
        if len(made) == 2:
            vdis.fail = "derive"
        return await original(call, vdi, *rest, **extra)

    from_registry(pool, "VDI.clone", second_fails)
    before = pool.db.count("VDI")
    assert pool.refusal("VM.clone", vm, "c")[0] == "SR_BACKEND_FAILURE_44"
    assert pool.db.count("VDI") == before and pool.do("VM.get_by_name_label", "c") == []


def test_clones_at_once_wait_for_each_others_disk(pool: Pool, vdis: Storage) -> None:
    vm, vdi = with_disk(pool)
    with pool.db.transaction() as tx:
        task = tx.create("task", {})
        tx.add_to_map("VDI", vdi, "current_operations", task, "clone")
    original = vdis.derive

    async def busy_first(call: Any, source: Any, *rest: Any, **extra: Any) -> Any:
        row = call.db.row("VDI", source)
        if row.current_operations:
            raise err.OTHER_OPERATION_IN_PROGRESS("VDI", source, "clone", task)
        return await original(call, source, *rest, **extra)

    from_registry(pool, "VDI.clone", busy_first)
    answer = pool.send("VM.clone", pool.session, vm, "c")
    pool.run_for(1)
    assert pool.do("VM.get_by_name_label", "c") == []
    with pool.db.transaction() as tx:
        tx.set("VDI", vdi, "current_operations", {})
    pool.run_for(1)
    assert pool.do("VM.get_by_name_label", "c") == [pool.value_of(answer)]


def from_registry(pool: Pool, name: str, handler: Any) -> None:
    HANDLERS[name] = Registration(handler, None)


def test_snapshots_form_a_tree(pool: Pool) -> None:
    vm, _ = with_disk(pool)
    first = pool.do("VM.snapshot", vm, "one")
    second = pool.do("VM.snapshot", vm, "two")
    assert pool.row(first).snapshot_of == vm and pool.row(first).is_a_template
    assert pool.row(second).parent == first and pool.row(vm).parent == second
    assert list(pool.row(vm).snapshots) == [first, second]
    pool.do("VM.destroy", first)
    assert pool.row(second).parent == "OpaqueRef:NULL"


def test_snapshot_can_leave_disks_out(pool: Pool) -> None:
    vm, vdi = with_disk(pool)
    snapshot = pool.do("VM.snapshot", vm, "s", [vdi])
    assert len(pool.row(snapshot).VBDs) == 0


def test_snapshot_of_a_running_vm_is_halted(pool: Pool) -> None:
    vm = pool.running()
    snapshot = pool.do("VM.snapshot", vm, "live")
    assert pool.row(snapshot).power_state == "Halted"
    assert pool.row(snapshot).snapshot_info["power-state-at-snapshot"] == "Running"
    assert pool.row(vm).power_state == "Running"


def test_revert_brings_disks_names_and_settings_back(pool: Pool) -> None:
    vm, vdi = with_disk(pool, name_label="before")
    snapshot = pool.do("VM.snapshot", vm, "s")
    pool.do("VM.set_name_label", vm, "after")
    pool.do("VM.set_VCPUs_max", vm, "4")
    pool.do("VM.start", vm, False, False)
    pool.do("VM.revert", snapshot)
    row = pool.row(vm)
    assert (row.name_label, row.VCPUs_max, row.power_state) == ("before", 2, "Halted")
    assert (row.is_a_template, row.is_a_snapshot, row.parent) == (False, False, snapshot)
    (vbd,) = row.VBDs
    assert vdi != pool.db.row("VBD", vbd).VDI and pool.db.find("VDI", vdi) is None
    assert pending(pool) == []
    pool.do("VM.start", vm, False, False)


def test_revert_of_what_is_no_snapshot(pool: Pool) -> None:
    vm = pool.vm()
    assert pool.refusal("VM.revert", vm) == ["VM_REVERT_FAILED", vm, "OpaqueRef:NULL"]


def test_suspend_and_resume_keep_the_memory(pool: Pool) -> None:
    vm, _ = with_disk(pool)
    pool.do("VM.start", vm, False, False)
    pool.run_for(2)
    pool.do("VM.suspend", vm)
    row = pool.row(vm)
    image = row.suspend_VDI
    assert (row.power_state, row.resident_on, row.domid) == ("Suspended", "OpaqueRef:NULL", -1)
    assert pool.db.row("VDI", image).type == "suspend" and row.last_booted_record
    assert len(pool.host.operations.vms) == 0 and pending(pool) == []
    pool.do("VM.resume", vm, False, False)
    assert pool.row(vm).power_state == "Running"
    assert pool.row(vm).suspend_VDI == "OpaqueRef:NULL" and pool.db.find("VDI", image) is None


def test_suspend_without_room(pool: Pool, vdis: Storage) -> None:
    vm, _ = with_disk(pool)
    pool.do("VM.start", vm, False, False)
    pool.run_for(2)
    vdis.fail = "create"
    assert pool.refusal("VM.suspend", vm)[0] == "SR_SUSPEND_SPACE_INSUFFICIENT"
    assert pool.row(vm).power_state == "Running"


def test_suspend_without_a_suspend_sr(pool: Pool) -> None:
    vm = pool.running()
    assert pool.refusal("VM.suspend", vm) == ["VM_NO_SUSPEND_SR", vm]


def test_failed_suspend_lets_the_vm_go_on(pool: Pool) -> None:
    vm, _ = with_disk(pool)
    pool.do("VM.start", vm, False, False)
    pool.run_for(2)
    pool.host.backend.inject_fault({"at": "save", "error": "IO_error", "params": ["x"]})
    before = pool.db.count("VDI")
    assert pool.refusal("VM.suspend", vm)[0] == "VDI_IO_ERROR"
    row = pool.row(vm)
    assert (row.power_state, row.suspend_VDI) == ("Running", "OpaqueRef:NULL")
    assert pool.db.count("VDI") == before


def test_hard_shutdown_of_a_suspended_vm_drops_its_image(pool: Pool) -> None:
    vm, _ = with_disk(pool)
    pool.do("VM.start", vm, False, False)
    pool.run_for(2)
    pool.do("VM.suspend", vm)
    image = pool.row(vm).suspend_VDI
    pool.do("VM.hard_shutdown", vm)
    assert pool.row(vm).power_state == "Halted" and pool.db.find("VDI", image) is None
    (vbd,) = pool.row(vm).VBDs
    assert not pool.db.row("VBD", vbd).currently_attached


def test_checkpoint_holds_memory_and_the_vm_runs_on(pool: Pool) -> None:
    vm, _ = with_disk(pool)
    pool.do("VM.start", vm, False, False)
    pool.run_for(2)
    checkpoint = pool.do("VM.checkpoint", vm, "cp")
    saved = pool.row(checkpoint)
    assert (saved.power_state, saved.is_a_snapshot) == ("Suspended", True)
    assert saved.snapshot_info["power-state-at-snapshot"] == "Running"
    assert pool.db.find("VDI", saved.suspend_VDI) is not None
    row = pool.row(vm)
    assert (row.power_state, row.suspend_VDI) == ("Running", "OpaqueRef:NULL")
    pool.do("VM.revert", checkpoint)
    assert pool.row(vm).power_state == "Suspended"
    pool.do("VM.resume", vm, False, False)
    assert pool.row(vm).power_state == "Running"
    assert pool.db.find("VDI", saved.suspend_VDI) is not None


def test_vm_goes_on_when_its_checkpoint_fails_unexpectedly(pool: Pool) -> None:
    vm, _ = with_disk(pool)
    pool.do("VM.start", vm, False, False)
    pool.run_for(2)

    async def broken(*arguments: Any) -> None:
        raise RuntimeError("a fault of ours")

    HANDLERS["VDI.snapshot"] = Registration(broken, None)
    assert pool.refusal("VM.checkpoint", vm, "cp")[0] == "INTERNAL_ERROR"
    row = pool.row(vm)
    assert (row.power_state, row.suspend_VDI) == ("Running", "OpaqueRef:NULL")
    assert not row.current_operations and not pending(pool)


def test_template_from_a_snapshot_gives_new_vms(pool: Pool) -> None:
    vm, _ = with_disk(pool)
    snapshot = pool.do("VM.snapshot", vm, "s")
    template = pool.do("VM.clone", snapshot, "template")
    assert pool.row(template).is_a_template and not pool.row(template).is_a_snapshot
    new = pool.do("VM.clone", template, "new")
    pool.do("VM.provision", new)
    pool.do("VM.start", new, False, False)
    assert pool.row(new).power_state == "Running"


def test_two_vms_do_not_share_a_writable_disk(pool: Pool) -> None:
    vm, vdi = with_disk(pool)
    pool.do("VM.start", vm, False, False)
    other = pool.vm()
    from_disk(pool, other, vdi)
    assert pool.refusal("VM.start", other, False, False)[:2] == ["VDI_IN_USE", vdi]


def from_disk(pool: Pool, vm: str, vdi: str) -> None:
    with pool.db.transaction() as tx:
        fields = {"VM": vm, "VDI": vdi, "userdevice": "0", "mode": "RW", "type": "Disk"}
        tx.create("VBD", {**fields, "empty": False})

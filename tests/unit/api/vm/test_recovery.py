"""What a server finds after it was killed, and puts right."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred

from tests.unit.api.vm.pool import Pool, Storage, make_vdi, storage, vbd_record
from xapi_py.api import recovery
from xapi_py.api.vm import disks, storage_motion
from xapi_py.plan import boot


@pytest.fixture
def vdis() -> Iterator[Storage]:
    with storage() as stand_in:
        yield stand_in


@pytest.fixture
def pool(tmp_path: Path, vdis: Storage) -> Pool:
    return Pool(tmp_path)


def recover(pool: Pool) -> None:
    running = ensureDeferred(recovery.recover(pool.toolstack))
    pool.run_for(1)
    assert running.called


def test_disks_of_unfinished_operations_are_destroyed(pool: Pool) -> None:
    sr = pool.sr()
    with pool.db.transaction() as tx:
        kept = make_vdi(tx, {"SR": sr})
        lost = make_vdi(tx, {"SR": sr, "other_config": {disks.PENDING: "VM.clone"}})
    recover(pool)
    assert pool.db.find("VDI", kept) is not None and pool.db.find("VDI", lost) is None


def test_disks_of_operations_that_begin_meanwhile_stay(pool: Pool) -> None:
    sr = pool.sr()
    vm = pool.running()
    with pool.db.transaction() as tx:
        image = make_vdi(tx, {"SR": sr, "type": "suspend"})
        tx.set("VM", vm, "suspend_VDI", image)
    running = ensureDeferred(recovery.recover(pool.toolstack))
    assert not running.called  # it waits for the domain daemon; a client's clone begins
    with pool.db.transaction() as tx:
        fresh = make_vdi(tx, {"SR": sr, "other_config": {disks.PENDING: "VM.clone"}})
    pool.run_for(1)
    assert running.called
    assert pool.db.find("VDI", fresh) is not None and pool.db.find("VDI", image) is None


def test_image_of_a_suspend_that_did_not_happen_goes(pool: Pool) -> None:
    sr = pool.sr()
    vm = pool.running()
    with pool.db.transaction() as tx:
        image = make_vdi(tx, {"SR": sr, "type": "suspend"})
        tx.set("VM", vm, "suspend_VDI", image)
    recover(pool)
    assert pool.row(vm).suspend_VDI == "OpaqueRef:NULL" and pool.db.find("VDI", image) is None
    assert pool.row(vm).power_state == "Running"


def test_suspend_that_completed_without_us_is_taken_over(pool: Pool) -> None:
    sr = pool.sr()
    vm = pool.running()
    row = pool.row(vm)
    with pool.db.transaction() as tx:
        image = make_vdi(tx, {"SR": sr, "type": "suspend", "other_config": {disks.PENDING: "x"}})
        tx.set("VM", vm, "suspend_VDI", image)
    daemon = pool.toolstack.hosts.get(pool.host_ref).xenops
    disk = {"sr": "s", "vdi": image}
    ensureDeferred(daemon.call("VM.suspend", {"id": row.uuid, "disk": disk}))
    pool.run_for(2)
    recover(pool)
    assert (row.power_state, row.suspend_VDI) == ("Suspended", image)
    assert row.last_booted_record and pool.db.find("VDI", image) is not None
    pool.do("VM.resume", vm, False, False)
    assert pool.row(vm).power_state == "Running"


def test_promises_of_an_earlier_life_are_cleared(pool: Pool) -> None:
    vm = pool.vm()
    with pool.db.transaction() as tx:
        tx.set("VM", vm, "scheduled_to_be_resident_on", pool.host_ref)
    recovery.clear_marks(pool.toolstack)
    assert pool.row(vm).scheduled_to_be_resident_on == "OpaqueRef:NULL"


def test_vm_that_started_while_the_server_was_away_is_found_running(pool: Pool) -> None:
    vm = pool.running()
    pool.updates.stop()
    with pool.db.transaction() as tx:
        tx.update("VM", vm, power_state="Halted", resident_on="OpaqueRef:NULL", domid=-1)
    pool.updates = pool.follow()
    assert pool.row(vm).power_state == "Running" and pool.row(vm).domid > 0


def test_report_with_an_unknown_medium_does_not_stop_the_others(pool: Pool) -> None:
    vm = pool.running()
    other = pool.running()
    pool.do("VBD.create", vbd_record(VM=vm, empty=True))
    uuid = pool.row(vm).uuid
    asked = ensureDeferred(pool.host.caller.call("VM.stat", {"id": uuid}))
    stat: Any = asked.result
    drive = {"plugged": True, "media_present": True, "disk": {"sr": "forgotten", "vdi": "x"}}
    gone = dict(stat, vbds={"xvdd": drive, "hdd": drive})
    halted = {pool.row(other).uuid: None}
    pool.updates._write({uuid: gone, **halted})
    assert pool.row(other).power_state == "Halted"
    assert pool.row(vm).power_state == "Running"


def test_following_ends_when_it_is_stopped(pool: Pool) -> None:
    pool.updates.stop()
    pool.settle()
    vm = pool.vm()
    answer = pool.send("VM.start", pool.session, vm, False, False)
    pool.run_for(5)
    assert pool.row(vm).power_state == "Halted"
    pool.follow()
    pool.run_for(5)
    assert answer.called and pool.row(vm).power_state == "Running"


@pytest.mark.parametrize("moved", [True, False])
def test_disks_of_a_move_that_was_cut_short_are_those_the_guest_uses(
    pool: Pool, moved: bool
) -> None:
    sr, other = pool.sr(), pool.sr()
    vm = pool.vm()
    vbd, old = pool.disk(vm, sr)
    pool.do("VM.start", vm, False, False)
    mark = {disks.PENDING: f"{storage_motion.MOVING} {vm} {old}"}
    with pool.db.transaction() as tx:
        copy = make_vdi(tx, {"SR": other, "other_config": mark})
        if moved:
            tx.set("VBD", vbd, "VDI", copy)
    if moved:  # the guest moves, and the server forgets that it did
        md = boot.vm_metadata(pool.db, vm, pool.host_ref)
        with pool.db.transaction() as tx:
            tx.set("VBD", vbd, "VDI", old)
        daemon = pool.toolstack.hosts.get(pool.host_ref).xenops
        ensureDeferred(daemon.call("VM.migrate", {"id": pool.row(vm).uuid, "md": md}))
        pool.run_for(5)
    recover(pool)
    kept, gone = (copy, old) if moved else (old, copy)
    assert kept == pool.db.row("VBD", vbd).VDI
    assert disks.PENDING not in pool.db.row("VDI", kept).other_config
    assert pool.db.find("VDI", gone) is None


def test_copies_wait_while_the_domain_daemon_is_away(pool: Pool) -> None:
    sr = pool.sr()
    vm = pool.vm()
    vbd, old = pool.disk(vm, sr)
    pool.do("VM.start", vm, False, False)
    mark = {disks.PENDING: f"{storage_motion.MOVING} {vm} {old}"}
    with pool.db.transaction() as tx:
        copy = make_vdi(tx, {"SR": sr, "other_config": mark})
    pool.host.caller.reachable = False
    recover(pool)
    assert old == pool.db.row("VBD", vbd).VDI
    assert disks.PENDING in pool.db.row("VDI", copy).other_config

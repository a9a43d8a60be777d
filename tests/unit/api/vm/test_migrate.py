"""Moving running VMs and their disks within one host."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred

from tests.unit.api.vm.pool import Pool, make_vdi
from xapi_py.api.vm import disks, storage_motion
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Copies of disks that are bare records, of SRs that mirror nothing."""
    made: list[str] = []

    async def copy(call: Any, vdi: str, sr: str, operation: str = "copy") -> str:
        with call.db.transaction() as tx:
            made.append(make_vdi(tx, {"SR": sr, "name_label": "copy"}))
        return made[-1]

    async def no_mirror(*arguments: Any) -> None:
        return None

    async def destroy(call: Any, vdis: Any) -> None:
        with call.db.transaction() as tx:
            for vdi in vdis:
                tx.delete("VDI", vdi)

    monkeypatch.setattr(storage_motion, "move_live", no_mirror)
    monkeypatch.setattr(storage_motion, "copy_to_sr", copy)
    monkeypatch.setattr(disks, "destroy_condemned", destroy)
    yield made


def moving(pool: Pool, running: bool = True) -> tuple[str, str, str]:
    """Give a VM, its disk, and another SR."""
    vm = pool.running() if running else pool.vm()
    target = pool.sr()
    if running:
        pool.do("VM.hard_shutdown", vm)
    _, vdi = pool.disk(vm, pool.sr())
    if running:
        pool.do("VM.start", vm, False, False)
        pool.run_for(2)
    return vm, vdi, target


def inject(pool: Pool, fault: dict[str, object]) -> None:
    daemon = pool.toolstack.hosts.get(pool.host_ref).xenops
    ensureDeferred(daemon.call("DEBUG.inject_fault", fault))
    pool.settle()


def disk_of(pool: Pool, vm: str) -> Any:
    (vbd,) = pool.row(vm).VBDs
    return pool.db.row("VBD", vbd).VDI


def test_a_vm_moves_to_its_own_host_and_says_so(pool: Pool) -> None:
    vm = pool.running()
    domid = pool.row(vm).domid
    pool.do("VM.pool_migrate", vm, pool.host_ref, {})
    row = pool.row(vm)
    assert row.power_state == "Running" and row.domid > domid
    assert row.resident_on == pool.host_ref and row.current_operations == {}
    assert "VM_MIGRATED" in [m.name for m in pool.db.rows("message")]


def test_a_move_that_fails_is_taken_back(pool: Pool) -> None:
    vm = pool.running()
    domid = pool.row(vm).domid
    inject(pool, {"at": "restore", "error": "Io_error", "params": ["lost"]})
    pool.refusal("VM.pool_migrate", vm, pool.host_ref, {})
    row = pool.row(vm)
    assert (row.power_state, row.domid, row.current_operations) == ("Running", domid, {})


@pytest.mark.parametrize("running", [True, False])
def test_disks_go_where_they_are_sent(pool: Pool, copies: list[str], running: bool) -> None:
    vm, vdi, target = moving(pool, running)
    assert (
        pool.do("VM.migrate_send", vm, {"host": pool.host_ref}, True, {vdi: target}, {}, {}) == vm
    )
    assert [disk_of(pool, vm)] == copies and pool.db.find("VDI", vdi) is None
    assert disks.PENDING not in pool.db.row("VDI", copies[0]).other_config
    assert pool.row(vm).power_state == ("Running" if running else "Halted")


def test_a_motion_that_fails_leaves_the_vm_as_it_was(pool: Pool, copies: list[str]) -> None:
    vm, vdi, target = moving(pool)
    inject(pool, {"at": "vbd_plug", "error": "Io_error", "params": ["lost"]})
    pool.refusal("VM.migrate_send", vm, {"host": pool.host_ref}, True, {vdi: target}, {}, {})
    assert disk_of(pool, vm) == vdi and pool.db.find("VDI", copies[0]) is None
    assert pool.row(vm).power_state == "Running"


def test_a_copy_that_fails_leaves_no_other_copy(
    pool: Pool, copies: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vm, vdi, target = moving(pool, running=False)

    async def refuse(*arguments: Any, **named: Any) -> str:
        raise ApiError("SR_BACKEND_FAILURE_44", "", "no space", "")

    monkeypatch.setattr(storage_motion, "copy_to_sr", refuse)
    error = pool.refusal(
        "VM.migrate_send", vm, {"host": pool.host_ref}, True, {vdi: target}, {}, {}
    )
    assert error[0] == "SR_BACKEND_FAILURE_44" and disk_of(pool, vm) == vdi


def test_network_devices_change_their_network(pool: Pool) -> None:
    vm = pool.vm()
    with pool.db.transaction() as tx:
        networks = [tx.create("network", {"bridge": f"xapi{n}"}) for n in range(2)]
        vif = tx.create("VIF", {"VM": vm, "network": networks[0], "device": "0"})
    pool.do("VM.migrate_send", vm, {"host": pool.host_ref}, True, {}, {vif: networks[1]}, {})
    assert pool.db.row("VIF", vif).network == networks[1]


@pytest.mark.parametrize(
    ("dest", "error"), [({}, "INVALID_VALUE"), ({"host": NULL_REF}, "NOT_IMPLEMENTED")]
)
def test_other_destinations_are_refused(pool: Pool, dest: dict[str, str], error: str) -> None:
    vm = pool.vm()
    assert pool.refusal("VM.assert_can_migrate", vm, dest, True, {}, {}, {})[0] == error
    assert pool.refusal("VM.migrate_send", vm, dest, True, {}, {}, {})[0] == error

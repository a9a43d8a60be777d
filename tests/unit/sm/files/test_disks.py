"""File SRs, offline and live: trees, merging, change logs, damage, refusals."""

import base64
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sm.contract import VdiSpec
from sm.files.storage_daemon import StorageDaemon
from tests.unit.sm.files.file_host import MIB, FileHost, code, needs_qemu, wait
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.errors import RpcError

pytestmark = needs_qemu
KIB = 1024


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FileHost]:
    host = FileHost(tmp_path)
    host.start()
    yield host
    host.close()


def activate(host: FileHost, vdi: str) -> None:
    wait(host.sr.vdi_attach(vdi, True))
    wait(host.sr.vdi_activate(vdi, True))


def changed(host: FileHost, first: str, second: str) -> set[int]:
    """Numbers of 64 KiB blocks that changed between two disks."""
    bits = base64.b64decode(wait(host.sr.vdi_list_changed_blocks(first, second)))
    return {i for i in range(len(bits) * 8) if bits[i >> 3] & (0x80 >> (i & 7))}


def test_snapshot_of_a_running_disk_keeps_its_moment(host: FileHost) -> None:
    vdi = host.make().uuid
    activate(host, vdi)
    host.write_live(vdi, 0, MIB, 1)
    snapshot = wait(host.sr.vdi_snapshot(vdi, VdiSpec())).uuid
    host.write_live(vdi, 0, 64 * KIB, 2)
    assert host.content(snapshot)[:MIB] == b"\1" * MIB
    assert host.content(vdi)[: 128 * KIB] == b"\2" * 64 * KIB + b"\1" * 64 * KIB


def test_hidden_images_of_a_running_disk_are_merged(host: FileHost) -> None:
    vdi = host.make().uuid
    activate(host, vdi)
    for pattern in (1, 2, 3):
        host.write_live(vdi, pattern * MIB, MIB, pattern)
        wait(host.sr.vdi_destroy(wait(host.sr.vdi_snapshot(vdi, VdiSpec())).uuid))
    wait(host.sr.collect_garbage())
    report = host.sr.garbage_report()
    assert len(host.vdis()) == 2 and len(report["done"]) == 2  # type: ignore[arg-type]
    reason = "it is in use; the rest is merged when it is not"
    assert report["skipped"] == [{"vdi": vdi, "reason": reason}]
    host.write_live(vdi, 4 * MIB, MIB, 4)
    expected = b"".join(bytes([i]) * MIB for i in (0, 1, 2, 3, 4))
    assert host.content(vdi)[: 5 * MIB] == expected
    wait(host.sr.vdi_deactivate(vdi))
    wait(host.sr.collect_garbage())
    assert len(host.vdis()) == 1 and host.content(vdi)[: 5 * MIB] == expected
    host.check()


def test_large_last_image_of_a_running_disk_shrinks(host: FileHost) -> None:
    vdi = host.make(64 * MIB).uuid
    activate(host, vdi)
    host.write_live(vdi, 0, MIB, 1)
    wait(host.sr.vdi_destroy(wait(host.sr.vdi_snapshot(vdi, VdiSpec())).uuid))
    host.write_live(vdi, 0, 30 * MIB, 2)
    wait(host.sr.collect_garbage())
    assert len(host.vdis()) == 2
    assert host.vdis()[vdi].physical_utilisation < MIB
    assert host.content(vdi)[: 30 * MIB] == b"\2" * 30 * MIB


def test_failed_merge_is_reported_and_harmless(host: FileHost) -> None:
    vdi = host.make().uuid
    host.write(vdi, 0, MIB, 1)
    wait(host.sr.vdi_destroy(wait(host.sr.vdi_snapshot(vdi, VdiSpec())).uuid))
    host.write(vdi, 0, 64 * KIB, 2)
    host.children.tool_fails = "qemu-img: Input/output error"
    wait(host.sr.collect_garbage())
    (skipped,) = host.sr.garbage_report()["skipped"]  # type: ignore[misc]
    assert skipped["vdi"] == vdi and "Input/output error" in skipped["reason"]
    host.children.tool_fails = ""
    wait(host.sr.collect_garbage())
    assert len(host.vdis()) == 1 and host.content(vdi)[: 64 * KIB] == b"\2" * 64 * KIB


@pytest.mark.parametrize("live", [False, True])
def test_change_logs_tell_what_changed(host: FileHost, live: bool) -> None:
    vdi = host.make().uuid
    wait(host.sr.vdi_enable_cbt(vdi))
    write = host.write_live if live else host.write
    if live:
        activate(host, vdi)
    snapshots = []
    for blocks in ((1,), (3, 4), (9,)):
        for block in blocks:
            write(vdi, block * 64 * KIB, 4 * KIB, 5)
        snapshots.append(wait(host.sr.vdi_snapshot(vdi, VdiSpec())).uuid)
    first, second, third = snapshots
    assert changed(host, first, second) == {3, 4}
    assert changed(host, first, third) == {3, 4, 9}
    wait(host.sr.vdi_destroy(second))
    assert changed(host, first, third) == {3, 4, 9}
    write(vdi, 0, 4 * KIB, 6)
    wait(host.sr.vdi_deactivate(vdi))
    assert changed(host, third, vdi) == {0}
    wait(host.sr.vdi_data_destroy(first))
    assert host.vdis()[first].type == "cbt_metadata"
    assert changed(host, first, vdi) == {0, 3, 4, 9}
    assert code(host.sr.vdi_list_changed_blocks(vdi, first)) == "SR_BACKEND_FAILURE_460"
    wait(host.sr.collect_garbage())
    write = host.write
    write(vdi, 20 * 64 * KIB, 4 * KIB, 6)
    assert changed(host, third, vdi) == {0, 20}


def test_log_that_was_not_closed_ends_tracking_not_the_snapshot(host: FileHost) -> None:
    vdi = host.make().uuid
    wait(host.sr.vdi_enable_cbt(vdi))
    activate(host, vdi)
    host.write_live(vdi, 0, MIB, 1)
    for folder in (host.folder / "run-host" / "d").glob("*/qmp"):
        pid = int((folder.parent / "pid").read_text())
        os.kill(pid, signal.SIGKILL)
    wait(host.sr.vdi_deactivate(vdi))
    snapshot = wait(host.sr.vdi_snapshot(vdi, VdiSpec()))
    assert not snapshot.cbt_enabled and not host.vdis()[vdi].cbt_enabled
    assert host.content(snapshot.uuid)[:MIB] == b"\1" * MIB


def test_reset_on_boot_disk_starts_anew_each_time(host: FileHost, tmp_path: Path) -> None:
    plugin = host.driver.plugin
    features = {**plugin.features, "VDI_RESET_ON_BOOT": 2}
    host.sr.plugin = replace(plugin, features=features)
    vdi = host.make().uuid
    host.write(vdi, 0, MIB, 1)
    for _ in range(2):
        wait(host.sr.vdi_epoch_begin(vdi, persistent=False))
        assert host.content(vdi)[:MIB] == b"\1" * MIB
        host.write(vdi, 0, MIB, 2)
        wait(host.sr.collect_garbage())
    wait(host.sr.vdi_epoch_begin(vdi, persistent=False))
    assert host.content(vdi)[:MIB] == b"\1" * MIB
    assert len(host.vdis()) == 2


def test_compose_puts_one_disk_on_another(host: FileHost) -> None:
    below, above = host.make().uuid, host.make().uuid
    host.write(below, 0, 2 * MIB, 1)
    host.write(above, 0, MIB, 2)
    wait(host.sr.vdi_compose(below, above))
    assert host.content(above)[: 2 * MIB] == b"\2" * MIB + b"\1" * MIB
    assert host.content(below)[:MIB] == b"\1" * MIB
    host.check()


def test_sixteen_tebibytes_take_little_room(host: FileHost) -> None:
    vdi = host.make(16 * 1024**4)
    assert vdi.virtual_size == 16 * 1024**4 and vdi.physical_utilisation < MIB
    host.write(vdi.uuid, 16 * 1024**4 - MIB, MIB, 1)
    snapshot = wait(host.sr.vdi_snapshot(vdi.uuid, VdiSpec()))
    assert snapshot.virtual_size == vdi.virtual_size
    host.check()


def test_names_and_links_survive_another_attach(host: FileHost) -> None:
    vdi = host.make(name_label="n", name_description="ä", sm_config={"k": "v"}).uuid
    wait(host.sr.vdi_snapshot(vdi, VdiSpec(name_label="s", snapshot_time=5)))
    before = host.vdis()
    wait(host.sr.detach())
    host.attach()
    assert host.vdis() == before


def test_other_host_sees_changes_and_cannot_write_too(host: FileHost, tmp_path: Path) -> None:
    second = FileHost(tmp_path, host="second")
    second.attach(sr=host.sr_uuid)
    vdi = host.make().uuid
    assert vdi in second.vdis()
    activate(host, vdi)
    with pytest.raises(RpcError) as problem:
        wait(second.sr.vdi_activate(vdi, True))
    assert (problem.value.name, problem.value.params) == ("Activated_on_another_host", ("host",))
    wait(host.sr.vdi_deactivate(vdi))
    wait(second.sr.vdi_activate(vdi, True))
    assert code(host.sr.vdi_destroy(vdi)) == "VDI_IN_USE"
    wait(second.sr.vdi_deactivate(vdi))
    wait(second.sr.detach())


def test_view_in_use_protects_the_disk(host: FileHost) -> None:
    vdi = host.make().uuid
    try:
        path = wait(host.sr.vdi_path(vdi, False))
    except RpcError as problem:
        pytest.skip(f"FUSE cannot be used here: {problem}")
    with open(path, "rb"):
        assert code(host.sr.vdi_destroy(vdi)) == "VDI_IN_USE"
        wait(host.sr.collect_garbage())
    wait(host.sr.vdi_destroy(vdi))


def test_chain_has_an_end(host: FileHost) -> None:
    vdi = host.make().uuid
    for _ in range(30):
        host.write(vdi, 0, 64 * KIB, 1)
        wait(host.sr.vdi_snapshot(vdi, VdiSpec()))
    host.write(vdi, 0, 64 * KIB, 1)
    assert code(host.sr.vdi_snapshot(vdi, VdiSpec())) == "SR_BACKEND_FAILURE_109"


def test_damaged_image_costs_only_its_disks(host: FileHost) -> None:
    good, bad = host.make().uuid, host.make().uuid
    host.write(good, 0, MIB, 1)
    host.image(bad).write_bytes(b"garbage")
    found = host.vdis()
    assert found[bad].missing and "no qcow2 image" in found[bad].sm_config["damage"]
    assert code(host.sr.vdi_activate(bad, True)) == "SR_BACKEND_FAILURE_65"
    activate(host, good)
    wait(host.sr.vdi_destroy(bad))
    assert set(host.vdis()) == {good}


def test_missing_image_costs_only_its_disk(host: FileHost) -> None:
    good, gone = host.make().uuid, host.make().uuid
    host.image(gone).unlink()
    assert host.vdis()[gone].missing and not host.vdis()[good].missing
    assert code(host.sr.vdi_snapshot(gone, VdiSpec())) == "SR_BACKEND_FAILURE_46"
    wait(host.sr.vdi_destroy(gone))
    assert set(host.vdis()) == {good}


def test_bad_wishes_are_refused(host: FileHost) -> None:
    sr, vdi = host.sr, host.make(name_label="x").uuid
    snapshot = wait(sr.vdi_snapshot(vdi, VdiSpec()))
    raw = host.make(sm_config={"type": "raw"}).uuid
    assert code(sr.vdi_create(VdiSpec(virtual_size=-1))) == "SR_BACKEND_FAILURE_79"
    assert code(sr.vdi_create(VdiSpec(virtual_size=65 * 1024**4))) == "SR_BACKEND_FAILURE_79"
    assert code(sr.vdi_create(VdiSpec(name_label="\1"))) == "SR_BACKEND_FAILURE_447"
    assert code(sr.vdi_create(VdiSpec(sm_config={"type": "foo"}))) == "SR_BACKEND_FAILURE_66"
    assert code(sr.vdi_create(VdiSpec(uuid=vdi))) == "SR_BACKEND_FAILURE_43"
    assert code(sr.vdi_resize(vdi, MIB)) == "SR_BACKEND_FAILURE_79"
    assert code(sr.vdi_resize(raw, 64 * MIB)) == "SR_OPERATION_NOT_SUPPORTED"
    assert code(sr.vdi_enable_cbt(raw)) == "SR_BACKEND_FAILURE_66"
    assert code(sr.vdi_snapshot(snapshot.parent, VdiSpec())) == "SR_BACKEND_FAILURE_82"
    assert code(sr.vdi_clone(snapshot.parent, VdiSpec())) == "SR_BACKEND_FAILURE_81"
    assert code(sr.vdi_destroy(snapshot.parent)) == "SR_BACKEND_FAILURE_80"
    assert code(sr.vdi_list_changed_blocks(vdi, vdi)) == "SR_BACKEND_FAILURE_460"
    assert code(sr.destroy()) == "SR_NOT_EMPTY"
    assert wait(sr.vdi_create(VdiSpec(virtual_size=0))).virtual_size == 2 * MIB


def test_raw_disk_can_be_a_parent(host: FileHost) -> None:
    vdi = host.make(sm_config={"type": "raw"}).uuid
    host.write(vdi, 0, MIB, 1)
    clone = wait(host.sr.vdi_clone(vdi, VdiSpec())).uuid
    host.write(vdi, 0, MIB, 2)
    assert host.content(clone)[:MIB] == b"\1" * MIB
    wait(host.sr.vdi_destroy(clone))
    wait(host.sr.collect_garbage())
    assert host.content(vdi)[:MIB] == b"\2" * MIB and len(host.vdis()) == 1


def test_two_names_for_one_backend_are_not_mixed_up(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "pid").write_text("1")
    assert not StorageDaemon(tmp_path / "a", "vdi").running()


def test_image_that_was_never_finished_is_no_damage(host: FileHost) -> None:
    host.make()
    left = host.sr_folder / "nodes" / "0.qcow2.new"
    left.write_bytes(b"")
    wait(host.sr.detach())
    host.attach()
    assert not left.exists() and len(host.vdis()) == 1


def test_host_that_is_not_in_charge_leaves_the_work_of_others_alone(
    host: FileHost, tmp_path: Path
) -> None:
    vdi = host.make().uuid
    begun = host.sr_folder / "nodes" / f"{new_uuid()}.qcow2"  # nobody's yet
    begun.write_bytes(host.image(vdi).read_bytes())
    other = FileHost(tmp_path, host="other")
    config = {"location": str(tmp_path / "disks"), "SRmaster": "false"}
    other.attach(config, host.sr_uuid)
    assert begun.exists() and set(other.vdis()) == {vdi}
    snapshot = wait(host.sr.vdi_snapshot(vdi, VdiSpec())).uuid
    wait(other.sr.vdi_activate(snapshot, False))
    wait(other.sr.vdi_deactivate(snapshot))
    wait(other.sr.detach())
    other.attach({**config, "SRmaster": "true"}, host.sr_uuid)
    assert not begun.exists()
    wait(other.sr.detach())

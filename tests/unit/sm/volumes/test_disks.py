"""Disks in volumes: the tests of disks in files, and what only volumes have."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sm.contract import VdiSpec
from sm.files.mounts import Outcome
from tests.unit.sm.files.file_host import MIB, FileHost, code, needs_qemu, wait
from tests.unit.sm.volumes.fake_lvm import FakeLvm
from tests.unit.sm.volumes.volume_host import VolumeHost
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.errors import RpcError

pytestmark = needs_qemu
GIB = 1024 * MIB


@pytest.fixture
def host(tmp_path: Path) -> Iterator[VolumeHost]:
    host = VolumeHost(tmp_path)
    host.start()
    yield host
    host.close()


def activate(host: VolumeHost, vdi: str) -> None:
    wait(host.sr.vdi_attach(vdi, True))
    wait(host.sr.vdi_activate(vdi, True))


def sizes(host: VolumeHost) -> list[int]:
    """Sizes of images in MiB, smallest first."""
    found = host.lvm.volumes(host.group)
    return sorted(size // MIB for name, size in found.items() if name != "MGT")


def test_thick_disk_has_room_for_everything_and_its_parents_none(host: VolumeHost) -> None:
    vdi = host.make(64 * MIB)
    assert sizes(host) == [72] and vdi.physical_utilisation == 72 * MIB
    host.write(vdi.uuid, 0, MIB, 1)
    wait(host.sr.vdi_snapshot(vdi.uuid, VdiSpec()))
    assert sizes(host) == [4, 4, 72]
    clone = wait(host.sr.vdi_clone(vdi.uuid, VdiSpec()))
    assert sizes(host) == [4, 4, 72, 72]
    assert wait(host.sr.stat()).physical_utilisation == (64 + 4 + 4 + 72 + 72) * MIB
    host.write(clone.uuid, 0, 64 * MIB, 9)
    assert host.content(clone.uuid) == b"\x09" * 64 * MIB


def test_thin_disk_grows_while_it_is_written_to(tmp_path: Path) -> None:
    host = VolumeHost(tmp_path, lvm=FakeLvm(tmp_path, sdb=40 * GIB))
    host.start(allocation="thin")
    assert host.stored[1]["allocation"] == "thin"
    vdi = host.make(8 * GIB).uuid
    activate(host, vdi)
    (first,) = sizes(host)
    assert 1024 <= first < 1100
    host.write_live(vdi, 0, 700 * MIB, 1)
    wait(host.sr._call("watch"))
    (second,) = sizes(host)
    assert 1700 <= second < 1800
    wait(host.sr.vdi_deactivate(vdi))
    (third,) = sizes(host)
    assert 700 <= third < 710
    host.close()


def test_only_what_is_used_is_active(host: VolumeHost) -> None:
    vdi = host.make().uuid
    wait(host.sr.vdi_snapshot(vdi, VdiSpec()))
    clone = wait(host.sr.vdi_clone(vdi, VdiSpec())).uuid
    assert host.lvm.active(host.group) == {"MGT"}
    activate(host, vdi)
    assert len(host.lvm.active(host.group)) == 3
    activate(host, clone)
    assert len(host.lvm.active(host.group)) == 4
    wait(host.sr.vdi_deactivate(vdi))
    assert len(host.lvm.active(host.group)) == 3
    wait(host.sr.vdi_deactivate(clone))
    assert host.lvm.active(host.group) == {"MGT"}
    wait(host.sr.detach())
    assert host.lvm.active(host.group) == set()
    host.attach()


def test_raw_disk_shows_nothing_of_deleted_ones(host: VolumeHost) -> None:
    vdi = host.make(16 * MIB, sm_config={"type": "raw"})
    assert vdi.sm_config == {"type": "raw"} and sizes(host) == [16]
    assert host.content(vdi.uuid) == bytes(16 * MIB)
    host.write(vdi.uuid, MIB, MIB, 5)
    snapshot = wait(host.sr.vdi_snapshot(vdi.uuid, VdiSpec()))
    host.write(vdi.uuid, MIB, MIB, 6)
    assert host.content(snapshot.uuid)[MIB : 2 * MIB] == b"\5" * MIB
    host.children.tool_fails = "No space left on device"
    code(host.sr.vdi_create(VdiSpec(virtual_size=MIB, sm_config={"type": "raw"})))
    assert len(sizes(host)) == 3


def test_full_group_is_error_44_and_leaves_nothing(host: VolumeHost) -> None:
    vdi = host.make(2 * GIB).uuid
    before = host.lvm.volumes(host.group)
    assert code(host.sr.vdi_create(VdiSpec(virtual_size=3 * GIB))) == "SR_BACKEND_FAILURE_44"
    assert code(host.sr.vdi_clone(vdi, VdiSpec())) == "SR_BACKEND_FAILURE_44"
    assert code(host.sr.vdi_resize(vdi, 4 * GIB)) == "SR_BACKEND_FAILURE_44"
    activate(host, vdi)
    assert code(host.sr.vdi_snapshot(vdi, VdiSpec())) == "SR_BACKEND_FAILURE_44"
    host.write_live(vdi, 0, MIB, 3)
    assert host.lvm.volumes(host.group) == before
    assert host.vdis()[vdi].virtual_size == 2 * GIB
    wait(host.sr.vdi_deactivate(vdi))
    assert host.content(vdi)[:MIB] == b"\3" * MIB


def test_growing_the_device_grows_the_sr(host: VolumeHost) -> None:
    before = wait(host.sr.stat()).physical_size
    wait(host.sr.detach())
    host.lvm.grow_device(8 * GIB)
    host.attach()
    assert wait(host.sr.stat()).physical_size == before + 4 * GIB


def test_resize_gives_room_for_the_larger_disk(host: VolumeHost) -> None:
    vdi = host.make(8 * MIB).uuid
    wait(host.sr.vdi_snapshot(vdi, VdiSpec()))
    resized = wait(host.sr.vdi_resize(vdi, 128 * MIB))
    assert resized.virtual_size == 128 * MIB and 128 < max(sizes(host)) < 150
    host.write(vdi, 0, 128 * MIB, 4)
    assert code(host.sr.vdi_resize(vdi, MIB)) == "SR_BACKEND_FAILURE_79"
    assert host.content(vdi) == b"\4" * 128 * MIB


@pytest.mark.parametrize("step", ["before:1", "after:1", "lvextend-after:1"])
def test_killed_resize_is_finished_or_never_was(host: VolumeHost, step: str) -> None:
    vdi = host.make(8 * MIB).uuid
    host.crash = step
    code(host.sr.vdi_resize(vdi, 16 * MIB))
    size = host.vdis()[vdi].virtual_size
    assert size == (16 if step == "after:1" else 8) * MIB
    activate(host, vdi)
    host.write_live(vdi, size - MIB, MIB, 4)


@pytest.mark.parametrize("allocation", ["thick", "thin"])
def test_a_disk_in_use_grows(tmp_path: Path, allocation: str) -> None:
    host = VolumeHost(tmp_path)
    host.start(**({"allocation": "thin"} if allocation == "thin" else {}))
    vdi = host.make(8 * MIB).uuid
    wait(host.sr.vdi_snapshot(vdi, VdiSpec()))
    activate(host, vdi)
    grown = wait(host.sr.vdi_resize(vdi, 128 * MIB))
    assert grown.virtual_size == 128 * MIB and host.vdis()[vdi].virtual_size == 128 * MIB
    if allocation == "thick":
        assert max(sizes(host)) > 128
        assert code(host.sr.vdi_resize(vdi, 8 * GIB)) == "SR_BACKEND_FAILURE_44"
    host.write_live(vdi, 127 * MIB, MIB, 4)
    host.attach()
    assert host.vdis()[vdi].virtual_size == 128 * MIB
    wait(host.sr.vdi_deactivate(vdi))
    assert host.content(vdi)[127 * MIB :] == b"\4" * MIB
    host.check()
    host.close()


@pytest.mark.parametrize("step", ["before:1", "after:1", "before:2", "lvextend-after:1"])
def test_a_killed_resize_of_a_disk_in_use_leaves_one_size(host: VolumeHost, step: str) -> None:
    vdi = host.make(8 * MIB).uuid
    activate(host, vdi)
    host.crash = step
    code(host.sr.vdi_resize(vdi, 16 * MIB))
    size = host.vdis()[vdi].virtual_size
    assert size == (16 if step == "before:2" else 8) * MIB
    host.write_live(vdi, size - MIB, MIB, 4)
    wait(host.sr.vdi_deactivate(vdi))
    assert host.content(vdi)[size - MIB :] == b"\4" * MIB
    assert wait(host.sr.vdi_resize(vdi, 32 * MIB)).virtual_size == 32 * MIB
    host.check()


def test_second_host_reads_disks_and_changes_nothing(host: VolumeHost, tmp_path: Path) -> None:
    vdi = host.make(8 * MIB).uuid
    other = VolumeHost(tmp_path, host="other")
    other.config = {**host.config, "SRmaster": "false"}
    other.sr_uuid = host.sr_uuid
    other.attach()
    later = host.make(8 * MIB).uuid
    activate(other, later)
    other.write_live(later, 0, MIB, 7)
    with pytest.raises(RpcError) as problem:
        wait(host.sr.vdi_activate(later, True))
    assert problem.value.name == "Activated_on_another_host"
    with pytest.raises(RpcError, match="Activated_on_another_host"):
        wait(host.sr.vdi_snapshot(later, VdiSpec()))
    assert code(host.sr.vdi_destroy(later)) == "VDI_IN_USE"
    wait(other.sr.vdi_deactivate(later))
    snapshot = wait(host.sr.vdi_snapshot(later, VdiSpec())).uuid
    activate(other, later)
    wait(host.sr.collect_garbage())
    other.write_live(later, 0, MIB, 8)
    wait(host.sr.release_locks("other"))
    wait(other.sr.vdi_deactivate(later))
    assert (
        host.content(snapshot)[:MIB] == b"\7" * MIB and host.content(later)[:MIB] == b"\x08" * MIB
    )
    assert other.lvm.active(host.group) == {"MGT"}
    wait(other.sr.vdi_create(VdiSpec(virtual_size=MIB)))
    assert code(host.sr.vdi_create(VdiSpec(virtual_size=MIB))) == "SR_BACKEND_FAILURE_58"
    assert len(other.vdis()) == 5 and vdi in other.vdis()
    wait(other.sr.detach())
    wait(host.sr.detach())
    host.attach()


def test_damaged_metadata_is_refused_or_worked_around(tmp_path: Path) -> None:
    host = VolumeHost(tmp_path)
    host.start()
    kept = host.make(8 * MIB).uuid
    for number in range(3):
        wait(host.sr.vdi_set(kept, {"name_label": f"name {number}"}))
    wait(host.sr.detach())
    where = host.data / "MGT"
    with open(where, "r+b") as file:
        file.seek(4 * MIB + 3 * 4096 + 100)
        file.write(os.urandom(50))
    stray = host.lvm.run(
        "lvcreate", "--config", "global_filter", "-l", "1", "-n", "QCOW2-x", host.group
    )
    assert stray.status == 0
    host.attach()
    assert host.vdis()[kept].name_label == "name 2"
    assert "QCOW2-x" in host.lvm.volumes(host.group)
    wait(host.sr.detach())
    with open(where, "r+b") as file:
        file.write(b"XSSM" + bytes(9000))
    assert code(host.driver.attach(host.sr_uuid, host.config, {})) == "SR_BACKEND_FAILURE_181"
    assert host.lvm.active(host.group) <= {"QCOW2-x"}


def test_lost_volume_is_a_missing_disk_and_others_live(host: VolumeHost) -> None:
    lost, kept = host.make().uuid, host.make().uuid
    (host.data / host.image(lost).name).touch()
    host.lvm.run("lvremove", "--config", "global_filter", f"{host.group}/{host.image(lost).name}")
    found = host.vdis()
    assert found[lost].missing and not found[kept].missing
    assert code(host.sr.vdi_snapshot(lost, VdiSpec())) == "SR_BACKEND_FAILURE_46"
    wait(host.sr.vdi_snapshot(kept, VdiSpec()))
    wait(host.sr.vdi_destroy(lost))
    wait(host.sr.collect_garbage())
    assert lost not in host.vdis()


def test_damaged_image_is_error_65_and_others_live(host: VolumeHost) -> None:
    broken, kept = host.make().uuid, host.make().uuid
    with open(host.image(broken), "r+b") as file:
        file.write(b"nothing")
    assert code(host.sr.vdi_snapshot(broken, VdiSpec())) == "SR_BACKEND_FAILURE_65"
    wait(host.sr.vdi_snapshot(kept, VdiSpec()))
    wait(host.sr.vdi_destroy(broken))


def test_device_that_vanished_is_an_error_and_comes_back(host: VolumeHost) -> None:
    vdi = host.make().uuid
    host.lvm.fails["lvs"] = Outcome(5, "", "/dev/sdb: read failed: Input/output error")
    assert code(host.sr.scan()) == "SR_BACKEND_FAILURE_200"
    host.lvm.fails["lvs"] = Outcome(5, "", 'Volume group "VG" not found')
    assert code(host.sr.scan()) == "SR_BACKEND_FAILURE_47"
    host.lvm.fails["lvs"] = Outcome(124, "", "")
    assert code(host.sr.scan()) == "SR_BACKEND_FAILURE_47"
    host.lvm.fails.clear()
    assert vdi in host.vdis()


def test_sr_that_is_destroyed_leaves_an_empty_device(host: VolumeHost) -> None:
    vdi = host.make().uuid
    assert code(host.sr.destroy()) == "SR_NOT_EMPTY"
    wait(host.sr.vdi_destroy(vdi))
    wait(host.sr.destroy())
    wait(host.sr.detach())
    assert host.lvm.active(host.group) == set()
    assert "<SR>" not in wait(host.driver.probe(host.config, {}))
    host.start()


def test_device_of_another_sr_is_taken_only_when_nobody_uses_it(tmp_path: Path) -> None:
    host = VolumeHost(tmp_path)
    host.start()
    again = VolumeHost(tmp_path, lvm=host.lvm)
    names = ("name", "text", 0)
    create = again.driver.create
    assert code(create(again.sr_uuid, host.config, {}, *names)) == "SR_DEVICE_IN_USE"
    host.lvm.mounted_at[host.lvm.device()] = "/mnt\n"
    wait(host.sr.detach())
    assert code(create(again.sr_uuid, host.config, {}, *names)) == "SR_DEVICE_IN_USE"
    host.lvm.mounted_at[host.lvm.device()] = "/\n"
    assert code(create(again.sr_uuid, host.config, {}, *names)) == "SR_BACKEND_FAILURE_105"
    host.lvm.mounted_at.clear()
    wait(create(again.sr_uuid, host.config, {}, *names))
    assert code(host.driver.attach(host.sr_uuid, host.config, {})) == "SR_BACKEND_FAILURE_47"


@pytest.mark.parametrize(
    "config, number", [({}, 90), ({"device": "/nowhere"}, 91), ({"device": "/etc/passwd"}, 91)]
)
def test_bad_devices(tmp_path: Path, config: dict[str, str], number: int) -> None:
    host = VolumeHost(tmp_path)
    failure = f"SR_BACKEND_FAILURE_{number}"
    assert code(host.driver.create(host.sr_uuid, config, {}, "", "", 0)) == failure
    assert code(host.driver.probe(config, {})) == failure


def test_changed_blocks_are_kept_in_volumes(host: VolumeHost) -> None:
    vdi = host.make(8 * MIB).uuid
    wait(host.sr.vdi_enable_cbt(vdi))
    first = wait(host.sr.vdi_snapshot(vdi, VdiSpec())).uuid
    activate(host, vdi)
    host.write_live(vdi, MIB, MIB, 1)
    wait(host.sr.vdi_deactivate(vdi))
    second = wait(host.sr.vdi_snapshot(vdi, VdiSpec())).uuid
    assert wait(host.sr.vdi_list_changed_blocks(first, second)) == "AAD//wAAAAAAAAAAAAAAAA=="
    assert any(name.startswith("CBT-") for name in host.lvm.volumes(host.group))


def test_copies_fill_images_and_read_whole_chains(host: VolumeHost) -> None:
    source = host.make(8 * MIB).uuid
    host.write(source, 0, MIB, 1)
    wait(host.sr.vdi_snapshot(source, VdiSpec()))
    host.write(source, MIB, MIB, 2)
    target = host.make(8 * MIB).uuid
    raw = host.make(8 * MIB, sm_config={"type": "raw"}).uuid
    for vdi in (target, raw):
        content = wait(host.sr.vdi_content(source, True))
        wait(host.sr.vdi_fill(vdi, content))
        wait(host.sr.vdi_copied(source))
        assert host.content(vdi) == b"\1" * MIB + b"\2" * MIB + bytes(6 * MIB)
    host.check()


def test_copy_into_a_thin_disk_has_room_and_gives_the_rest_back(tmp_path: Path) -> None:
    host = VolumeHost(tmp_path, lvm=FakeLvm(tmp_path, sdb=40 * GIB))
    host.start(allocation="thin")
    vdi = host.make(2 * GIB).uuid
    path = wait(host.sr.vdi_path(vdi, True))
    assert max(sizes(host)) > 2048
    with open(path, "r+b") as file:
        file.seek(1500 * MIB)
        file.write(b"y" * MIB)
    wait(host.sr.vdi_note_written(vdi, [], False))
    assert sizes(host) == [4]
    host.close()


@pytest.mark.parametrize("way", ["from files", "to files"])
@pytest.mark.parametrize("allocation", ["thick", "thin"])
def test_a_disk_in_use_moves(tmp_path: Path, way: str, allocation: str) -> None:
    volumes, files = VolumeHost(tmp_path), FileHost(tmp_path)
    volumes.start(**({"allocation": "thin"} if allocation == "thin" else {}))
    files.start()
    source, target = (files, volumes) if way == "from files" else (volumes, files)
    vdi, moved = source.make(64 * MIB).uuid, new_uuid()
    source.write(vdi, 0, 8 * MIB, 1)
    wait(source.sr.vdi_snapshot(vdi, VdiSpec()))
    wait(source.sr.vdi_activate(vdi, True))
    image = wait(target.sr.mirror_receive(VdiSpec(moved, virtual_size=64 * MIB)))
    wait(source.sr.mirror_begin(vdi, image))
    while wait(source.sr.mirror_state(vdi))[0] != "ready":
        pass
    source.write_live(vdi, 32 * MIB, 24 * MIB, 2)
    wait(target.sr.mirror_adopt(moved, wait(source.sr.mirror_switch(vdi)), True))
    wait(source.sr.mirror_release(vdi))
    target.write_live(moved, 62 * MIB, MIB, 3)
    wait(source.sr.vdi_destroy(vdi))
    assert wait(target.sr.vdi_resize(moved, 72 * MIB)).virtual_size == 72 * MIB
    target.write_live(moved, 71 * MIB, MIB, 4)
    wait(target.sr.vdi_deactivate(moved))
    content = target.content(moved)
    assert content[: 9 * MIB] == b"\1" * 8 * MIB + bytes(MIB)
    assert content[32 * MIB : 56 * MIB] == b"\2" * 24 * MIB
    assert content[62 * MIB : 63 * MIB] == b"\3" * MIB and content[71 * MIB :] == b"\4" * MIB
    for host in (source, target):
        wait(host.sr.collect_garbage())
        host.check()
        host.close()

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sm.storage_host import GIB, MIB, StorageHost
from xapi_py.base.names import new_uuid


@pytest.fixture
def host(tmp_path: Path) -> StorageHost:
    return StorageHost(tmp_path)


@pytest.fixture
def sr(host: StorageHost) -> str:
    return host.make_sr()


def written(host: StorageHost, sr: str, *extents: tuple[int, int]) -> str:
    vdi = host.make_vdi(sr)["uuid"]
    host.call("VDI.note_written", sr=sr, vdi=vdi, extents=extents or [(0, MIB)], simulated=True)
    return str(vdi)


def snapshot(host: StorageHost, sr: str, vdi: str, **info: object) -> dict[str, Any]:
    made: dict[str, Any] = host.call("VDI.snapshot", sr=sr, vdi=vdi, vdi_info=info)
    return made


@pytest.mark.parametrize(
    "asked, got", [(0, 2 * MIB), (1, 2 * MIB), (2 * MIB, 2 * MIB), (2 * MIB + 1, 4 * MIB)]
)
def test_sizes_are_rounded_up(host: StorageHost, sr: str, asked: int, got: int) -> None:
    assert host.make_vdi(sr, asked)["virtual_size"] == got


@pytest.mark.parametrize(
    "info, number",
    [
        ({"virtual_size": -1}, 79),
        ({"virtual_size": 2041 * GIB}, 79),
        ({"virtual_size": GIB, "sm_config": {"type": "foo"}}, 66),
        ({"virtual_size": GIB, "name_label": "a\x01b"}, 447),
    ],
)
def test_bad_disks_are_refused(
    host: StorageHost, sr: str, info: dict[str, object], number: int
) -> None:
    assert host.code("VDI.create", sr=sr, vdi_info=info) == f"SR_BACKEND_FAILURE_{number}"
    assert host.vdis(sr) == {}


def test_members_of_a_record_that_nobody_knows_are_refused(host: StorageHost, sr: str) -> None:
    with pytest.raises(TypeError, match="argument 'colour'"):
        host.call("VDI.create", sr=sr, vdi_info={"colour": 1})


def test_uuid_can_be_chosen_once(host: StorageHost, sr: str) -> None:
    uuid = new_uuid()
    assert host.make_vdi(sr, uuid=uuid)["uuid"] == uuid
    info = {"uuid": uuid, "virtual_size": GIB}
    assert host.code("VDI.create", sr=sr, vdi_info=info) == "SR_BACKEND_FAILURE_43"


def test_snapshot_puts_a_hidden_parent_above_both(host: StorageHost, sr: str) -> None:
    vdi = written(host, sr)
    made = snapshot(host, sr, vdi, name_label="snap", snapshot_time=1234)
    assert (made["is_a_snapshot"], made["snapshot_of"]) == (True, vdi)
    assert (made["name_label"], made["snapshot_time"]) == ("snap", 1234)
    found = host.vdis(sr)
    parent = found[made["parent"]]
    assert (parent["managed"], parent["read_only"]) == (False, True)
    assert found[vdi]["sm_config"]["vhd-parent"] == parent["uuid"]
    assert parent["physical_utilisation"] > MIB > found[vdi]["physical_utilisation"]


def test_clone_of_an_unchanged_disk_needs_no_new_parent(host: StorageHost, sr: str) -> None:
    vdi = written(host, sr)
    first = host.call("VDI.clone", sr=sr, vdi=vdi, vdi_info={})
    second = host.call("VDI.clone", sr=sr, vdi=vdi, vdi_info={})
    assert first["parent"] == second["parent"]
    assert not first["is_a_snapshot"]


def test_hidden_disks_cannot_be_snapshotted_cloned_or_deleted(host: StorageHost, sr: str) -> None:
    hidden = snapshot(host, sr, written(host, sr))["parent"]
    key = {"sr": sr, "vdi": hidden}
    assert host.code("VDI.snapshot", **key, vdi_info={}) == "SR_BACKEND_FAILURE_82"
    assert host.code("VDI.clone", **key, vdi_info={}) == "SR_BACKEND_FAILURE_81"
    assert host.code("VDI.destroy", **key) == "SR_BACKEND_FAILURE_80"


def test_chain_has_a_longest_length(host: StorageHost, sr: str) -> None:
    vdi = written(host, sr)
    for number in range(30):
        snapshot(host, sr, vdi)
        host.call("VDI.note_written", sr=sr, vdi=vdi, extents=[(number * MIB, MIB)], simulated=True)
    assert host.code("VDI.snapshot", sr=sr, vdi=vdi, vdi_info={}) == "SR_BACKEND_FAILURE_109"


def test_garbage_is_collected_after_a_while(host: StorageHost, sr: str) -> None:
    vdi = written(host, sr)
    made = snapshot(host, sr, vdi)
    host.call("VDI.destroy", sr=sr, vdi=made["uuid"])
    assert len(host.vdis(sr)) == 2
    host.clock.advance(1.0)
    (left,) = host.vdis(sr).values()
    assert (left["uuid"], left["parent"]) == (vdi, "")
    assert left["physical_utilisation"] > MIB


def test_disks_without_a_living_child_are_collected(host: StorageHost, sr: str) -> None:
    vdi = written(host, sr)
    made = snapshot(host, sr, vdi)
    for uuid in (vdi, made["uuid"]):
        host.call("VDI.destroy", sr=sr, vdi=uuid)
    host.clock.advance(1.0)
    assert host.vdis(sr) == {}
    assert host.call("SR.stat", sr=sr)["physical_utilisation"] == 0


def test_resize_grows_and_never_shrinks(host: StorageHost, sr: str) -> None:
    vdi = host.make_vdi(sr)["uuid"]
    key = {"sr": sr, "vdi": vdi}
    assert host.call("VDI.resize", **key, new_size=2 * GIB)["virtual_size"] == 2 * GIB
    assert host.call("VDI.resize", **key, new_size=2 * GIB)["virtual_size"] == 2 * GIB
    *_, text, _ = host.error("VDI.resize", **key, new_size=GIB)
    assert text == "VDI Invalid size [opterr=shrinking not allowed]"


def test_resize_online_is_not_supported(host: StorageHost, sr: str) -> None:
    vdi = host.make_vdi(sr)["uuid"]
    error = host.error("VDI.resize_online", sr=sr, vdi=vdi, new_size=2 * GIB)
    assert error == ("Storage_backend_error", "SR_OPERATION_NOT_SUPPORTED", sr)


def test_lvm_snapshot_needs_room_for_another_full_disk(host: StorageHost) -> None:
    sr = host.make_sr("lvm", {"device": "/dev/sdb"})
    vdi = host.make_vdi(sr, 150 * GIB)["uuid"]
    extents = [(0, 60 * GIB)]
    host.call("VDI.note_written", sr=sr, vdi=vdi, extents=extents, simulated=True)
    before = host.vdis(sr)
    assert host.code("VDI.snapshot", sr=sr, vdi=vdi, vdi_info={}) == "SR_BACKEND_FAILURE_44"
    assert host.vdis(sr) == before


def test_revert_gives_the_disk_the_content_of_its_snapshot(host: StorageHost, sr: str) -> None:
    vdi = written(host, sr)
    path = Path(host.call("VDI.path", sr=sr, vdi=vdi, read_write=True))
    path.write_bytes(b"old".ljust(GIB // 1024, b"\0"))
    made = snapshot(host, sr, vdi)
    changed = Path(host.call("VDI.path", sr=sr, vdi=vdi, read_write=True))
    assert changed != path
    changed.write_bytes(b"new")
    host.call("VDI.revert", sr=sr, vdi=vdi, snapshot=made["uuid"])
    again = Path(host.call("VDI.path", sr=sr, vdi=vdi))
    assert again.read_bytes()[:3] == b"old"


def test_reset_on_boot_throws_away_what_was_written(host: StorageHost, sr: str) -> None:
    vdi = snapshot(host, sr, written(host, sr))["snapshot_of"]
    host.call("VDI.note_written", sr=sr, vdi=vdi, extents=[(0, 9 * MIB)], simulated=True)
    host.call("VDI.epoch_begin", sr=sr, vdi=vdi, persistent=True)
    assert host.vdis(sr)[vdi]["physical_utilisation"] > 9 * MIB
    host.call("VDI.epoch_begin", sr=sr, vdi=vdi, persistent=False)
    assert host.vdis(sr)[vdi]["physical_utilisation"] < MIB


def test_copy_to_another_sr_takes_data_and_names_it_anew(host: StorageHost, sr: str) -> None:
    vdi = written(host, sr)
    path = Path(host.call("VDI.path", sr=sr, vdi=vdi, read_write=True))
    with path.open("r+b") as file:
        file.seek(512 * MIB)
        file.write(b"far away")
    target = host.make_sr("ext", {"device": "/dev/sdb"})
    copy = host.call("VDI.copy", sr=sr, vdi=vdi, dest_sr=target, vdi_info={"name_label": "c"})
    assert (copy["name_label"], copy["virtual_size"]) == ("c", GIB)
    made = Path(host.call("VDI.path", sr=target, vdi=copy["uuid"]))
    with made.open("rb") as file:
        file.seek(512 * MIB)
        assert file.read(8) == b"far away"
    assert made.stat().st_size == GIB
    assert made.stat().st_blocks * 512 < 16 * MIB


def test_copy_that_does_not_fit_leaves_nothing(host: StorageHost, sr: str) -> None:
    vdi = host.make_vdi(sr, 400 * GIB)["uuid"]
    host.call("VDI.note_written", sr=sr, vdi=vdi, extents=[(0, 300 * GIB)], simulated=True)
    target = host.make_sr("ext", {"device": "/dev/sdb"})
    assert host.code("VDI.copy", sr=sr, vdi=vdi, dest_sr=target) == "SR_BACKEND_FAILURE_44"
    assert host.vdis(target) == {}


def blocks(host: StorageHost, sr: str, start: str, end: str) -> list[int]:
    text = host.call("VDI.list_changed_blocks", sr=sr, vdi_from=start, vdi_to=end)
    bits = base64.b64decode(text)
    assert len(bits) == GIB // 65536 // 8
    return [i for i in range(len(bits) * 8) if bits[i >> 3] & 0x80 >> (i & 7)]


def test_changed_blocks_between_snapshots(host: StorageHost, sr: str) -> None:
    vdi = written(host, sr)
    host.call("VDI.enable_cbt", sr=sr, vdi=vdi)
    snaps = []
    for number in range(3):
        extents = [(number * 65536 * 10 + 65535, 2)]
        host.call("VDI.note_written", sr=sr, vdi=vdi, extents=extents, simulated=True)
        snaps.append(snapshot(host, sr, vdi)["uuid"])
    assert blocks(host, sr, snaps[0], snaps[1]) == [10, 11]
    assert blocks(host, sr, snaps[0], snaps[2]) == [10, 11, 20, 21]
    assert blocks(host, sr, snaps[0], vdi) == [10, 11, 20, 21]
    host.call("VDI.data_destroy", sr=sr, vdi=snaps[1])
    assert blocks(host, sr, snaps[1], snaps[2]) == [20, 21]
    host.call("VDI.destroy", sr=sr, vdi=snaps[1])
    assert blocks(host, sr, snaps[0], snaps[2]) == [10, 11, 20, 21]


def test_unrelated_disks_have_no_changed_blocks(host: StorageHost, sr: str) -> None:
    first, second = written(host, sr), written(host, sr)
    for pair in ((first, second), (first, first)):
        code = host.code("VDI.list_changed_blocks", sr=sr, vdi_from=pair[0], vdi_to=pair[1])
        assert code == "SR_BACKEND_FAILURE_460"


def test_destroyed_data_cannot_be_attached_or_cloned(host: StorageHost, sr: str) -> None:
    vdi = written(host, sr)
    host.call("VDI.enable_cbt", sr=sr, vdi=vdi)
    made = snapshot(host, sr, vdi)["uuid"]
    assert host.call("VDI.data_destroy", sr=sr, vdi=made)["type"] == "cbt_metadata"
    assert host.code("VDI.clone", sr=sr, vdi=made, vdi_info={}) == "SR_BACKEND_FAILURE_81"
    attach = {"sr": sr, "vdi": made, "dp": "d", "vm": "1", "read_write": False}
    assert host.code("VDI.attach2", **attach) == "SR_BACKEND_FAILURE_46"


def test_raw_disk_has_no_change_log(host: StorageHost, sr: str) -> None:
    vdi = host.make_vdi(sr, sm_config={"type": "raw"})
    assert vdi["sm_config"] == {"type": "raw"}
    assert host.code("VDI.enable_cbt", sr=sr, vdi=vdi["uuid"]) == "SR_BACKEND_FAILURE_66"


def test_caller_sets_its_own_members_only(host: StorageHost, sr: str) -> None:
    vdi = host.make_vdi(sr)["uuid"]
    host.call("VDI.set", sr=sr, vdi=vdi, changes={"sharable": True, "sm_config": {"a": "b"}})
    found = host.call("VDI.stat", sr=sr, vdi=vdi)
    assert (found["sharable"], found["sm_config"]) == (True, {"a": "b", "vdi_type": "vhd"})
    with pytest.raises(ValueError, match="virtual_size"):
        host.call("VDI.set", sr=sr, vdi=vdi, changes={"virtual_size": 1})


def test_unknown_disk_is_named(host: StorageHost, sr: str) -> None:
    for method, more in (("VDI.stat", {}), ("VDI.destroy", {}), ("VDI.resize", {"new_size": 1})):
        assert host.error(method, sr=sr, vdi="none", **more) == ("Vdi_does_not_exist", "none")


def test_changes_are_in_the_feed_when_the_call_answers(host: StorageHost, sr: str) -> None:
    start = host.answer("SR.stat", sr=sr)
    answer = host.answer("VDI.create", sr=sr, vdi_info={"virtual_size": GIB})
    feed = host.answer("UPDATES.get", epoch=start["epoch"], cursor=start["cursor"])
    assert feed["updates"] == [["vdi", sr, answer["result"]["uuid"]], ["sr", sr]]
    assert feed["cursor"] == answer["cursor"]

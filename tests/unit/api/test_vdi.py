"""Disks: made, copied, snapshotted, resized; their records follow the storage."""

import base64
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.unit.api.services import GIB, NFS, NOBODY, NULL, Services, vdi_record
from xapi_py.base.names import new_uuid
from xapi_py.pool.storage_records import expecting
from xapi_py.start import storage


@pytest.fixture
def server(tmp_path: Path) -> Services:
    return Services(tmp_path)


@pytest.fixture
def sr(server: Services) -> str:
    return server.sr("NFS virtual disk storage")


def on_storage(server: Services, sr: str) -> dict[str, Any]:
    answer = server.daemon("SR.scan", sr=server.do("SR.get_uuid", sr))["result"]
    return {vdi["uuid"]: vdi for vdi in answer["vdis"]}


def in_records(server: Services, sr: str) -> set[str]:
    return {server.db.row("VDI", ref).uuid for ref in server.db.row("SR", sr).VDIs}


def test_records_and_storage_stay_in_step(server: Services, sr: str) -> None:
    vdi = server.vdi(sr, other_config={"a": "b"}, tags=["t"])
    record = server.do("VDI.get_record", vdi)
    assert (record["virtual_size"], record["tags"]) == (str(GIB), ["t"])
    assert record["other_config"] == {"a": "b"}
    snapshot = server.do("VDI.snapshot", vdi, {})
    clone = server.do("VDI.clone", vdi, {})
    assert in_records(server, sr) == set(on_storage(server, sr))
    row = server.db.row("VDI", snapshot)
    assert (row.is_a_snapshot, row.snapshot_of) == (True, vdi)
    assert row.snapshot_time == int(server.clock.seconds())
    assert server.do("VDI.get_snapshots", vdi) == [snapshot]
    base = server.db.row("VDI", row.parent)
    assert not base.managed
    assert server.db.row("VDI", vdi).parent == base.ref
    for each in (vdi, snapshot, clone):
        server.do("VDI.destroy", each)
    server.clock.advance(5)
    server.settle()
    assert in_records(server, sr) == set(on_storage(server, sr)) == set()


def test_size_is_rounded_grows_and_never_shrinks(server: Services, sr: str) -> None:
    vdi = server.vdi(sr, 1)
    assert server.do("VDI.get_virtual_size", vdi) == str(2 << 20)
    server.do("VDI.resize", vdi, str(GIB))
    assert server.do("VDI.get_virtual_size", vdi) == str(GIB)
    assert server.refusal("VDI.resize", vdi, "1")[0] == "SR_BACKEND_FAILURE_79"
    assert server.refusal("VDI.resize_online", vdi, str(2 * GIB)) == [
        "SR_OPERATION_NOT_SUPPORTED",
        sr,
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"SR": NULL}, ["HANDLE_INVALID", "SR", NULL]),
        ({"type": "cbt_metadata"}, ["VDI_INCOMPATIBLE_TYPE", "", "cbt_metadata"]),
        ({"virtual_size": "-1"}, ["SR_BACKEND_FAILURE_79"]),
        ({"virtual_size": str(3000 * GIB)}, ["SR_BACKEND_FAILURE_79"]),
        ({"sm_config": {"type": "odd"}}, ["SR_BACKEND_FAILURE_66"]),
    ],
)
def test_disks_that_cannot_be(
    server: Services, sr: str, fields: dict[str, Any], expected: list[str]
) -> None:
    record = vdi_record(**{"SR": sr, "virtual_size": str(GIB), **fields})
    assert server.refusal("VDI.create", record)[: len(expected)] == expected
    assert in_records(server, sr) == set()


def test_a_full_medium_leaves_no_record(server: Services) -> None:
    thick = server.create_sr("lvm", {"device": "/dev/sdb"})
    assert server.refusal("VDI.create", vdi_record(SR=thick, virtual_size=str(300 * GIB)))[0] == (
        "SR_BACKEND_FAILURE_44"
    )
    assert in_records(server, thick) == set()


def test_copies_go_to_other_srs_and_over_disks(server: Services, sr: str) -> None:
    vdi, local = server.vdi(sr, other_config={"a": "b"}), server.sr("Local storage")
    copy = server.do("VDI.copy", vdi, local, NULL, NULL)
    assert server.do("VDI.get_SR", copy) == local
    assert server.do("VDI.get_other_config", copy) == {"a": "b"}
    small = server.vdi(local, GIB // 2)
    assert server.refusal("VDI.copy", vdi, NULL, NULL, small) == [
        "VDI_TOO_SMALL",
        small,
        str(GIB),
    ]
    server.do("VDI.set_read_only", copy, True)
    assert server.refusal("VDI.copy", vdi, NULL, NULL, copy) == ["VDI_READONLY", copy]
    target = server.vdi(local)
    assert server.do("VDI.copy", vdi, NULL, NULL, target) == target
    assert server.refusal("VDI.copy", vdi, NULL, NULL, NULL) == ["HANDLE_INVALID", "SR", NULL]


def test_changed_blocks(server: Services, sr: str) -> None:
    vdi = server.vdi(sr)
    server.do("VDI.enable_cbt", vdi)
    first = server.do("VDI.snapshot", vdi, {})
    uuids = {"sr": server.do("SR.get_uuid", sr), "vdi": server.do("VDI.get_uuid", vdi)}
    server.daemon("VDI.note_written", **uuids, extents=[[0, 65536]], simulated=True)
    second = server.do("VDI.snapshot", vdi, {})
    bits = base64.b64decode(server.do("VDI.list_changed_blocks", first, second))
    assert bits[0] == 0x80
    assert not any(bits[1:])
    server.do("VDI.data_destroy", first)
    assert server.do("VDI.get_type", first) == "cbt_metadata"
    assert server.refusal("VDI.get_nbd_info", first) == [
        "VDI_INCOMPATIBLE_TYPE",
        first,
        "cbt_metadata",
    ]
    other = server.vdi(sr)
    assert server.refusal("VDI.list_changed_blocks", other, vdi)[0] == "SR_BACKEND_FAILURE_460"
    assert server.refusal("VDI.data_destroy", other)[0] == "OPERATION_NOT_ALLOWED"
    server.do("VDI.disable_cbt", vdi)
    assert server.do("VDI.get_cbt_enabled", vdi) is False


def test_reset_on_boot_disks_have_no_snapshots(server: Services, sr: str) -> None:
    vdi = server.vdi(sr)
    server.do("VDI.set_on_boot", vdi, "reset")
    assert server.do("VDI.get_on_boot", vdi) == "reset"
    assert server.refusal("VDI.snapshot", vdi, {}) == [
        "VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"
    ]


def test_names_live_on_storage_too(server: Services, sr: str) -> None:
    vdi = server.vdi(sr)
    server.do("VDI.set_name_label", vdi, "renamed")
    server.do("VDI.set_name_description", vdi, "text")
    stored = on_storage(server, sr)[server.do("VDI.get_uuid", vdi)]
    assert (stored["name_label"], stored["name_description"]) == ("renamed", "text")


def test_a_disk_made_by_somebody_else_comes_by_itself(server: Services, sr: str) -> None:
    uuid = server.do("SR.get_uuid", sr)
    made = server.daemon("VDI.create", sr=uuid, vdi_info={"virtual_size": GIB})["result"]
    server.settle()
    assert in_records(server, sr) == {made["uuid"]}
    server.daemon("VDI.destroy", sr=uuid, vdi=made["uuid"])
    server.settle()
    assert in_records(server, sr) == set()


def test_a_scan_that_changes_nothing_writes_nothing(server: Services, sr: str) -> None:
    for _ in range(3):
        server.vdi(sr)
    generation = server.db.generation
    server.do("SR.scan", sr)
    touched = server.db.changes("VDI", generation)
    assert not touched.added
    assert not touched.modified
    assert not touched.deleted


def test_scans_wait_for_disks_being_made(server: Services, sr: str) -> None:
    server.daemon("DEBUG.inject_fault", method="VDI.create", kind="hang", count=1)
    making = server.send("VDI.create", server.session, vdi_record(SR=sr, virtual_size="1"))
    assert isinstance(making, Deferred)
    making.addErrback(lambda failure: None)
    server.settle()
    started = server.clock.seconds()
    assert server.refusal("SR.scan", sr)[0] == "OTHER_OPERATION_IN_PROGRESS"
    assert server.clock.seconds() - started >= 20


def test_a_daemon_that_starts_again_is_in_step_again(server: Services, sr: str) -> None:
    kept = server.do("VDI.get_uuid", server.vdi(sr))
    server.begin_smd()
    made = server.daemon(
        "VDI.create", sr=server.do("SR.get_uuid", sr), vdi_info={"virtual_size": GIB}
    )["result"]
    server.clock.advance(31)
    server.settle()
    assert in_records(server, sr) == {kept, made["uuid"]}
    server.vdi(sr)


def test_without_a_daemon_calls_fail_and_work_again(server: Services, sr: str) -> None:
    server.smd.reachable = False
    code, _, reason, _ = server.refusal("VDI.create", vdi_record(SR=sr, virtual_size="1"))
    assert code == "SR_BACKEND_FAILURE"
    assert "storage daemon" in reason
    server.smd.reachable = True
    server.clock.advance(3)
    server.vdi(sr)


def test_forgotten_disks_come_back_with_the_next_scan(server: Services, sr: str) -> None:
    vdi = server.vdi(sr)
    uuid = server.do("VDI.get_uuid", vdi)
    server.do("VDI.forget", vdi)
    assert in_records(server, sr) == set()
    server.do("SR.scan", sr)
    assert in_records(server, sr) == {uuid}


def test_what_an_operation_leaves_out_says_so(server: Services, sr: str) -> None:
    iso = server.db.row("SR", server.sr("NFS ISO library"))
    disc = next(iter(iso.VDIs))
    assert server.refusal("VDI.snapshot", disc, {}) == ["SR_OPERATION_NOT_SUPPORTED", iso.ref]
    vdi = server.vdi(sr)
    assert server.refusal("VDI.force_unlock", vdi) == ["MESSAGE_DEPRECATED"]
    assert server.refusal("VDI.open_database", vdi) == ["VDI_INCOMPATIBLE_TYPE", vdi, "user"]
    assert server.refusal("VDI.pool_migrate", vdi, sr, {}) == ["VDI_NEEDS_VM_FOR_MIGRATE", vdi]
    assert server.refusal("VDI.destroy", NOBODY) == ["HANDLE_INVALID", "VDI", NOBODY]
    given = ("u", "", "", sr, "user", False, False, {}, "loc", {}, {})
    assert server.refusal("VDI.introduce", *given) == ["SR_OPERATION_NOT_SUPPORTED", sr]


def test_nbd_addresses_are_those_of_networks_with_the_purpose(server: Services, sr: str) -> None:
    vdi = server.vdi(sr)
    assert server.do("VDI.get_nbd_info", vdi) == []
    pif = server.db.row("PIF", server.pif("eth0"))
    server.do("network.add_purpose", pif.network, "nbd")
    (info,) = server.do("VDI.get_nbd_info", vdi)
    assert info["address"] == server.toolstack.settings.address  # its cards are made up
    assert server.do("VDI.get_uuid", vdi) in info["exportname"]


def test_an_unplugged_sr_has_no_operations(server: Services) -> None:
    sr = server.create_sr("nfs", NFS, shared=True)
    vdi = server.vdi(sr)
    server.do("PBD.unplug", server.do("SR.get_PBDs", sr)[0])
    for call in (("VDI.snapshot", vdi, {}), ("VDI.destroy", vdi), ("VDI.resize", vdi, "1")):
        assert server.refusal(*call) == ["SR_HAS_NO_PBDS", sr]


def test_a_disk_whose_maker_died_before_its_record_is_adopted_at_the_next_start(
    server: Services, sr: str
) -> None:
    uuid = new_uuid()
    info = {"uuid": uuid, "name_label": "half made", "virtual_size": GIB}
    with expecting(uuid):
        server.daemon("VDI.create", sr=server.db.row("SR", sr).uuid, vdi_info=info)
        server.storage_updates.stop()
    assert uuid not in in_records(server, sr)
    server.storage_updates = server.wait(storage.follow(server.toolstack))
    assert uuid in in_records(server, sr) == set(on_storage(server, sr))
    server.do("VDI.destroy", server.db.by_uuid("VDI", uuid))
    assert uuid not in on_storage(server, sr)

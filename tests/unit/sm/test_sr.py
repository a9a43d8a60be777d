from pathlib import Path

import pytest

from sm.config import DriveConfig
from tests.unit.sm.storage_host import GIB, MIB, NFS, StorageHost
from xapi_py.base.names import new_uuid


@pytest.fixture
def host(tmp_path: Path) -> StorageHost:
    return StorageHost(tmp_path)


LVM = {"device": "/dev/sdb"}


def test_lvm_disk_uses_its_size_and_room_for_tables(host: StorageHost) -> None:
    sr = host.make_sr("lvm", LVM)
    vdi = host.make_vdi(sr, 8 * GIB)
    assert vdi["physical_utilisation"] == 8615100416  # as on a real host
    stat = host.call("SR.stat", sr=sr)
    assert stat["physical_utilisation"] == 8615100416
    assert (stat["virtual_allocation"], stat["physical_size"]) == (8 * GIB, 200 * GIB)


def test_full_medium_gives_44_and_takes_nothing(host: StorageHost) -> None:
    sr = host.make_sr("lvm", LVM)
    host.make_vdi(sr, 150 * GIB)
    before = host.call("SR.stat", sr=sr)
    info = {"virtual_size": 60 * GIB}
    assert host.code("VDI.create", sr=sr, vdi_info=info) == "SR_BACKEND_FAILURE_44"
    assert host.call("SR.stat", sr=sr) == before


def test_thin_disk_fills_by_writing(host: StorageHost) -> None:
    sr = host.make_sr("ext", LVM)
    vdi = host.make_vdi(sr, 500 * GIB)["uuid"]
    write = {"sr": sr, "vdi": vdi, "simulated": True}
    host.call("VDI.note_written", **write, extents=[[0, 100 * GIB]])
    assert host.vdis(sr)[vdi]["physical_utilisation"] > 100 * GIB
    full = host.code("VDI.note_written", **write, extents=[[100 * GIB, 150 * GIB]])
    assert full == "SR_BACKEND_FAILURE_44"


def test_srs_of_one_export_share_its_space(host: StorageHost) -> None:
    first, second = host.make_sr(), host.make_sr()
    vdi = host.make_vdi(first)["uuid"]
    host.call("VDI.note_written", sr=first, vdi=vdi, extents=[[0, 5 * MIB]], simulated=True)
    assert host.call("SR.stat", sr=second)["physical_utilisation"] > 5 * MIB
    assert host.vdis(second) == {}


def test_lun_with_an_attached_sr_is_in_use(host: StorageHost) -> None:
    host.make_sr("lvm", LVM)
    error = host.error("SR.create", sr=new_uuid(), type="ext", device_config=LVM)
    assert error == ("Storage_backend_error", "SR_DEVICE_IN_USE")


def test_creating_formats_a_disk_whose_sr_is_detached(host: StorageHost) -> None:
    old = host.make_sr("lvm", LVM)
    host.call("SR.detach", sr=old)
    host.make_sr("ext", LVM)
    attach = {"sr": old, "type": "lvm", "device_config": LVM}
    assert host.code("SR.attach", **attach) == "SR_BACKEND_FAILURE_47"


def test_sr_is_found_again_by_another_host(tmp_path: Path) -> None:
    first, second = StorageHost(tmp_path), StorageHost(tmp_path, host="host-2")
    sr = first.make_sr()
    vdi = first.make_vdi(sr)
    second.call("SR.attach", sr=sr, type="nfs", device_config=NFS)
    assert second.vdis(sr) == {vdi["uuid"]: vdi}


def test_local_disks_are_each_hosts_own(tmp_path: Path) -> None:
    first, second = StorageHost(tmp_path), StorageHost(tmp_path, host="host-2")
    first.make_sr("lvm", LVM)
    second.make_sr("lvm", LVM)
    assert len(second.call("SR.list")) == 1


def test_destroy_refuses_while_disks_are_there(host: StorageHost) -> None:
    sr = host.make_sr()
    vdi = host.make_vdi(sr)["uuid"]
    assert host.code("SR.destroy", sr=sr) == "SR_NOT_EMPTY"
    host.call("VDI.destroy", sr=sr, vdi=vdi)
    host.call("SR.destroy", sr=sr)
    assert host.error("SR.stat", sr=sr) == ("Sr_not_attached", sr)
    assert sr not in host.call("SR.probe", type="nfs", device_config=NFS)


def test_detach_refuses_while_a_disk_is_held(host: StorageHost) -> None:
    sr = host.make_sr()
    key = {"sr": sr, "vdi": host.make_vdi(sr)["uuid"], "dp": "a"}
    host.call("VDI.attach2", **key, vm="1", read_write=False)
    assert host.code("SR.detach", sr=sr) == "VDI_IN_USE"
    host.call("VDI.detach", **key)
    host.call("SR.detach", sr=sr)


def test_operations_need_an_attached_sr(host: StorageHost) -> None:
    assert host.error("SR.scan", sr="none") == ("Sr_not_attached", "none")


def test_scan_tells_when_nothing_changed(host: StorageHost) -> None:
    sr = host.make_sr()
    host.make_vdi(sr)
    generation = host.call("SR.scan", sr=sr)["sr"]["generation"]
    assert host.call("SR.scan", sr=sr, generation=generation)["vdis"] is None
    host.make_vdi(sr)
    assert len(host.call("SR.scan", sr=sr, generation=generation)["vdis"]) == 2


def test_iso_library_offers_its_images(host: StorageHost) -> None:
    sr = host.make_sr("iso", {"location": "192.0.2.20:/export/iso", "type": "nfs_iso"})
    found = {v["name_label"]: v for v in host.vdis(sr).values()}
    assert sorted(found) == ["debian-12.iso", "rescue.iso"]
    assert found["rescue.iso"]["read_only"] and found["rescue.iso"]["location"] == "rescue.iso"


def test_tools_library_has_the_same_uuids_on_all_hosts(tmp_path: Path) -> None:
    config = {"location": "/opt/xensource/packages/iso", "legacy_mode": "true"}
    hosts = [StorageHost(tmp_path, host=name) for name in ("host-1", "host-2")]
    sr = hosts[0].make_sr("iso", config)
    hosts[1].call("SR.attach", sr=sr, type="iso", device_config=config)
    assert hosts[0].vdis(sr) == hosts[1].vdis(sr)
    (tools,) = hosts[0].vdis(sr).values()
    assert tools["sm_config"]["xs-tools"] == "true"


def test_drive_without_disc_cannot_be_attached(host: StorageHost) -> None:
    sr = host.make_sr("udev", {"location": "/dev/xapi/cd"})
    (vdi,) = host.vdis(sr)
    attach = {"sr": sr, "vdi": vdi, "dp": "d", "vm": "1", "read_write": False}
    assert host.code("VDI.attach2", **attach) == "SR_BACKEND_FAILURE_46"
    host.answer("DEBUG.set_disc", device="/dev/sr0", name="disc", size_bytes=MIB)
    assert host.vdis(sr)[vdi]["virtual_size"] == MIB
    path = host.call("VDI.attach2", **attach)["implementations"][1]
    assert path == ["BlockDevice", {"path": "/dev/sr0"}]


def test_removable_disks_are_another_kind_of_drive(tmp_path: Path) -> None:
    host = StorageHost(tmp_path, drives=(DriveConfig("/dev/sdu", "block", "stick", GIB),))
    sr = host.make_sr("udev", {"location": "/dev/xapi/block"})
    (vdi,) = host.vdis(sr).values()
    assert (vdi["location"], vdi["read_only"]) == ("/dev/sdu", False)


def test_each_lun_is_a_disk(host: StorageHost) -> None:
    config = {"target": "192.0.2.10", "targetIQN": "iqn.2026-01.org.example:storage.open"}
    sr = host.make_sr("iscsi", config)
    assert sorted(v["sm_config"]["LUNid"] for v in host.vdis(sr).values()) == ["0", "1"]
    info = {"virtual_size": GIB}
    assert host.code("VDI.create", sr=sr, vdi_info=info) == "SR_BACKEND_FAILURE_44"


def test_names_are_kept_on_the_medium(host: StorageHost) -> None:
    sr = host.make_sr("lvm", LVM, name_label="first")
    host.call("SR.set_name_label", sr=sr, name_label="second")
    host.call("SR.set_name_description", sr=sr, name_description="text")
    stat = host.call("SR.stat", sr=sr)
    assert (stat["name_label"], stat["name_description"]) == ("second", "text")


def test_injected_errors_and_their_end(host: StorageHost) -> None:
    sr = host.make_sr()
    host.answer("DEBUG.inject_fault", method="SR.scan", skip=1, match={"sr": sr})
    host.call("SR.scan", sr=sr)
    assert host.code("SR.scan", sr=sr) == "SR_BACKEND_FAILURE_200"
    host.call("SR.scan", sr=sr)


def test_misspelt_fault_is_refused(host: StorageHost) -> None:
    with pytest.raises(TypeError, match="unknown member"):
        host.answer("DEBUG.inject_fault", methode="SR.scan")

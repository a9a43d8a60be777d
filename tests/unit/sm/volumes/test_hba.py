"""SRs on LUNs of host bus adapters: probe documents, devices, paths."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from sm.block import scsi
from tests.unit.sm.files.file_host import FileHost, code, needs_qemu, wait
from tests.unit.sm.volumes.fake_san import MIB, FakeSan
from tests.unit.sm.volumes.volume_host import VolumeHost
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.errors import RpcError

NAA = "600a0980383030{:018}"
PORT = {"node_name": "0x2000", "port_name": "0x2100", "port_state": "Online", "speed": "8 Gbit"}


@pytest.fixture
def san(tmp_path: Path) -> FakeSan:
    san = FakeSan(tmp_path)
    san.adapter(0, "ahci")
    san.adapter(3, "qla2xxx", **PORT)
    san.adapter(4, "qla2xxx", **{**PORT, "port_name": "0x2101"})
    san.adapter(5, "fcoe", **PORT, symbolic_name="fcoe v0.1 over eth2")
    san.disk("sda", "0:0:0:0", NAA.format(99), 8000 * MIB)
    san.disk("sdb", "3:0:0:1", NAA.format(1), 4000 * MIB)
    san.disk("sdc", "4:0:0:1", NAA.format(1), 4000 * MIB)
    san.disk("sdd", "3:0:0:2", NAA.format(2), 2000 * MIB)
    san.disk("sde", "5:0:0:7", NAA.format(3), 1000 * MIB)
    return san


@pytest.fixture
def host(tmp_path: Path, san: FakeSan) -> Iterator[VolumeHost]:
    host = VolumeHost(tmp_path, "lvmohba", lvm=san)
    host.config = {"SCSIid": f"3{NAA.format(1)}"}
    yield host


def probe(host: FileHost, config: dict[str, str]) -> etree._Element:
    with pytest.raises(RpcError) as problem:
        wait(host.driver.probe(config, {}))
    assert problem.value.params[0] == "SR_BACKEND_FAILURE_107"
    return etree.fromstring(str(problem.value.params[-1]).encode())


def texts(document: etree._Element, path: str) -> list[str]:
    return [e.text or "" for e in document.findall(path)]


def test_probe_lists_free_disks_and_adapters(host: VolumeHost, san: FakeSan) -> None:
    found = probe(host, {})
    dev = san.dev
    assert texts(found, "BlockDevice/path") == [f"{dev}/sdb [sdc]", f"{dev}/sdd"]
    assert texts(found, "BlockDevice/numpaths") == ["2", "1"]
    assert texts(found, "BlockDevice/SCSIid") == [f"3{NAA.format(n)}" for n in (1, 2)]
    assert texts(found, "BlockDevice/adapter") == ["3", "3"]
    assert texts(found, "BlockDevice/lun") == ["1", "2"]
    assert texts(found, "BlockDevice/hba") == ["qla2xxx"] * 2
    assert texts(found, "BlockDevice/size") == [str(n * MIB) for n in (4000, 2000)]
    assert texts(found, "Adapter/host") == ["host3", "host4"]
    assert texts(found, "Adapter/fc_host/port_name") == ["0x2100", "0x2101"]
    assert (san.sys / "class/scsi_host/host3/scan").read_text() == "- - -"
    assert not (san.sys / "class/scsi_host/host0/scan").exists()


def test_disks_in_use_are_left_out(host: VolumeHost, san: FakeSan) -> None:
    dm = san.sys / "block" / "dm-0"
    (dm / "dm").mkdir(parents=True)
    (dm / "dm" / "uuid").write_text("LVM-x\n")
    (san.sys / "block" / "sdb" / "holders" / "dm-0").symlink_to(dm)
    san.mounted_at[f"{san.dev}/sdd"] = "/\n"
    assert texts(probe(host, {"SCSIid": "none"}), "BlockDevice/path") == []


def test_fcoe_lists_its_own_disks_with_their_nic(tmp_path: Path, san: FakeSan) -> None:
    found = probe(VolumeHost(tmp_path, "lvmofcoe", lvm=san), {})
    assert texts(found, "BlockDevice/eth") == ["eth2"]
    assert texts(found, "BlockDevice/SCSIid") == [f"3{NAA.format(3)}"]
    assert texts(found, "Adapter/host") == ["host5"]


@needs_qemu
@pytest.mark.parametrize("multipath", [False, True])
def test_sr_on_a_disk_of_an_adapter(host: VolumeHost, san: FakeSan, multipath: bool) -> None:
    host.config |= {"multipathing": "true"} if multipath else {}
    host.start()
    assert host.stored[1]["devserial"] == f"scsi-3{NAA.format(1)}"
    vdi = host.make(8 * MIB).uuid
    (seen,) = {c[2].split('"')[1] for c in san.commands if c[0] == "lvcreate"}
    assert seen.endswith(f"mapper/3{NAA.format(1)}$|" if multipath else "sdb$|")
    found = wait(host.driver.probe(host.config, {"metadata": "true"}))
    assert host.sr_uuid in found and "<name_label>name</name_label>" in found
    wait(host.sr.detach())
    assert not list((san.sys / "block").glob("dm-*"))
    host.attach()
    assert set(host.vdis()) == {vdi}
    wait(host.sr.detach())


def test_path_that_does_not_work_is_not_chosen(host: VolumeHost, san: FakeSan) -> None:
    (san.sys / "block" / "sdb" / "device" / "state").write_text("offline\n")
    host.start()
    (seen,) = {c[2].split('"')[1] for c in san.commands if c[0] == "vgcreate"}
    assert seen.endswith("sdc$|")
    wait(host.sr.detach())


def test_disk_that_is_gone_is_107(host: VolumeHost, san: FakeSan) -> None:
    host.start()
    wait(host.sr.detach())
    san.remove_disk("sdb")
    host.attach()
    wait(host.sr.detach())
    san.remove_disk("sdc")
    attach = host.driver.attach(host.sr_uuid, host.config, {})
    assert code(attach) == "SR_BACKEND_FAILURE_107"


def test_rawhba_offers_each_disk(tmp_path: Path, san: FakeSan) -> None:
    host = FileHost(tmp_path, "rawhba", system=san)
    config = {"type": "FC"}
    wait(host.driver.create(host.sr_uuid, config, {}, "", "", 0))
    assert len(etree.fromstring(wait(host.driver.probe(config, {})).encode())) == 4
    host.attach(config)
    found = {v.location: v for v in host.vdis().values()}
    assert set(found) == {f"3{NAA.format(n)}" for n in (1, 2)}
    disk = found[f"3{NAA.format(2)}"]
    assert disk.virtual_size == 2000 * MIB and disk.sm_config["LUNid"] == "2"
    backend = wait(host.sr.vdi_attach(disk.uuid, True))
    assert (backend.backend_type, backend.path) == ("vbd3", f"{san.dev}/sdd")
    wait(host.sr.detach())
    again = FileHost(tmp_path, "rawhba", system=san)
    again.attach(config, host.sr_uuid)
    assert set(again.vdis()) == {v.uuid for v in found.values()}
    bad = host.driver.create(new_uuid(), {"type": "tape"}, {}, "", "", 0)
    assert code(bad) == "SR_BACKEND_FAILURE_202"


STANDARD = b"\0" * 8 + b"VENDOR  " + b"MODEL           " + b"1.00"


@pytest.mark.parametrize(
    "designators, expected",
    [
        ([(1, 3, "600a09803830304f"), (1, 3, "50014ee0")], "3600a09803830304f"),
        ([(1, 3, "50014ee0aabbccdd"), (2, 1, b"ATA  x".hex())], "350014ee0aabbccdd"),
        ([(1, 2, "0011223344556677")], "20011223344556677"),
        ([(2, 1, b"QEMU    QEMU HARDDISK   1".hex())], "1QEMU_QEMU_HARDDISK_1"),
        ([(2, 0, b"abc".hex())], "0VENDOR_MODEL_abc"),
        ([(1, 0x13, "600a09803830304f")], "SVENDOR_MODEL_sn_1"),
        ([], "SVENDOR_MODEL_sn_1"),
    ],
)
def test_scsi_id_is_that_of_udev(designators: list[tuple[int, int, str]], expected: str) -> None:
    page = b""
    for coding, kind, name in designators:
        page += bytes([coding, kind, 0, len(name) // 2]) + bytes.fromhex(name)
    page83 = b"\0\x83" + len(page).to_bytes(2, "big") + page
    page80 = b"\0\x80\0\x05sn  1"
    assert scsi.scsi_id(page83, page80, STANDARD) == expected


def test_luns_above_255_and_of_unknown_addressing() -> None:
    entries = bytes([0, 5]) + bytes(6), bytes([0x41, 0x2C]) + bytes(6), b"\xc1" + bytes(7)
    data = (24).to_bytes(4, "big") + bytes(4) + b"".join(entries)
    assert scsi.lun_ids(data) == [5, 300]
    assert scsi.lun_ids(b"") == [] and scsi.scsi_id(b"", b"", b"") == ""

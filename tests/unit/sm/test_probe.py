"""What each SR type answers to a device_config: failures, probes, the iSCSI dance."""

from pathlib import Path

import pytest
from lxml import etree

from tests.unit.sm.storage_host import CHAP_IQN, ISCSI, NFS, OPEN_IQN, StorageHost
from xapi_py.base.names import new_uuid


@pytest.fixture
def host(tmp_path: Path) -> StorageHost:
    return StorageHost(tmp_path)


def create_error(host: StorageHost, sr_type: str, config: dict[str, str]) -> tuple[object, ...]:
    return host.error("SR.create", sr=new_uuid(), type=sr_type, device_config=config)


def texts(document: object, path: str) -> list[str]:
    assert isinstance(document, str)
    return [e.text or "" for e in etree.fromstring(document.encode()).findall(path)]


def test_iscsi_dance_lists_targets_then_luns_then_makes_the_sr(host: StorageHost) -> None:
    name, code, first, _, document = create_error(host, "lvmoiscsi", ISCSI)
    assert (name, code, first) == ("Storage_backend_error", "SR_BACKEND_FAILURE_96", "")
    assert texts(document, "TGT/TargetIQN") == [OPEN_IQN, OPEN_IQN, CHAP_IQN, "*"]
    assert texts(document, "TGT/Index") == ["0", "1", "2", "3"]
    config = {**ISCSI, "targetIQN": OPEN_IQN}
    _, code, _, _, document = create_error(host, "lvmoiscsi", config)
    assert code == "SR_BACKEND_FAILURE_107"
    assert texts(document, "LUN/LUNid") == ["0", "1"]
    config["SCSIid"] = texts(document, "LUN/SCSIid")[1]
    found = host.call("SR.probe", type="lvmoiscsi", device_config=config)
    assert texts(found, "SR") == []
    sr = host.make_sr("lvmoiscsi", config, name_label="shared")
    found = host.call("SR.probe", type="lvmoiscsi", device_config=config)
    assert texts(found, "SR/UUID") == [sr]
    assert texts(found, "SR/size") == texts(document, "LUN/size")[1:]


def test_dance_leaves_nothing_behind(host: StorageHost) -> None:
    create_error(host, "lvmoiscsi", ISCSI)
    create_error(host, "lvmoiscsi", {**ISCSI, "targetIQN": OPEN_IQN})
    assert host.call("SR.list") == []
    assert not list(Path(host.settings.array.folder).glob("**/*.sqlite"))


def test_portal_with_another_port_is_listed_with_it(host: StorageHost, tmp_path: Path) -> None:
    target = host.settings.array.iscsi_targets[0]
    moved = type(target)(target.iqn, ("192.0.2.10:3270",), target.luns)
    host = StorageHost(tmp_path / "b", iscsi_targets=(moved,))
    *_, document = create_error(host, "lvmoiscsi", {"target": "192.0.2.10", "port": "3270"})
    assert texts(document, "TGT/Port") == ["3270"]


@pytest.mark.parametrize(
    "change, number",
    [
        ({"target": ""}, 95),
        ({"port": "many"}, 142),
        ({"port": "70000"}, 142),
        ({"port": "3261"}, 141),
        ({"target": "198.51.100.1"}, 141),
        ({"target": "nosuch.example"}, 140),
        ({"targetIQN": "iqn.2000-01.none:x"}, 96),
        ({"targetIQN": CHAP_IQN}, 68),
        ({"targetIQN": CHAP_IQN, "chapuser": "alice", "chappassword": "wrong"}, 68),
        ({"targetIQN": CHAP_IQN, "chapuser": "alice", "chappassword": "secretsecret12"}, 107),
        ({"targetIQN": OPEN_IQN, "SCSIid": "none"}, 107),
        ({"targetIQN": "*"}, 68),
    ],
)
def test_iscsi_failures(host: StorageHost, change: dict[str, str], number: int) -> None:
    code = create_error(host, "lvmoiscsi", {**ISCSI, **change})[1]
    assert code == f"SR_BACKEND_FAILURE_{number}"


def test_target_that_goes_down_is_unreachable(host: StorageHost) -> None:
    host.answer("DEBUG.set_server", address="192.0.2.10", down=True)
    assert create_error(host, "lvmoiscsi", ISCSI)[1] == "SR_BACKEND_FAILURE_141"


@pytest.mark.parametrize(
    "sr_type, config, number",
    [
        ("nfs", {}, 102),
        ("nfs", {"server": "192.0.2.20"}, 101),
        ("nfs", {**NFS, "server": "nosuch.example"}, 140),
        ("nfs", {**NFS, "server": "198.51.100.1"}, 108),
        ("nfs", {**NFS, "serverpath": "/wrong"}, 73),
        ("nfs", {**NFS, "nfsversion": "5"}, 72),
        ("smb", {}, 102),
        ("smb", {"server": "\\\\192.0.2.30\\vms"}, 111),
        ("smb", {"server": "//192.0.2.30/nosuch"}, 111),
        ("smb", {"server": "//192.0.2.30/vms", "username": "alice", "password": "bad"}, 111),
        ("ext", {}, 90),
        ("ext", {"device": "/dev/sdz"}, 91),
        ("lvm", {"device": "/dev/sda"}, 105),
        ("file", {}, 94),
        ("lvmohba", {"SCSIid": "none"}, 107),
        ("iso", {}, 220),
        ("iso", {"location": "just-text"}, 225),
        ("iso", {"location": "nosuch.example:/x"}, 140),
        ("iso", {"location": "192.0.2.20:/wrong"}, 222),
        ("iso", {"location": "//192.0.2.30/nosuch", "type": "cifs"}, 222),
        ("iso", {"location": "/nowhere", "legacy_mode": "true"}, 226),
        ("udev", {}, 94),
    ],
)
def test_create_failures(
    host: StorageHost, sr_type: str, config: dict[str, str], number: int
) -> None:
    assert create_error(host, sr_type, config)[1] == f"SR_BACKEND_FAILURE_{number}"


def test_smb_without_licence(tmp_path: Path) -> None:
    host = StorageHost(tmp_path, smb_licensed=False)
    config = {"server": "//192.0.2.30/vms", "username": "alice", "password": "secret"}
    assert create_error(host, "smb", config)[1] == "SR_BACKEND_FAILURE_454"


def test_nfs_probe_without_path_lists_the_exports(host: StorageHost) -> None:
    config = {"server": "192.0.2.20"}
    *_, text, document = host.error("SR.probe", type="nfs", device_config=config)
    assert text == "The request is missing the serverpath parameter"
    assert texts(document, "Export/Path") == ["/export/vms", "/export/iso"]
    assert texts(document, "Export/Target") == ["192.0.2.20"] * 2


def test_nfs_probe_lists_srs_and_versions_when_asked(host: StorageHost) -> None:
    sr = host.make_sr()
    document = host.call("SR.probe", type="nfs", device_config={**NFS, "probeversion": ""})
    assert texts(document, "SR/UUID") == [sr]
    assert texts(document, "SupportedVersions/Version") == ["3", "4"]
    document = host.call("SR.probe", type="nfs", device_config=NFS)
    assert texts(document, "SupportedVersions") == []


def test_smb_probe_lists_srs(host: StorageHost) -> None:
    config = {"server": "\\\\192.0.2.30\\vms", "username": "X\\alice", "password": "secret"}
    sr = host.make_sr("smb", config)
    document = host.call("SR.probe", type="smb", device_config=config)
    assert texts(document, "SR/UUID") == [sr]


@pytest.mark.parametrize("sr_type, eth", [("lvmohba", []), ("lvmofcoe", ["eth2"])])
def test_adapter_probe_lists_devices_that_are_free(
    host: StorageHost, sr_type: str, eth: list[str]
) -> None:
    _, code, _, _, document = host.error("SR.probe", type=sr_type, device_config={})
    assert code == "SR_BACKEND_FAILURE_107"
    assert texts(document, "BlockDevice/eth") == eth
    ids = texts(document, "BlockDevice/SCSIid")
    assert len(texts(document, "Adapter/fc_host/port_name")) == 1
    host.make_sr(sr_type, {"SCSIid": ids[0]})
    *_, document = host.error("SR.probe", type=sr_type, device_config={})
    assert texts(document, "BlockDevice/SCSIid") == ids[1:]


@pytest.mark.parametrize("sr_type", ["lvm", "ext"])
def test_local_probe_finds_its_own_kind_with_metadata(host: StorageHost, sr_type: str) -> None:
    config = {"device": "/dev/sdb,/dev/sdc"}
    sr = host.make_sr(sr_type, config, name_label="two & disks")
    probe = {"type": sr_type, "device_config": config, "sm_config": {"metadata": "true"}}
    document = host.call("SR.probe", **probe)
    assert texts(document, "SR/UUID") == [sr]
    assert texts(document, "SR/name_label") == ["two & disks"]
    assert texts(document, "SR/pool_metadata_detected") == ["false"]


@pytest.mark.parametrize("sr_type", ["iso", "udev", "shm"])
def test_types_without_probe_say_so(host: StorageHost, sr_type: str) -> None:
    error = host.error("SR.probe", type=sr_type, device_config={"location": "x"})
    text = "Operation 'sr_probe' not supported by this SR type"
    assert error[1:3] == ("SR_BACKEND_FAILURE", text)


def test_probe_ext_is_not_for_these_types(host: StorageHost) -> None:
    error = host.error("SR.probe_ext", type="nfs", device_config=NFS)
    assert error == ("Storage_backend_error", "SR_OPERATION_NOT_SUPPORTED")


def test_unknown_type_is_named(host: StorageHost) -> None:
    error = host.error("SR.probe", type="gfs2", device_config={})
    assert error == ("No_storage_plugin_for_type", "gfs2")

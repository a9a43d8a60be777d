"""The storage tab's journeys: scanning, making, detaching and attaching again."""

import html
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
import XenAPI

from tests.integration.journey import GIB, NULL, User, Watcher, destroy_vm, user, watching

pytestmark = pytest.mark.integration

NFS = {"server": "192.0.2.20", "serverpath": "/export/vms"}
OPEN = "iqn.2026-01.org.example:storage.open"
CHAP = "iqn.2026-01.org.example:storage.chap"


@pytest.fixture
def me(server):
    with user(server.host(), "https") as client:
        yield client


@pytest.fixture(autouse=True)
def as_it_was(me: User) -> Iterator[None]:
    """Keep the pool's default repositories."""
    fields = ("default_SR", "suspend_image_SR", "crash_dump_SR")
    before = {name: me(f"pool.get_{name}", me.pool()) for name in fields}
    yield
    for name, sr in before.items():
        me(f"pool.set_{name}", me.pool(), sr)


@pytest.fixture
def watcher(me: User, server):
    with watching(server.host(), "https") as second:
        yield second


def probe(me: User, config: dict[str, str], driver: str) -> ET.Element:
    """Probe as the client does: the task's text must have a newline."""
    result = me.task("SR.probe", me.host(), config, driver, {})
    assert result.startswith("<value>")
    assert result.endswith("</value>")
    assert "\n" in result
    return ET.fromstring(html.unescape(result.removeprefix("<value>").removesuffix("</value>")))


def make(me: User, config: dict[str, str], driver: str, content: str = "", **sm: str) -> str:
    """Make a shared repository and check that every host has it."""
    sr: str = me(
        "SR.create", me.host(), config, me.int(0), f"new {driver}", "", driver, content, True, sm
    )
    pbds = me("SR.get_PBDs", sr)
    assert [me("PBD.get_host", pbd) for pbd in pbds] == [me.host()]
    assert all(me("PBD.get_currently_attached", pbd) for pbd in pbds)
    me("SR.set_other_config", sr, {"auto-scan": "true" if content == "iso" else "false"})
    return sr


def detach(me: User, sr: str) -> None:
    for pbd in me("SR.get_PBDs", sr):
        me.task("PBD.unplug", pbd)


def failure(me: User, *call: object) -> list[str]:
    with pytest.raises(XenAPI.Failure) as refused:
        me.task(*call)
    details: list[str] = refused.value.details
    return details


def test_nfs_is_probed_made_forgotten_and_attached_again(me: User, watcher: Watcher):
    before = {e.findtext("UUID") for e in probe(me, NFS, "nfs").findall("SR")}
    sr = make(me, NFS, "nfs")
    record = watcher.until_same(me, "SR", sr)
    assert (record["type"], record["shared"]) == ("nfs", True)
    assert int(record["physical_size"]) > 0
    assert {"vdi_create", "scan"} <= set(record["allowed_operations"])
    for setter in ("default_SR", "suspend_image_SR", "crash_dump_SR"):
        me(f"pool.set_{setter}", me.pool(), sr)
    disk = me.task("VDI.create", a_disk(me, sr))
    kept = me("VDI.get_uuid", disk)

    detach(me, sr)
    assert "forget" in watcher.until_same(me, "SR", sr)["allowed_operations"]
    me.task("SR.forget", sr)
    watcher.until_gone("SR", sr)
    found = {e.findtext("UUID") for e in probe(me, NFS, "nfs").findall("SR")}
    assert found == before | {record["uuid"]}

    again = me.task("SR.introduce", record["uuid"], "back", "", "nfs", "", True, {})
    pbd = me.task("PBD.create", {"SR": again, "host": me.host(), "device_config": NFS})
    me.task("PBD.plug", pbd)
    me("SR.scan", again)
    assert [me("VDI.get_uuid", v) for v in me("SR.get_VDIs", again)] == [kept]
    me("VDI.destroy", me("SR.get_VDIs", again)[0])
    assert me("pool.get_default_SR", me.pool()) == NULL
    destroy_sr(me, again)
    watcher.until_gone("SR", again)


def destroy_sr(me: User, sr: str) -> None:
    """Destroy as the client does: detached everywhere but the records stay."""
    detach(me, sr)
    me.task("SR.destroy", sr)


def a_disk(me: User, sr: str) -> dict[str, object]:
    return {
        "name_label": "disk",
        "name_description": "",
        "SR": sr,
        "virtual_size": me.int(GIB),
        "type": "user",
        "sharable": False,
        "read_only": False,
        "other_config": {},
    }


def test_iscsi_targets_and_luns_are_found_step_by_step(me: User, watcher: Watcher):
    where = {"target": "192.0.2.10", "port": "3260"}
    code, _, _, found = scan(me, where)
    assert code == "SR_BACKEND_FAILURE_96"
    targets = {t.findtext("TargetIQN"): t for t in ET.fromstring(found).findall("TGT")}
    assert {OPEN, CHAP} <= set(targets)
    for target in targets.values():
        assert target.findtext("IPAddress")
        assert int(target.findtext("Index") or "") >= 0
        assert int(target.findtext("Port") or "3260") == 3260
    code, _, _, found = scan(me, {**where, "targetIQN": OPEN})
    assert code == "SR_BACKEND_FAILURE_107"
    luns = ET.fromstring(found).findall("LUN")
    assert luns
    for lun in luns:
        assert int(lun.findtext("LUNid") or "") >= 0
        assert int(lun.findtext("size") or "") > 0
        assert lun.findtext("SCSIid")
        assert lun.findtext("vendor")
        assert lun.findtext("serial")
    scsi_id = luns[0].findtext("SCSIid") or ""
    config = {**where, "targetIQN": OPEN, "SCSIid": scsi_id}
    assert probe(me, config, "lvmoiscsi").findall("SR") == []
    sr = make(me, config, "lvmoiscsi")
    uuid = me("SR.get_uuid", sr)
    assert [e.findtext("UUID") for e in probe(me, config, "lvmoiscsi").findall("SR")] == [uuid]
    destroy_sr(me, sr)
    assert probe(me, config, "lvmoiscsi").findall("SR") == []


def scan(me: User, config: dict[str, str]) -> list[str]:
    before = set(me("SR.get_all"))
    call = ("SR.create", me.host(), config, me.int(0), "__gui__", "", "lvmoiscsi", "user", True, {})
    details = failure(me, *call)
    assert set(me("SR.get_all")) == before
    return details


def test_iscsi_with_a_password_kept_as_a_secret(me: User):
    where = {"target": "192.0.2.10", "port": "3260", "targetIQN": CHAP}
    assert scan(me, where)[0] == "SR_BACKEND_FAILURE_68"
    login = {"chapuser": "alice", "chappassword": "secretsecret12"}
    code, _, _, found = scan(me, {**where, **login})
    assert code == "SR_BACKEND_FAILURE_107"
    scsi_id = ET.fromstring(found).findtext("LUN/SCSIid") or ""
    secret = me("secret.create", {"value": login["chappassword"], "other_config": {}})
    uuid = me("secret.get_uuid", secret)
    config = {**where, "SCSIid": scsi_id, "chapuser": "alice", "chappassword_secret": uuid}
    sr = make(me, config, "lvmoiscsi")
    me("secret.destroy", me("secret.get_by_uuid", uuid))
    (pbd,) = me("SR.get_PBDs", sr)
    assert "chappassword" not in me("PBD.get_device_config", pbd)
    me.task("PBD.unplug", pbd)
    me.task("PBD.plug", pbd)
    destroy_sr(me, sr)


def test_a_target_that_is_not_there(me: User):
    assert scan(me, {"target": "192.0.2.99", "port": "3260"})[0] == "SR_BACKEND_FAILURE_141"
    assert scan(me, {"target": "no.such.name", "port": "3260"})[0] == "SR_BACKEND_FAILURE_140"


@pytest.mark.parametrize("driver", ["lvmohba", "lvmofcoe"])
def test_luns_of_adapters_are_listed_and_used(me: User, driver: str):
    try:
        found = me("SR.probe", me.host(), {}, driver, {})
    except XenAPI.Failure as failed:
        assert failed.details[0] in ("SR_BACKEND_FAILURE_90", "SR_BACKEND_FAILURE_107")
        found = failed.details[3]
    devices = ET.fromstring(found).findall("BlockDevice")
    assert devices
    for device in devices:
        for member in ("path", "SCSIid", "vendor", "serial", "size", "adapter", "hba", "lun"):
            assert device.findtext(member) is not None, member
    config = {"SCSIid": (devices[0].findtext("SCSIid") or "").strip()}
    if driver == "lvmofcoe":
        config["path"] = (devices[0].findtext("path") or "").strip()
    assert probe(me, config, driver).findall("SR") == []
    sr = make(me, config, driver)
    destroy_sr(me, sr)


def test_an_iso_library_shows_its_discs(me: User, watcher: Watcher):
    config = {"location": "192.0.2.20:/export/iso", "type": "nfs_iso"}
    sr = make(me, config, "iso", "iso")
    discs = me("SR.get_VDIs", sr)
    assert discs
    for disc in discs:
        record = watcher.until_same(me, "VDI", disc)
        assert (record["managed"], record["read_only"]) == (True, True)
        assert record["name_label"].endswith(".iso")
    detach(me, sr)
    me.task("SR.forget", sr)


def test_a_vm_is_copied_to_shared_storage(me: User, watcher: Watcher):
    sr = make(me, NFS, "nfs")
    vm = me.task("VM.clone", me.one("VM", "Windows 8 (32-bit)"), "local")
    me.task("VM.provision", vm)
    copy = me.task("VM.copy", vm, "shared", sr)
    disks = [me("VBD.get_VDI", v) for v in me("VM.get_VBDs", copy)]
    assert {me("VDI.get_SR", d) for d in disks if d != NULL} == {sr}
    destroy_vm(me, copy)
    destroy_vm(me, vm)
    destroy_sr(me, sr)


def test_storage_in_use_cannot_be_detached(me: User):
    vm = me.task("VM.clone", me.one("VM", "Windows 8 (32-bit)"), "user of storage")
    me.task("VM.provision", vm)
    me.task("VM.start", vm, False, False)
    (vdi,) = [v for b in me("VM.get_VBDs", vm) if (v := me("VBD.get_VDI", b)) != NULL]
    (pbd,) = me("SR.get_PBDs", me("VDI.get_SR", vdi))
    assert failure(me, "PBD.unplug", pbd)[0] in ("VDI_IN_USE", "SR_ATTACH_FAILED", "PBD_IN_USE")
    assert me("PBD.get_currently_attached", pbd) is True
    destroy_vm(me, vm)


def test_broken_storage_is_repaired(me: User, watcher: Watcher):
    sr = make(me, NFS, "nfs")
    (pbd,) = me("SR.get_PBDs", sr)
    me.task("PBD.unplug", pbd)
    config = me("PBD.get_device_config", pbd)
    me("PBD.destroy", pbd)
    assert failure(me, "VDI.create", a_disk(me, sr))[0] == "SR_HAS_NO_PBDS"
    again = me.task("PBD.create", {"SR": sr, "host": me.host(), "device_config": config})
    me.task("PBD.plug", again)
    assert watcher.until_same(me, "PBD", again)["currently_attached"] is True
    me("VDI.destroy", me.task("VDI.create", a_disk(me, sr)))
    destroy_sr(me, sr)


def test_a_wrong_server_is_named_and_nothing_is_left(me: User):
    before = set(me("SR.get_all")), set(me("PBD.get_all"))
    wrong = {"server": "192.0.2.77", "serverpath": "/export/vms"}
    call = ("SR.create", me.host(), wrong, me.int(0), "x", "", "nfs", "", True, {})
    details = failure(me, *call)
    assert details[0] in ("SR_BACKEND_FAILURE_72", "SR_BACKEND_FAILURE_108")
    assert len(details) >= 3
    assert (set(me("SR.get_all")), set(me("PBD.get_all"))) == before

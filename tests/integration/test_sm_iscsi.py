"""iSCSI SRs against real targets: XenCenter's dance, every failure, CHAP, several paths.

Discovery and LUN lists go over the network to tgt; the sessions of the kernel are a fake's.
"""

from pathlib import Path

import pytest
from lxml import etree

from sm.contract import VdiSpec
from tests.integration.iscsi_target import (
    CHAP,
    MIB,
    MUTUAL,
    OPEN,
    PASSWORD,
    TARGET_PASSWORD,
    TARGET_USER,
    USER,
    Tgt,
    free_port,
    tgt,
)
from tests.unit.sm.files.file_host import FileHost, code, needs_qemu, wait
from tests.unit.sm.volumes.fake_san import FakeSan, FakeTarget
from tests.unit.sm.volumes.volume_host import VolumeHost
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.errors import RpcError

__all__ = ["tgt"]
IQN = "iqn.2026-01.org.example:host"
NAA = "60000000000000000e0000000{:03}{:04}"


@pytest.fixture
def host(tmp_path: Path, tgt: Tgt) -> VolumeHost:
    san = FakeSan(tmp_path / "host")
    for number, (iqn, luns) in enumerate([(OPEN, 2), (CHAP, 1), (MUTUAL, 1)], 1):
        sizes = [64 * MIB, 128 * MIB] if luns == 2 else [64 * MIB]
        found = {i: (NAA.format(number, i), 40 * s) for i, s in enumerate(sizes, 1)}
        san.targets[iqn] = FakeTarget(found, PASSWORD if number > 1 else "")
    host = VolumeHost(tmp_path / "host", "lvmoiscsi", lvm=san)
    host.config = {"target": "127.0.0.1", "port": str(tgt.port), "localIQN": IQN}
    return host


def san(host: VolumeHost) -> FakeSan:
    assert isinstance(host.lvm, FakeSan)
    return host.lvm


def create(host: VolumeHost, **change: str) -> tuple[str, str]:
    """Error code and document of an SR.create that must fail."""
    config = {k: v for k, v in {**host.config, **change}.items() if v}
    with pytest.raises(RpcError) as problem:
        wait(host.driver.create(new_uuid(), config, {}, "", "", 0))
    _, *rest = problem.value.params
    return str(problem.value.params[0]).rpartition("_")[2], str(rest[-1])


def texts(document: str, path: str) -> list[str]:
    return [e.text or "" for e in etree.fromstring(document.encode()).findall(path)]


def test_dance_lists_targets_then_luns_then_makes_the_sr(host: VolumeHost, tgt: Tgt) -> None:
    number, document = create(host)
    assert number == "96"
    assert texts(document, "TGT/TargetIQN") == [OPEN, CHAP, MUTUAL, "*"]
    assert texts(document, "TGT/IPAddress") == ["127.0.0.1"] * 4
    assert texts(document, "TGT/Port") == [str(tgt.port)] * 3
    number, document = create(host, targetIQN=OPEN)
    assert number == "107"
    assert texts(document, "LUN/LUNid") == ["1", "2"]
    assert texts(document, "LUN/vendor") == ["TESTVEND"] * 2
    assert texts(document, "LUN/serial") == ["sn0101", "sn0102"]
    assert texts(document, "LUN/size") == [str(64 * MIB), str(128 * MIB)]
    scsi_id = texts(document, "LUN/SCSIid")[1]
    assert not san(host).commands
    host.config |= {"targetIQN": OPEN, "SCSIid": scsi_id}
    assert texts(wait(host.driver.probe(host.config, {})), "SR") == []
    host.start()
    assert host.stored[1]["devserial"] == f"scsi-{scsi_id}"
    host.make(MIB)
    assert texts(wait(host.driver.probe(host.config, {})), "SR/UUID") == [host.sr_uuid]
    again = host.driver.create(new_uuid(), host.config, {}, "", "", 0)
    assert code(again) == "SR_DEVICE_IN_USE"
    wait(host.sr.detach())
    assert not list((san(host).sys / "class" / "iscsi_session").iterdir())
    assert not list(san(host).iscsi.glob("nodes/*/*/*"))


@pytest.mark.parametrize(
    "change, number",
    [
        ({"target": ""}, "95"),
        ({"localIQN": ""}, "97"),
        ({"port": "many"}, "142"),
        ({"port": "70000"}, "142"),
        ({"target": "nosuch.invalid"}, "140"),
        ({"targetIQN": "iqn.2000-01.none:x"}, "96"),
        ({"targetIQN": CHAP}, "68"),
        ({"targetIQN": CHAP, "chapuser": USER, "chappassword": "wrongwrong12"}, "68"),
        ({"targetIQN": CHAP, "chapuser": "nobody", "chappassword": PASSWORD}, "68"),
        ({"targetIQN": CHAP, "chapuser": USER, "chappassword": PASSWORD}, "107"),
        ({"targetIQN": OPEN, "SCSIid": "none"}, "107"),
        ({"targetIQN": "*"}, "68"),
        ({"targetIQN": "*", "chapuser": USER, "chappassword": PASSWORD}, "107"),
    ],
)
def test_every_failure_has_its_number(
    host: VolumeHost, change: dict[str, str], number: str
) -> None:
    assert create(host, **change)[0] == number
    assert not san(host).commands


@pytest.mark.parametrize(
    "user, password, number",
    [
        (TARGET_USER, TARGET_PASSWORD, "107"),
        (TARGET_USER, "wrongwrong12", "68"),
        ("somebody", TARGET_PASSWORD, "68"),
        ("", "", "107"),
    ],
)
def test_target_must_prove_itself_when_asked(
    host: VolumeHost, user: str, password: str, number: str
) -> None:
    chap = {"chapuser": USER, "chappassword": PASSWORD}
    mutual = {"incoming_chapuser": user, "incoming_chappassword": password}
    assert create(host, targetIQN=MUTUAL, **chap, **mutual)[0] == number


def test_closed_port_is_unreachable_and_one_open_one_is_enough(host: VolumeHost, tgt: Tgt) -> None:
    closed = free_port()
    assert create(host, port=str(closed))[0] == "141"
    both = f"127.0.0.1:{closed},127.0.0.1:{tgt.port}"
    number, document = create(host, target=both)
    assert number == "96" and texts(document, "TGT/IPAddress")[-1] == both


def test_passwords_are_in_records_and_nowhere_else(
    host: VolumeHost, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"chapuser": USER, "chappassword": PASSWORD, "targetIQN": MUTUAL}
    config |= {"incoming_chapuser": TARGET_USER, "incoming_chappassword": TARGET_PASSWORD}
    host.config |= {**config, "SCSIid": f"3{NAA.format(3, 1)}"}
    host.start()
    host.make(MIB)
    (record,) = san(host).iscsi.glob("nodes/*/*/*")
    assert record.stat().st_mode & 0o777 == 0o600
    text = record.read_text()
    assert f"node.session.auth.password = {PASSWORD}\n" in text
    assert f"node.session.auth.password_in = {TARGET_PASSWORD}\n" in text
    assert "node.session.auth.authmethod = CHAP\n" in text and "startup = manual" in text
    said = repr(san(host).commands) + caplog.text
    assert PASSWORD not in said and TARGET_PASSWORD not in said
    wait(host.sr.detach())
    assert not record.exists()


def test_lun_that_does_not_appear_is_67_and_one_that_is_gone_107(
    host: VolumeHost, tgt: Tgt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sm.block.multipath.APPEAR_S", 0.3)
    host.config |= {"targetIQN": OPEN, "SCSIid": f"3{NAA.format(1, 2)}"}
    host.start()
    wait(host.sr.detach())
    san(host).targets[OPEN].luns.pop(2)
    assert code(host.driver.attach(host.sr_uuid, host.config, {})) == "SR_BACKEND_FAILURE_67"
    tgt.drop_lun(1, 2)
    assert code(host.driver.attach(host.sr_uuid, host.config, {})) == "SR_BACKEND_FAILURE_107"
    assert not list((san(host).sys / "class" / "iscsi_session").iterdir())


def test_target_that_is_down_and_comes_back(host: VolumeHost, tgt: Tgt) -> None:
    host.config |= {"targetIQN": OPEN, "SCSIid": f"3{NAA.format(1, 1)}"}
    host.start()
    wait(host.sr.detach())
    good, host.config = host.config, {**host.config, "port": str(free_port())}
    assert code(host.driver.attach(host.sr_uuid, host.config, {})) == "SR_BACKEND_FAILURE_141"
    host.attach(good)
    wait(host.sr.detach())


def test_target_is_left_with_its_last_sr(host: VolumeHost) -> None:
    other = VolumeHost(host.folder, "lvmoiscsi", lvm=host.lvm)
    other.config = {**host.config, "targetIQN": OPEN, "SCSIid": f"3{NAA.format(1, 2)}"}
    host.config |= {"targetIQN": OPEN, "SCSIid": f"3{NAA.format(1, 1)}"}
    host.start()
    other.start()
    wait(host.sr.detach())
    assert list((san(host).sys / "block").iterdir())
    other.make(MIB)
    wait(other.sr.detach())
    assert not list((san(host).sys / "block").iterdir())


@needs_qemu
def test_several_paths_become_one_device(host: VolumeHost, tgt: Tgt) -> None:
    host.config |= {"targetIQN": OPEN, "SCSIid": f"3{NAA.format(1, 1)}", "multipathing": "true"}
    host.start()
    assert (san(host).dev / "mapper").is_dir()
    filters = [c[2] for c in san(host).commands if c[0] == "lvcreate"]
    assert all(f"mapper/3{NAA.format(1, 1)}" in f and "/sd" not in f for f in filters)
    assert "replacement_timeout = 15\n" in next(iter(san(host).records.values()))
    vdi = host.make(8 * MIB).uuid
    wait(host.sr.vdi_snapshot(vdi, VdiSpec()))
    wait(host.sr.detach())
    assert ("multipath", "-f", f"3{NAA.format(1, 1)}") in san(host).commands
    assert not list((san(host).sys / "block").iterdir())


def test_keys_of_later_steps_do_not_change_the_order(host: VolumeHost) -> None:
    assert create(host, SCSIid="x")[0] == "96"


def test_luns_as_disks(host: VolumeHost) -> None:
    raw = FileHost(host.folder, "iscsi", system=host.lvm)
    config = {**host.config, "targetIQN": OPEN}
    wait(raw.driver.create(raw.sr_uuid, config, {}, "", "", 0))
    assert texts(wait(raw.driver.probe(config, {})), "SR/TargetIQN") == [OPEN]
    raw.attach(config)
    found = raw.vdis().values()
    assert {v.location for v in found} == {f"3{NAA.format(1, n)}" for n in (1, 2)}
    assert {v.virtual_size for v in found} == {64 * MIB, 128 * MIB}
    first = min(found, key=lambda v: v.virtual_size)
    assert wait(raw.sr.vdi_attach(first.uuid, True)).path == str(san(host).dev / "sdi1")
    wait(raw.sr.detach())
    assert not list((san(host).sys / "class" / "iscsi_session").iterdir())

"""SRs of every type: made, looked for, plugged, scanned, forgotten and destroyed."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.services import CHAP, ISCSI, NFS, NOBODY, Services
from xapi_py.api.internal import internal_call
from xapi_py.api.sr.create import MAKING, discard_unfinished
from xapi_py.start import storage

MADE = [
    ("nfs", NFS, True),
    ("smb", {"server": r"\\192.0.2.30\vms", "username": "alice", "password": "secret"}, True),
    ("ext", {"device": "/dev/sdb"}, False),
    ("lvm", {"device": "/dev/sdb,/dev/sdc"}, False),
    ("file", {"location": "/var/run/sr-mount/file"}, False),
    ("dummy", {}, False),
    ("udev", {"location": "/dev/xapi/block"}, False),
]


@pytest.fixture
def server(tmp_path: Path) -> Services:
    return Services(tmp_path)


def counts(server: Services) -> tuple[int, ...]:
    return tuple(server.db.count(cls) for cls in ("SR", "PBD", "secret", "VDI"))


@pytest.mark.parametrize(("sr_type", "config", "shared"), MADE)
def test_an_sr_lives_and_leaves_nothing(
    server: Services, sr_type: str, config: dict[str, str], shared: bool
) -> None:
    before = counts(server)
    sr = server.create_sr(sr_type, config, shared=shared)
    row = server.db.row("SR", sr)
    (pbd,) = row.PBDs
    assert server.db.row("PBD", pbd).currently_attached
    assert MAKING not in row.other_config
    server.do("SR.scan", sr)
    assert server.refusal("SR.destroy", sr) == ["SR_HAS_PBD", sr]
    server.do("PBD.unplug", pbd)
    server.do("SR.destroy", sr)
    assert counts(server) == before


def test_what_an_sr_holds_comes_with_its_plug(server: Services) -> None:
    config = {"location": "//192.0.2.30/iso", "type": "cifs"}
    sr = server.create_sr("iso", config, shared=True)
    (vdi,) = server.do("SR.get_VDIs", sr)
    assert server.do("VDI.get_name_label", vdi) == "windows.iso"
    assert server.do("SR.get_physical_utilisation", sr) == str(4 << 30)


def test_the_first_storage_is_that_of_an_installed_host(server: Services) -> None:
    labels = {row.name_label for row in server.db.rows("SR")}
    assert {"Local storage", "DVD drives", "Removable storage", "XenServer Tools"} <= labels
    assert all(pbd.currently_attached for pbd in server.db.rows("PBD"))
    tools = server.db.row("SR", server.sr("XenServer Tools"))
    assert tools.is_tools_sr
    assert [server.db.row("VDI", v).is_tools_iso for v in tools.VDIs] == [True]
    (pool,) = server.db.rows("pool")
    assert pool.default_SR == server.sr("NFS virtual disk storage")


def test_xencenter_finds_iscsi_luns_by_failing_creates(server: Services) -> None:
    before = counts(server)

    def failing(**config: str) -> list[str]:
        given = {**ISCSI, **config}
        arguments = (server.here, given, "0", "__gui__", "", "lvmoiscsi", "user", True, {})
        return server.refusal("SR.create", *arguments)

    code, _, _, targets = failing()
    assert code == "SR_BACKEND_FAILURE_96"
    assert CHAP["targetIQN"] in targets
    code, _, _, luns = failing(**CHAP)
    assert code == "SR_BACKEND_FAILURE_107"
    assert counts(server) == before
    lun = re.search("<SCSIid>(.*?)</SCSIid>", luns)
    assert lun is not None
    sr = server.create_sr("lvmoiscsi", {**ISCSI, **CHAP, "SCSIid": lun[1]}, shared=True)
    assert [server.db.row("PBD", p).currently_attached for p in server.do("SR.get_PBDs", sr)] == [
        True
    ]


def test_a_pbd_has_a_secret_of_its_own(server: Services) -> None:
    before = server.db.count("secret")
    secret = server.do("secret.create", {"value": "secret"})
    config = {"server": r"\\192.0.2.30\vms", "username": "alice"}
    config["password_secret"] = server.do("secret.get_uuid", secret)
    sr = server.create_sr("smb", config, shared=True)
    server.do("secret.destroy", secret)
    (pbd,) = server.do("SR.get_PBDs", sr)
    server.do("PBD.unplug", pbd)
    server.do("PBD.plug", pbd)
    stored = server.do("PBD.get_device_config", pbd)
    assert "password" not in stored
    server.do("PBD.unplug", pbd)
    server.do("SR.forget", sr)
    assert server.db.count("secret") == before


def test_a_pbd_stays_while_it_is_being_plugged(server: Services) -> None:
    sr = server.create_sr("nfs", NFS, shared=True)
    (pbd,) = server.do("SR.get_PBDs", sr)
    server.do("PBD.unplug", pbd)
    server.put("SR", sr, current_operations={NOBODY: "plug"})
    assert server.refusal("PBD.destroy", pbd)[:3] == ["OTHER_OPERATION_IN_PROGRESS", "SR", sr]
    server.put("SR", sr, current_operations={})
    server.do("PBD.destroy", pbd)


@pytest.mark.parametrize(
    ("method", "arguments", "expected"),
    [
        ("SR.create", (NOBODY, {}, "0", "", "", "nfs", "", True, {}), ["HOST_OFFLINE", NOBODY]),
        ("SR.create", ("here", {}, "0", "", "", "no", "", True, {}), ["SR_UNKNOWN_DRIVER", "no"]),
        ("SR.probe", ("here", {}, "no", {}), ["SR_UNKNOWN_DRIVER", "no"]),
        ("SR.probe_ext", ("here", {}, "nfs", {}), ["SR_OPERATION_NOT_SUPPORTED"]),
        ("SR.scan", (NOBODY,), ["HANDLE_INVALID", "SR", NOBODY]),
        ("SR.make", ("here", {}, "0", "", "", "nfs", "", {}), ["MESSAGE_DEPRECATED"]),
        (
            "SR.create",
            ("here", {"SRmaster": "true"}, "0", "", "", "nfs", "", True, {}),
            ["INVALID_VALUE", "device_config", "SRmaster"],
        ),
        (
            "SR.probe",
            ("here", {}, "iso", {}),
            ["SR_BACKEND_FAILURE", "Operation 'sr_probe' not supported by this SR type", "", ""],
        ),
    ],
)
def test_refusals_before_anything_is_made(
    server: Services, method: str, arguments: tuple[object, ...], expected: list[str]
) -> None:
    given = [server.here if a == "here" else a for a in arguments]
    assert server.refusal(method, *given) == expected


def test_forgotten_srs_come_back_by_introduce(server: Services) -> None:
    sr = server.create_sr("nfs", NFS, shared=True)
    disk = server.do("VDI.get_uuid", server.vdi(sr, other_config={"a": "b"}))
    uuid = server.do("SR.get_uuid", sr)
    assert server.refusal("SR.introduce", uuid, "", "", "nfs", "", True, {}) == [
        "SR_UUID_EXISTS",
        uuid,
    ]
    assert server.refusal("SR.forget", sr) == ["SR_HAS_PBD", sr]
    server.do("PBD.unplug", server.do("SR.get_PBDs", sr)[0])
    server.do("SR.forget", sr)
    sr = server.do("SR.introduce", uuid, "again", "", "nfs", "user", True, {})
    assert server.refusal("SR.scan", sr) == ["SR_HAS_NO_PBDS", sr]
    record = {"SR": sr, "host": server.here, "device_config": NFS}
    pbd = server.do("PBD.create", record)
    assert server.refusal("PBD.create", record) == ["PBD_EXISTS", sr, server.here, pbd]
    server.do("PBD.plug", pbd)
    assert [server.do("VDI.get_uuid", v) for v in server.do("SR.get_VDIs", sr)] == [disk]


def test_a_full_sr_is_not_destroyed_and_an_indestructible_one_neither(server: Services) -> None:
    sr = server.create_sr("ext", {"device": "/dev/sdb"})
    vdi = server.vdi(sr)
    (pbd,) = server.do("SR.get_PBDs", sr)
    server.do("PBD.unplug", pbd)
    assert server.refusal("SR.destroy", sr) == ["SR_NOT_EMPTY"]
    server.do("PBD.plug", pbd)
    server.do("VDI.destroy", vdi)
    server.do("PBD.unplug", pbd)
    server.do("SR.add_to_other_config", sr, "indestructible", "true")
    assert server.refusal("SR.destroy", sr) == ["SR_INDESTRUCTIBLE", sr]


def test_an_sr_that_cannot_be_plugged_is_made_and_stays_unplugged(server: Services) -> None:
    server.daemon("DEBUG.inject_fault", method="SR.attach", count=1)
    sr = server.create_sr("nfs", NFS, shared=True)
    (pbd,) = server.do("SR.get_PBDs", sr)
    assert server.do("PBD.get_currently_attached", pbd) is False
    server.do("PBD.plug", pbd)
    assert server.do("PBD.get_currently_attached", pbd) is True


def test_the_record_of_an_sr_whose_making_was_cut_short_goes_at_start(server: Services) -> None:
    before = counts(server)
    with server.db.transaction() as tx:
        tx.create("SR", {"name_label": "half", "type": "nfs", "other_config": {MAKING: "true"}})
    discard_unfinished(internal_call(server.toolstack, "start"))
    assert counts(server) == before


def test_names_are_kept_on_storage(server: Services) -> None:
    sr = server.create_sr("nfs", NFS, shared=True)
    server.do("SR.set_name_label", sr, "new name")
    stat = server.daemon("SR.stat", sr=server.do("SR.get_uuid", sr))["result"]
    assert stat["name_label"] == server.do("SR.get_name_label", sr) == "new name"


def test_what_may_hold_the_heartbeat_file_and_the_database(server: Services) -> None:
    local = server.sr("Local storage")
    assert server.refusal("SR.assert_can_host_ha_statefile", local) == [
        "HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED",
        local,
    ]
    shared = server.sr("NFS virtual disk storage")
    server.do("SR.assert_can_host_ha_statefile", shared)
    assert server.refusal("SR.enable_database_replication", shared) == [
        "SR_OPERATION_NOT_SUPPORTED",
        shared,
    ]
    lvm = server.create_sr("lvmohba", {"SCSIid": "3600a098038800000534900000053494d"}, shared=True)
    server.do("SR.enable_database_replication", lvm)
    (vdi,) = server.do("SR.get_VDIs", lvm)
    assert server.do("VDI.get_type", vdi) == "metadata"
    assert server.refusal("VDI.open_database", vdi)[0] == "VDI_CONTAINS_METADATA_OF_THIS_POOL"
    server.do("SR.disable_database_replication", lvm)
    assert server.do("SR.get_VDIs", lvm) == []


def test_disaster_recovery_introduces_and_forgets(server: Services) -> None:
    config = {"SCSIid": "3600a098038800000534900000053494d"}
    sr = server.create_sr("lvmohba", config, shared=True, label="other pool")
    uuid = server.do("SR.get_uuid", sr)
    server.do("PBD.unplug", server.do("SR.get_PBDs", sr)[0])
    server.do("SR.forget", sr)
    before = counts(server)
    task = server.do("DR_task.create", "lvmohba", config, [uuid])
    (found,) = server.do("DR_task.get_introduced_SRs", task)
    assert server.do("SR.get_name_label", found) == "other pool"
    server.do("DR_task.destroy", task)
    assert counts(server) == before
    assert server.refusal("DR_task.create", "nfs", NFS, [])[0] == "OPERATION_NOT_ALLOWED"


def test_storage_that_cannot_be_reached_at_start_raises_an_alert(server: Services) -> None:
    sr = server.create_sr("nfs", NFS, shared=True, label="far away")
    (pbd,) = server.do("SR.get_PBDs", sr)
    server.do("PBD.unplug", pbd)
    server.daemon("DEBUG.set_server", address=NFS["server"], down=True)
    server.wait(storage.bring_up(server.toolstack))
    (alert,) = server.db.rows("message")
    assert alert.name == "PBD_PLUG_FAILED_ON_SERVER_START"
    assert "far away" in alert.body
    server.daemon("DEBUG.set_server", address=NFS["server"], down=False)
    server.wait(storage.bring_up(server.toolstack))
    assert server.do("PBD.get_currently_attached", pbd) is True
    assert server.db.count("message") == 1


def test_the_first_storage_is_made_once(server: Services) -> None:
    labels = [row.name_label for row in server.db.rows("SR")]
    library = server.sr("NFS ISO library")
    server.do("PBD.unplug", server.do("SR.get_PBDs", library)[0])
    server.do("SR.forget", library)
    server.wait(storage.bring_up(server.toolstack))
    left = [row.name_label for row in server.db.rows("SR")]
    assert left == [label for label in labels if label != "NFS ISO library"]


def test_an_sr_whose_record_cannot_be_kept_does_not_stay_on_its_storage(server: Services) -> None:
    keys = ("SR.attach", "SR.destroy")
    called: list[str] = []

    def noting(key: str, method: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            called.append(key)
            return method(*arguments, **named)

        return call

    for key in keys:
        server.smd.methods[key] = noting(key, server.smd.methods[key])
    made = server.smd.methods["SR.create"]

    async def create(*arguments: Any, **named: Any) -> Any:
        answer = await made(*arguments, **named)
        ref = server.db.by_uuid("SR", named["sr"])
        with server.db.transaction() as tx:
            tx.delete("SR", ref)  # what was made finds no record
        return answer

    server.smd.methods["SR.create"] = create
    config = {"device": "/dev/sdb"}
    create_call = ("SR.create", server.here, config, "0", "s", "", "ext", "user", False, {})
    assert server.refusal(*create_call)[0] == "HANDLE_INVALID"
    assert called == list(keys)
    server.smd.methods["SR.create"] = made
    assert server.do(*create_call)


def test_an_sr_of_several_hosts_stays_shared(server: Services) -> None:
    sr = server.create_sr("nfs", NFS, shared=True)
    with server.db.transaction() as tx:
        tx.create("PBD", {"SR": sr, "host": NOBODY})
    assert server.refusal("SR.set_shared", sr, False) == ["SR_HAS_MULTIPLE_PBDS", sr]
    assert server.do("SR.get_shared", sr) is True


def test_an_sr_in_use_is_not_unplugged(server: Services) -> None:
    sr = server.create_sr("nfs", NFS, shared=True)
    (pbd,), vdi = server.do("SR.get_PBDs", sr), server.vdi(sr)
    with server.db.transaction() as tx:
        vm = tx.create("VM", {"resident_on": server.here, "power_state": "Running"})
        tx.create("VBD", {"VM": vm, "VDI": vdi, "currently_attached": True})
    assert server.refusal("PBD.unplug", pbd) == ["VDI_IN_USE", vdi]
    statefile = server.vdi(sr)
    server.put("VDI", statefile, type="ha_statefile")
    uuid = server.do("VDI.get_uuid", statefile)
    server.put("pool", server.toolstack.pool, ha_enabled=True, ha_statefiles=(uuid,))
    assert server.refusal("PBD.unplug", pbd) == ["HA_IS_ENABLED"]

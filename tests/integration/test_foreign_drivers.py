"""Storage drivers of others, run unchanged: SMAPIv1 programs and SMAPIv3 scripts, over the API."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import XenAPI

from tests.integration.disk_client import MIB, DiskClient, clients, make_image, needs_qemu
from tests.integration.running_pool import RunningPool, running

pytestmark = [pytest.mark.integration, needs_qemu]
DRIVERS = Path(__file__).parent / "foreign_drivers"
VOLUME = (
    *("Plugin.Query", "SR.create", "SR.attach", "SR.detach", "SR.destroy", "SR.stat", "SR.ls"),
    *("SR.probe", "Volume.create", "Volume.destroy", "Volume.stat", "Volume.snapshot"),
    *("Volume.clone", "Volume.resize", "Volume.set", "Volume.set_name", "Volume.set_description"),
)
DATAPATH = (
    *("Datapath.open", "Datapath.close", "Datapath.attach", "Datapath.activate"),
    *("Datapath.deactivate", "Datapath.detach"),
)
SIZE = 16 * MIB


def install(folder: Path) -> None:
    """Put the drivers where a host has them; some that are none beside them."""
    v1, v3 = folder / "v1", folder / "v3"
    v1.mkdir()
    shutil.copy(DRIVERS / "FolderSR", v1)
    (v1 / "BrokenSR").write_text("#!/bin/sh\necho nonsense\n")
    (v1 / "BrokenSR").chmod(0o755)
    places = {v3 / "volume" / "org.xen.xapi.storage.scripted": VOLUME}
    places[v3 / "datapath" / "folder+file"] = DATAPATH
    for place, names in places.items():
        place.mkdir(parents=True)
        for name in names:
            shutil.copy(DRIVERS / "volume_plugin", place / name)


@pytest.fixture(scope="module")
def pool() -> Iterator[RunningPool]:
    with tempfile.TemporaryDirectory(prefix="fd-") as folder:
        install(Path(folder))
        settings = Path(folder, "pool.yaml")
        v1, v3 = f"smapiv1_folder: {folder}/v1", f"smapiv3_folder: {folder}/v3"
        settings.write_text(f"sm: {{{v1}, {v3}, real: [file], driver_timeout_s: 5}}\n")
        with running("--profile", "newest", "--simulator", str(settings)) as found:
            yield found.start()


@pytest.fixture
def client(pool: RunningPool, tmp_path: Path) -> Iterator[DiskClient]:
    yield from clients(pool, pool.host(), tmp_path)


def make_sr(client: DiskClient, sr_type: str) -> tuple[str, Path]:
    folder = client.folder / "medium"
    folder.mkdir()
    (host,) = client.api.host.get_all()
    config = {"path": str(folder)}
    label = f"{sr_type} {client.folder.name}"
    sr = client.api.SR.create(host, config, "0", label, "", sr_type, "user", False, {})
    return str(sr), folder


def test_drivers_become_sr_types(client: DiskClient) -> None:
    found = {r["type"]: r for r in client.api.SM.get_all_records().values()}
    folder, scripted = found["folder"], found["scripted"]
    assert (folder["vendor"], folder["version"]) == ("Third Party Ltd", "2.1")
    assert folder["features"]["VDI_SNAPSHOT"] == "1" and "WHATEVER" not in folder["features"]
    assert folder["configuration"] == {"path": "the folder (required)"}
    assert scripted["required_api_version"] == "5.0" and "VDI_CLONE" in scripted["features"]
    assert "broken" not in found
    assert {"folder", "scripted"} <= set(client.api.SR.get_supported_types())


@pytest.mark.parametrize("sr_type", ["folder", "scripted"])
def test_disks_live_on_foreign_drivers(client: DiskClient, sr_type: str, tmp_path: Path) -> None:
    sr, _ = make_sr(client, sr_type)
    assert int(client.api.SR.get_physical_size(sr)) == 10 << 30
    image = make_image(tmp_path / "image", SIZE, {3 * MIB: b"data" * 9999})
    vdi = client.new_disk(sr, image)
    assert client.holds(vdi, image)
    snapshot = client.api.VDI.snapshot(vdi, {})
    assert client.api.VDI.get_snapshot_of(snapshot) == vdi
    other = make_image(tmp_path / "other", SIZE, {5 * MIB: b"more" * 9999})
    client.fill(vdi, other)
    assert client.holds(snapshot, image) and client.holds(vdi, other)
    clone = client.api.VDI.clone(snapshot, {})
    assert client.holds(clone, image)
    client.api.VDI.set_name_label(vdi, "renamed")
    client.api.VDI.resize(vdi, str(2 * SIZE))
    assert int(client.api.VDI.get_virtual_size(vdi)) == 2 * SIZE
    copy = client.api.VDI.copy(snapshot, client.file_sr(f"real {sr_type}"))
    assert client.holds(copy, image)
    back = client.api.VDI.copy(copy, sr)
    assert client.holds(back, image)
    client.api.SR.scan(sr)
    assert client.api.VDI.get_name_label(vdi) == "renamed"
    for disk in (vdi, snapshot, clone, back):
        client.api.VDI.destroy(disk)
    assert client.api.SR.get_VDIs(sr) == []
    (pbd,) = client.api.SR.get_PBDs(sr)
    client.api.PBD.unplug(pbd)
    client.api.PBD.plug(pbd)
    client.api.PBD.unplug(pbd)
    client.api.SR.forget(sr)


def test_refusals_reach_clients_with_their_document(client: DiskClient) -> None:
    (host,) = client.api.host.get_all()
    for sr_type, config, expected in (
        (
            "folder",
            {},
            ["SR_BACKEND_FAILURE_94", "", "The request is missing the path parameter", ""],
        ),
        (
            "folder",
            {"path": "/no"},
            ["SR_BACKEND_FAILURE_90", "", "no such folder [opterr=/no]", "<folders/>"],
        ),
        ("scripted", {}, ["SR_BACKEND_FAILURE_94", "", "the path is missing", ""]),
    ):
        before = client.api.SR.get_all()
        with pytest.raises(XenAPI.Failure) as problem:
            client.api.SR.create(host, config, "0", "x", "", sr_type, "user", False, {})
        assert problem.value.details == expected
        assert client.api.SR.get_all() == before
    found = client.api.SR.probe(host, {"path": str(client.folder)}, "folder", {})
    assert found.startswith("<SRlist>")
    (result,) = client.api.SR.probe_ext(host, {"path": "/x"}, "scripted", {})
    assert result["complete"] and result["sr"]["total_space"] == str(10 << 30)


def test_drivers_that_hang_die_or_babble_cost_one_call(client: DiskClient) -> None:
    sr, folder = make_sr(client, "folder")
    other = client.file_sr("beside")
    for fault, text in (
        ("hang", "the driver did not answer in time"),
        ("die", "received signal: 9"),
        ("babble", "ExpatError"),
    ):
        (folder / fault).touch()
        task = client.api.Async.VDI.create(
            {
                **{"name_label": "x", "name_description": "", "SR": sr, "virtual_size": str(MIB)},
                **{"type": "user", "sharable": False, "read_only": False},
                **{"other_config": {}, "sm_config": {}},
            }
        )
        begin = time.monotonic()
        client.api.VDI.destroy(client.vdi(other, MIB))
        assert time.monotonic() - begin < 4
        client.wait(task)
        code, reason, *_ = client.error(task)
        assert code == "SR_BACKEND_FAILURE" and text in reason
        (folder / fault).unlink()
    client.api.VDI.destroy(client.vdi(sr, MIB))
    assert not [p for p in os.listdir("/proc") if p.isdigit() and _is_driver(p)]


def _is_driver(pid: str) -> bool:
    try:
        return b"FolderSR" in Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return False

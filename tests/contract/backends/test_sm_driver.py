"""The contract of storage drivers; every driver must pass, the simulator does in all its types."""

import shutil
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from sm.config import ArrayConfig, SmConfig
from sm.contract import AttachedSr, Driver, Vdi, VdiSpec
from sm.drivers.array import Array
from sm.drivers.file_based import FileBasedSr, FileDriver, Settings
from sm.drivers.simulator import SimulatorDriver, World
from sm.files.mounts import Outcome, System
from sm.plugins import every_plugin
from tests.unit.sm.files.in_process import InProcessChildren
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.errors import RpcError

T = TypeVar("T")
MIB = 1024**2

CONFIGS = {
    "nfs": {"server": "192.0.2.20", "serverpath": "/export/vms"},
    "smb": {"server": "//192.0.2.30/vms", "username": "alice", "password": "secret"},
    "ext": {"device": "/dev/sdb"},
    "lvm": {"device": "/dev/sdb"},
    "file": {"location": "/var/run/sr-mount/file"},
    "lvmoiscsi": {
        "target": "192.0.2.10",
        "targetIQN": "iqn.2026-01.org.example:storage.open",
        "LUNid": "0",
    },
    "lvmohba": {"LUNid": "0"},
    "lvmofcoe": {"LUNid": "0"},
    "dummy": {},
}
REAL = ("real file", "real ext", "real nfs")
MakeDriver = Callable[[str], Driver]


def wait(coroutine: Coroutine[Any, Any, T]) -> T:
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(found.append)
    if isinstance(found[0], Failure):
        found[0].raiseException()
    result: T = found[0]
    return result


@pytest.fixture
def notes() -> list[tuple[str, ...]]:
    return []


class LocalExport(System):
    """An NFS server whose export is a folder: mounting binds nothing, it makes a link."""

    def __init__(self, export: Path) -> None:
        self._export = export

    def run(self, *command: str, timeout_s: float = 60.0) -> Outcome:
        if command[0] == "mount":
            Path(command[4]).rmdir()
            Path(command[4]).symlink_to(self._export)
        if command[0] == "umount":
            Path(command[1]).unlink()
        return Outcome(0, "", "")

    def resolve(self, name: str) -> str:
        return name

    def connect(self, address: str, port: int) -> None:
        """It is there."""

    def mounted(self, folder: Path) -> bool:
        return folder.is_symlink()


@pytest.fixture
def make_driver(tmp_path: Path, notes: list[tuple[str, ...]]) -> MakeDriver:
    """Drivers of the simulator, and of files below the test's folder."""

    def note(*identifier: str) -> None:
        notes.append(identifier)

    def make(sr_type: str) -> Driver:
        if sr_type in REAL:
            return real(sr_type.removeprefix("real "))
        world = World(
            Array(ArrayConfig()),
            SmConfig(profile="newest", host_uuid="host"),
            tmp_path / "local",
            tmp_path / "shared",
            lambda work: maybeDeferred(work),
            note,
        )
        return SimulatorDriver(every_plugin()[sr_type], world)

    def real(sr_type: str) -> Driver:
        if shutil.which("qemu-storage-daemon") is None:
            pytest.skip("qemu-storage-daemon is missing")
        (tmp_path / "disks").mkdir()
        system = LocalExport(tmp_path / "disks") if sr_type == "nfs" else System()
        settings = Settings(tmp_path / "run", "host", InProcessChildren(system), note)
        return FileDriver(every_plugin()[sr_type], settings)

    return make


def config_of(sr_type: str, folder: Path) -> dict[str, str]:
    if sr_type in REAL and sr_type != "real nfs":
        return {"location": str(folder), "device": str(folder)}
    return CONFIGS[sr_type.removeprefix("real ")]


@pytest.fixture(params=[*sorted(CONFIGS), *REAL])
def sr(
    request: pytest.FixtureRequest, make_driver: MakeDriver, tmp_path: Path
) -> Iterator[AttachedSr]:
    driver, uuid = make_driver(request.param), new_uuid()
    config = config_of(request.param, tmp_path / "disks")
    stored, sm_config = wait(driver.create(uuid, config, {}, "name", "description", 0))
    attached = wait(driver.attach(uuid, stored, sm_config))
    yield attached
    wait(attached.detach())


def make(sr: AttachedSr, **members: Any) -> Vdi:
    return wait(sr.vdi_create(VdiSpec(**{"virtual_size": 64 * MIB, **members})))


def used(sr: AttachedSr) -> int:
    return sum(v.physical_utilisation for v in wait(sr.scan()))


def attached_on_files(sr: AttachedSr) -> bool:
    return isinstance(sr, FileBasedSr)


def refusal(coroutine: Coroutine[Any, Any, object]) -> RpcError:
    with pytest.raises(RpcError) as problem:
        wait(coroutine)
    return problem.value


def test_new_sr_is_named_and_empty(sr: AttachedSr) -> None:
    stat = wait(sr.stat())
    assert (stat.uuid, stat.name_label, stat.virtual_allocation) == (sr.uuid, "name", 0)
    assert stat.physical_size > 0
    if not attached_on_files(sr):
        assert stat.physical_utilisation == 0


def test_disk_is_as_asked_for(sr: AttachedSr) -> None:
    vdi = make(sr, name_label="n", name_description="d", type="system", sharable=True)
    assert (vdi.name_label, vdi.name_description, vdi.type) == ("n", "d", "system")
    assert vdi.sharable and vdi.managed and vdi.virtual_size >= 64 * MIB
    assert wait(sr.scan()) == [vdi] and wait(sr.vdi_stat(vdi.uuid)) == vdi


def test_sums_are_those_of_the_disks(sr: AttachedSr) -> None:
    first = make(sr)
    if sr.plugin.supports("VDI_SNAPSHOT"):
        wait(sr.vdi_snapshot(first.uuid, VdiSpec()))
    make(sr)
    stat = wait(sr.stat())
    if attached_on_files(sr):  # the file system's, whoever uses it
        assert stat.physical_utilisation >= used(sr)
    else:
        assert stat.physical_utilisation == used(sr)
    managed = [v for v in wait(sr.scan()) if v.managed]
    assert stat.virtual_allocation == sum(v.virtual_size for v in managed)


def test_destroyed_disk_is_gone(sr: AttachedSr) -> None:
    vdi = make(sr)
    wait(sr.vdi_destroy(vdi.uuid))
    assert wait(sr.scan()) == []
    assert refusal(sr.vdi_stat(vdi.uuid)).name == "Vdi_does_not_exist"


def test_snapshot_and_clone_keep_the_disk_and_its_uuid(sr: AttachedSr) -> None:
    vdi = make(sr)
    snapshot = wait(sr.vdi_snapshot(vdi.uuid, VdiSpec(name_label="s")))
    clone = wait(sr.vdi_clone(vdi.uuid, VdiSpec(name_label="c")))
    assert (snapshot.is_a_snapshot, snapshot.snapshot_of) == (True, vdi.uuid)
    assert (clone.is_a_snapshot, clone.snapshot_of) == (False, "")
    found = {v.uuid: v for v in wait(sr.scan())}
    assert found[vdi.uuid].managed
    assert {v.virtual_size for v in found.values()} == {vdi.virtual_size}


def test_garbage_collection_ends_with_one_disk(sr: AttachedSr) -> None:
    vdi = make(sr)
    snapshot = wait(sr.vdi_snapshot(vdi.uuid, VdiSpec()))
    wait(sr.vdi_destroy(snapshot.uuid))
    wait(sr.collect_garbage())
    assert [(v.uuid, v.parent) for v in wait(sr.scan())] == [(vdi.uuid, "")]


def test_growing_is_possible_and_shrinking_is_not(sr: AttachedSr) -> None:
    vdi = make(sr)
    assert wait(sr.vdi_resize(vdi.uuid, 128 * MIB)).virtual_size >= 128 * MIB
    assert refusal(sr.vdi_resize(vdi.uuid, 64 * MIB)).params[0] == "SR_BACKEND_FAILURE_79"


def test_one_host_activates_a_disk_again_after_it_let_go(sr: AttachedSr) -> None:
    vdi = make(sr)
    for _ in range(2):
        assert wait(sr.vdi_attach(vdi.uuid, True)).params
        wait(sr.vdi_activate(vdi.uuid, True))
        assert refusal(sr.vdi_destroy(vdi.uuid)).params[0] == "VDI_IN_USE"
        wait(sr.vdi_deactivate(vdi.uuid))
        wait(sr.vdi_detach(vdi.uuid))
    wait(sr.vdi_destroy(vdi.uuid))


def test_content_is_what_was_written(sr: AttachedSr) -> None:
    vdi = make(sr)
    path = Path(wait(sr.vdi_path(vdi.uuid, True)))
    assert path.stat().st_size == vdi.virtual_size
    with path.open("r+b") as file:
        file.write(b"content")
    wait(sr.vdi_note_written(vdi.uuid, [(0, 7)], False))
    snapshot = wait(sr.vdi_snapshot(vdi.uuid, VdiSpec()))
    with open(wait(sr.vdi_path(vdi.uuid, True)), "r+b") as file:
        file.write(b"changed")
    wait(sr.vdi_note_written(vdi.uuid, [(0, 7)], False))
    with open(wait(sr.vdi_path(snapshot.uuid, False)), "rb") as file:
        assert file.read(7) == b"content"


def test_changes_are_announced(sr: AttachedSr, notes: list[tuple[str, ...]]) -> None:
    notes.clear()
    vdi = make(sr)
    assert ("vdi", sr.uuid, vdi.uuid) in notes and ("sr", sr.uuid) in notes


def test_sr_with_disks_is_not_destroyed(sr: AttachedSr) -> None:
    vdi = make(sr)
    assert refusal(sr.destroy()).params[0] == "SR_NOT_EMPTY"
    wait(sr.vdi_destroy(vdi.uuid))
    wait(sr.destroy())

"""The contract of storage drivers; every driver must pass, the simulator does in all its types."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from sm.config import ArrayConfig, SmConfig
from sm.contract import AttachedSr, Driver, Vdi, VdiSpec
from sm.drivers.array import Array
from sm.drivers.simulator import SimulatorDriver, World
from sm.plugins import every_plugin
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


@pytest.fixture
def make_driver(tmp_path: Path, notes: list[tuple[str, ...]]) -> MakeDriver:
    """Drivers of the simulator; a real backend adds its own here."""

    def make(sr_type: str) -> Driver:
        world = World(
            Array(ArrayConfig()),
            SmConfig(profile="newest", host_uuid="host"),
            tmp_path / "local",
            tmp_path / "shared",
            lambda work: maybeDeferred(work),
            lambda *identifier: notes.append(identifier),
        )
        return SimulatorDriver(every_plugin()[sr_type], world)

    return make


@pytest.fixture(params=sorted(CONFIGS))
def sr(request: pytest.FixtureRequest, make_driver: MakeDriver) -> AttachedSr:
    driver, uuid, config = make_driver(request.param), new_uuid(), CONFIGS[request.param]
    stored, sm_config = wait(driver.create(uuid, config, {}, "name", "description", 0))
    return wait(driver.attach(uuid, stored, sm_config))


def make(sr: AttachedSr, **members: Any) -> Vdi:
    return wait(sr.vdi_create(VdiSpec(**{"virtual_size": 64 * MIB, **members})))


def used(sr: AttachedSr) -> int:
    return sum(v.physical_utilisation for v in wait(sr.scan()))


def refusal(coroutine: Coroutine[Any, Any, object]) -> RpcError:
    with pytest.raises(RpcError) as problem:
        wait(coroutine)
    return problem.value


def test_new_sr_is_named_and_empty(sr: AttachedSr) -> None:
    stat = wait(sr.stat())
    assert (stat.uuid, stat.name_label, stat.virtual_allocation) == (sr.uuid, "name", 0)
    assert stat.physical_size > 0 == stat.physical_utilisation


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
    snapshot = wait(sr.vdi_snapshot(vdi.uuid, VdiSpec()))
    with open(wait(sr.vdi_path(vdi.uuid, True)), "r+b") as file:
        file.write(b"changed")
    assert Path(wait(sr.vdi_path(snapshot.uuid, False))).read_bytes()[:7] == b"content"


def test_changes_are_announced(sr: AttachedSr, notes: list[tuple[str, ...]]) -> None:
    notes.clear()
    vdi = make(sr)
    assert ("vdi", sr.uuid, vdi.uuid) in notes and ("sr", sr.uuid) in notes


def test_sr_with_disks_is_not_destroyed(sr: AttachedSr) -> None:
    vdi = make(sr)
    assert refusal(sr.destroy()).params[0] == "SR_NOT_EMPTY"
    wait(sr.vdi_destroy(vdi.uuid))
    wait(sr.destroy())

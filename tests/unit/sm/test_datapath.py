from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from sm.daemon import DatapathMethods
from sm.datapath import DatapathStore, Holder, Move, State
from tests.unit.sm.storage_host import NFS, StorageHost, done
from xapi_py.base.names import new_uuid


@pytest.fixture
def host(tmp_path: Path) -> StorageHost:
    return StorageHost(tmp_path)


@pytest.fixture
def disk(host: StorageHost) -> dict[str, str]:
    sr = host.make_sr()
    return {"sr": sr, "vdi": host.make_vdi(sr)["uuid"]}


def attach(host: StorageHost, disk: dict[str, str], dp: str, vm: str, rw: bool = True) -> None:
    host.call("VDI.attach2", **disk, dp=dp, vm=vm, read_write=rw)


def test_attach_tells_how_to_reach_the_disk(host: StorageHost, disk: dict[str, str]) -> None:
    found = host.call("VDI.attach2", **disk, dp="a", vm="1", read_write=True)
    (kind, backend), block = found["implementations"]
    assert (kind, backend["backend_type"]) == ("XenDisk", "vbd3")
    assert backend["params"] == f"/dev/sm/backend/{disk['sr']}/{disk['vdi']}"
    assert block == ["BlockDevice", {"path": backend["params"]}]
    assert host.call("DP.attach_info", **disk, dp="a") == found


def test_who_holds_a_disk_that_moved_holds_the_new_one(tmp_path: Path) -> None:
    store = DatapathStore(tmp_path / "paths")
    holder = Holder("vbd/1/xvda", "1", True, State.ACTIVATED)
    store.put("sr", "vdi", holder)
    store.put("sr", "other", holder)
    move = Move("sr", "vdi", "there", "moved")
    store.put_move(move)
    store.close()
    store = DatapathStore(tmp_path / "paths")
    assert store.moves() == [move]
    store.hand_over(move)
    for again in (store, DatapathStore(tmp_path / "paths")):
        assert again.moves() == [] and again.holders("sr", "vdi") == {}
        assert again.holders("there", "moved") == {holder.dp: holder}
        assert again.of_datapath(holder.dp) == [("sr", "other"), ("there", "moved")]
        again.close()


def test_only_real_disks_in_use_are_mirrored(host: StorageHost, disk: dict[str, str]) -> None:
    new = {"dest_sr": host.make_sr(), "vdi_info": {"uuid": new_uuid()}}
    assert host.code("VDI.mirror", **disk, **new) == "SR_OPERATION_NOT_SUPPORTED"
    assert host.call("VDI.mirror_cancel", **disk) is None
    switch = {"dest_sr": disk["sr"], "dest_vdi": disk["vdi"]}
    assert host.code("VDI.mirror_switch", **disk, **switch) == "SR_BACKEND_FAILURE_46"
    assert host.call("VDI.progress", **disk) == 0.0
    assert host.call("VDI.settled", **disk) is None


def test_second_writer_is_refused(host: StorageHost, disk: dict[str, str]) -> None:
    attach(host, disk, "a", "1")
    second = {"dp": "b", "vm": "2", "read_write": True}
    assert host.code("VDI.attach2", **disk, **second) == "VDI_IN_USE"
    attach(host, disk, "c", "3", rw=False)


def test_sharable_disk_takes_many_writers(host: StorageHost, disk: dict[str, str]) -> None:
    host.call("VDI.set", **disk, changes={"sharable": True})
    for dp in ("a", "b"):
        attach(host, disk, dp, dp)
        host.call("VDI.activate3", **disk, dp=dp)
    assert len(host.call("DP.stat_vdi", **disk)["dps"]) == 2


def test_read_only_disk_is_not_attached_for_writing(
    host: StorageHost, disk: dict[str, str]
) -> None:
    host.call("VDI.set", **disk, changes={"read_only": True})
    second = {"dp": "b", "vm": "2", "read_write": True}
    assert host.code("VDI.attach2", **disk, **second) == "SR_BACKEND_FAILURE_46"
    attach(host, disk, "a", "1", rw=False)


def test_steps_must_be_taken_in_order(host: StorageHost, disk: dict[str, str]) -> None:
    error = host.error("VDI.activate3", **disk, dp="a")
    assert error == ("Illegal_transition", "Detached", "Activated")
    attach(host, disk, "a", "1")
    host.call("VDI.activate3", **disk, dp="a")
    error = host.error("VDI.detach", **disk, dp="a")
    assert error == ("Illegal_transition", "Activated", "Detached")
    error = host.error("VDI.attach2", **disk, dp="a", vm="1", read_write=False)
    assert error == ("Illegal_transition", "Attached(RW)", "Attached(RO)")


def test_steps_can_be_repeated(host: StorageHost, disk: dict[str, str]) -> None:
    for _ in range(2):
        attach(host, disk, "a", "1")
    for method in ("VDI.activate3", "VDI.deactivate", "VDI.detach"):
        for _ in range(2):
            host.call(method, **disk, dp="a")
    assert host.call("DP.list") == []


def test_destroying_a_datapath_lets_go_of_everything(
    host: StorageHost, disk: dict[str, str]
) -> None:
    other = {"sr": disk["sr"], "vdi": host.make_vdi(disk["sr"])["uuid"]}
    for each in (disk, other):
        attach(host, each, "a", "1")
        host.call("VDI.activate3", **each, dp="a")
    host.call("DP.destroy", dp="a")
    assert host.call("DP.list") == []
    host.call("VDI.destroy", **disk)


def test_held_disk_cannot_be_destroyed_or_resized(host: StorageHost, disk: dict[str, str]) -> None:
    attach(host, disk, "a", "1")
    host.call("VDI.activate3", **disk, dp="a")
    assert host.code("VDI.destroy", **disk) == "VDI_IN_USE"
    assert host.code("VDI.resize", **disk, new_size=2**31) == "VDI_IN_USE"
    host.call("VDI.snapshot", **disk, vdi_info={})


def test_holders_are_known_after_a_restart(host: StorageHost, disk: dict[str, str]) -> None:
    attach(host, disk, "a", "1")
    host.call("VDI.activate3", **disk, dp="a")
    before = host.call("DP.list")
    host.restart()
    assert host.call("DP.list") == before
    host.call("DP.destroy", dp="a")


def test_disk_is_active_for_writing_on_one_host_only(tmp_path: Path) -> None:
    hosts = [StorageHost(tmp_path, host=name) for name in ("host-1", "host-2")]
    sr = hosts[0].make_sr()
    hosts[1].call("SR.attach", sr=sr, type="nfs", device_config=NFS)
    disk = {"sr": sr, "vdi": hosts[0].make_vdi(sr)["uuid"]}
    for host in hosts:
        attach(host, disk, "a", "1")
    hosts[0].call("VDI.activate3", **disk, dp="a")
    error = hosts[1].error("VDI.activate3", **disk, dp="a")
    assert error == ("Activated_on_another_host", "host-1")
    assert hosts[1].code("VDI.destroy", **disk) == "VDI_IN_USE"
    hosts[1].call("SR.release_host_locks", sr=sr, host_uuid="host-1")
    hosts[1].call("VDI.activate3", **disk, dp="a")


class SlowDriver:
    """An SR whose disks take their time to become active."""

    uuid = "sr"

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.activation: Deferred[None] = Deferred()

    async def vdi_stat(self, vdi: str) -> Any:
        return SimpleNamespace(sharable=False)

    async def vdi_activate(self, vdi: str, read_write: bool) -> None:
        self.heard.append("activate")
        await self.activation

    async def vdi_deactivate(self, vdi: str) -> None:
        self.heard.append("deactivate")

    async def vdi_detach(self, vdi: str) -> None:
        self.heard.append("detach")

    async def run_on_vdi(self, sr: str, vdi: str, work: Any) -> Any:
        return await work(self)


def test_an_activation_that_is_cut_off_leaves_nothing_active(tmp_path: Path) -> None:
    driver, store = SlowDriver(), DatapathStore(tmp_path / "datapaths")
    store.put("sr", "vdi", Holder("a", "1", True, State.ATTACHED))
    methods = DatapathMethods(driver, store)  # type: ignore[arg-type]
    activation = Deferred.fromCoroutine(methods.activate("sr", "vdi", "a"))
    activation.cancel()
    with pytest.raises(CancelledError):
        done(activation)
    assert driver.heard == ["activate", "deactivate"]
    done(Deferred.fromCoroutine(methods.destroy("a")))
    assert driver.heard == ["activate", "deactivate", "detach"]
    assert store.datapaths() == []

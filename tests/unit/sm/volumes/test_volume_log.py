"""The metadata volume: commits whole or not at all, full logs, two hosts, damage; locks."""

import os
from pathlib import Path

import pytest

from sm.volumes import volume_log
from sm.volumes.device import BLOCK, Device
from sm.volumes.host_locks import HOSTS, LOCKS_AT, HostLocks
from sm.volumes.volume_log import LOGS_AT, NotOurs, VolumeLog
from xapi_py.base.names import new_uuid
from xapi_py.base.rpc.errors import RpcError

SR = new_uuid()
MIB = 1024**2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "MGT"
    path.write_bytes(b"\xa5" * 5 * MIB)
    os.truncate(path, 6 * MIB)
    volume_log.make(path, SR, {"sr": {"name": "x"}})
    return path


def opened(path: Path, host: str = "a") -> VolumeLog:
    log = VolumeLog(path, host)
    log.take_charge()
    return log


def test_commits_survive_and_are_seen_by_others(path: Path) -> None:
    log, other = opened(path), VolumeLog(path, "b")
    log.commit({"vdi/1": {"n": 1}, "vdi/2": {"n": 2}})
    log.commit({"vdi/1": None})
    assert other.refresh() and not other.refresh()
    again = VolumeLog(path, "c")
    for reader in (log, other, again):
        assert reader.records == {"sr": {"name": "x"}, "vdi/2": {"n": 2}}
    assert other.generation == again.generation == log.generation == 3


def test_full_log_goes_on_in_the_other_half(path: Path) -> None:
    log, other = opened(path), VolumeLog(path, "b")
    for number in range(1000):
        log.commit({f"vdi/{number % 7}": {"n": number}})
        if number % 100 == 0:
            other.refresh()
            assert other.records == log.records
    other.refresh()
    assert other.records == log.records == VolumeLog(path, "c").records
    assert other.lost_lines == 0
    with pytest.raises(RpcError, match="SR_BACKEND_FAILURE_44"):
        for number in range(100):
            log.commit({f"large/{number}": {"text": "x" * 50_000}})
    assert VolumeLog(path, "c").records == log.records


def test_host_that_was_replaced_cannot_write(path: Path) -> None:
    log, other = opened(path), opened(path, "b")
    with pytest.raises(RpcError, match="SR_BACKEND_FAILURE_58"):
        log.commit({"vdi/1": {}})
    other.commit({"vdi/2": {}})
    log.take_charge()
    assert "vdi/2" in log.records and "vdi/1" not in log.records
    log.commit({"vdi/1": {}})
    with pytest.raises(RpcError, match="SR_BACKEND_FAILURE_58"):
        other.commit({"vdi/3": {}})


@pytest.mark.parametrize("cut", [0, 10, 40, 4096, 5000])
def test_commit_that_was_cut_short_never_was(path: Path, cut: int) -> None:
    log = opened(path)
    log.commit({"vdi/1": {"n": 1}})
    end = LOGS_AT + 2 * BLOCK
    before = path.read_bytes()[end : end + 3 * BLOCK]
    log.commit({"vdi/2": {"text": "y" * 6000}})
    with path.open("r+b") as file:
        file.seek(end + cut)
        file.write(before[cut:])
    again = opened(path)
    assert again.records == {"sr": {"name": "x"}, "vdi/1": {"n": 1}} and not again.lost_lines
    again.commit({"vdi/3": {}})
    assert set(VolumeLog(path, "c").records) == {"sr", "vdi/1", "vdi/3"}


def test_damage_in_the_middle_is_noticed_and_the_rest_is_read(path: Path) -> None:
    log = opened(path)
    for number in range(5):
        log.commit({f"vdi/{number}": {"text": "z" * 5000}})
    with path.open("r+b") as file:
        file.seek(LOGS_AT + 3 * BLOCK + 200)
        file.write(b"????")
    again = opened(path)
    assert set(again.records) == {"sr", "vdi/0", "vdi/2", "vdi/3", "vdi/4"}
    assert again.lost_lines == 1
    again.commit({"vdi/9": {}})
    assert "vdi/9" in VolumeLog(path, "c").records


@pytest.mark.parametrize("copies, works", [((0,), True), ((1,), True), ((0, 1), False)])
def test_one_copy_of_the_head_is_enough(path: Path, copies: tuple[int, ...], works: bool) -> None:
    log = opened(path)
    log.commit({"vdi/1": {}})
    with path.open("r+b") as file:
        for copy in copies:
            file.seek(copy * BLOCK + 12)
            file.write(b"!!!!")
    if works:
        assert "vdi/1" in VolumeLog(path, "c").records
    else:
        with pytest.raises(NotOurs):
            VolumeLog(path, "c")


def test_what_another_sr_left_is_not_read(path: Path) -> None:
    log = opened(path)
    for number in range(20):
        log.commit({f"old/{number}": {}})
    volume_log.make(path, new_uuid(), {"sr": {"name": "new"}})
    assert opened(path).records == {"sr": {"name": "new"}}


def locks(path: Path, host: str) -> HostLocks:
    return HostLocks(Device(path), host)


def test_one_writer_many_readers(path: Path) -> None:
    first, second, vdi = locks(path, "a"), locks(path, "b"), new_uuid()
    first.lock(vdi, writing=True, sharable=False)
    first.lock(vdi, writing=True, sharable=False)
    second.lock(vdi, writing=False, sharable=False)
    with pytest.raises(RpcError, match="Activated_on_another_host"):
        second.lock(vdi, writing=True, sharable=False)
    assert sorted(first.holders(vdi)) == [("a", True), ("b", False)]
    assert second.held_elsewhere() == {vdi: "a"} and first.held_elsewhere() == {}
    first.unlock(vdi)
    second.lock(vdi, writing=True, sharable=False)
    with pytest.raises(RpcError, match="Activated_on_another_host"):
        first.lock(vdi, writing=True, sharable=False)
    first.release("b")
    first.lock(vdi, writing=True, sharable=False)


def test_sharable_disk_has_several_writers(path: Path) -> None:
    vdi = new_uuid()
    for host in ("a", "b"):
        locks(path, host).lock(vdi, writing=True, sharable=True)
    assert len(locks(path, "c").holders(vdi)) == 2


def test_half_written_place_is_the_one_before(path: Path) -> None:
    held, vdi = locks(path, "a"), new_uuid()
    held.lock(vdi, writing=True, sharable=False)
    held.lock(new_uuid(), writing=True, sharable=False)
    data = path.read_bytes()
    newest = max(
        (at for at in range(LOCKS_AT, LOGS_AT, 16384) if data[at : at + 4] == b"xpL1"),
        key=lambda at: int.from_bytes(data[at + 8 : at + 16], "little"),
    )
    with path.open("r+b") as file:
        file.seek(newest + 90)
        file.write(b"\xff" * 10)
    assert locks(path, "b").holders(vdi) == [("a", True)]


def test_every_host_of_a_pool_has_a_place_and_one_more_has_not(path: Path) -> None:
    vdis = [new_uuid() for _ in range(HOSTS)]
    for number, vdi in enumerate(vdis):
        locks(path, f"host-{number}").lock(vdi, writing=True, sharable=False)
    assert set(locks(path, "x").held_elsewhere()) == set(vdis)
    with pytest.raises(RpcError, match="SR_BACKEND_FAILURE_47"):
        locks(path, "x").lock(new_uuid(), writing=True, sharable=False)

from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from sm.drivers.medium import Disk, Medium, Records


class LaterRunner:
    """Runs works when told to, as a thread would."""

    def __init__(self) -> None:
        self.waiting: list[tuple[object, Deferred[object]]] = []

    def __call__(self, work: object) -> "Deferred[object]":
        done: Deferred[object] = Deferred()
        self.waiting.append((work, done))
        return done

    def run(self) -> int:
        works, self.waiting = self.waiting, []
        for work, done in works:
            try:
                done.callback(work())  # type: ignore[operator]
            except Exception as problem:
                done.errback(problem)
        return len(works)


@pytest.fixture
def runner() -> LaterRunner:
    return LaterRunner()


@pytest.fixture
def medium(tmp_path: Path, runner: LaterRunner) -> Medium:
    return Medium(tmp_path / "m", 1000, runner)


def ask(medium: Medium, work: object) -> list[object]:
    found: list[object] = []
    Deferred.fromCoroutine(medium.change(work)).addBoth(found.append)  # type: ignore[arg-type]
    return found


def put(name: str) -> object:
    return lambda records: records.put_disk("sr", Disk(name, "", {"virtual_size": 7}), 5)


def test_changes_asked_for_meanwhile_share_a_commit(medium: Medium, runner: LaterRunner) -> None:
    ask(medium, lambda records: records.put_sr("sr", "nfs", "", "", {}))
    found = [ask(medium, put(f"d{n}")) for n in range(10)]
    assert runner.run() == 1
    assert runner.run() == 1
    assert found == [[None]] * 10
    assert medium.records.used_bytes() == 50


def test_failing_change_undoes_itself_alone(medium: Medium, runner: LaterRunner) -> None:
    def half(records: Records) -> None:
        put("bad")(records)  # type: ignore[operator]
        raise ValueError("half way")

    ask(medium, lambda records: records.put_sr("sr", "nfs", "", "", {}))
    good, bad, after = ask(medium, put("a")), ask(medium, half), ask(medium, put("b"))
    while runner.waiting:
        runner.run()
    assert good == after == [None]
    assert "half way" in str(bad[0])
    assert medium.records.find_disk("sr", "bad") is None
    assert medium.records.used_bytes() == 10


def test_failed_commit_fails_all_its_changes(tmp_path: Path, runner: LaterRunner) -> None:
    def disk_full(stage: str) -> None:
        if stage == "before":
            raise OSError("disk full")

    medium = Medium(tmp_path / "m", 1000, runner, disk_full)
    found = ask(medium, lambda records: records.put_sr("sr", "nfs", "", "", {}))
    runner.run()
    assert "disk full" in str(found[0])
    assert medium.records.srs() == []

"""Long work in slices."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from xapi_py.base.slices import SLICE_S, Slices, Steps


class Turns:
    """A clock that runs in a turn only what was due before it, as reactors do."""

    def __init__(self) -> None:
        self.due: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def seconds(self) -> float:
        return 0.0

    def callLater(self, delay: float, call: Callable[..., Any], /, *args: Any) -> Any:  # noqa: N802
        assert delay == 0
        self.due.append((call, args))

    def turn(self) -> None:
        due, self.due = self.due, []
        for call, args in due:
            call(*args)


class Time:
    """Work that takes a known time for each step, and the clock that shows it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.clock = Turns()
        self.slices = Slices(self.clock, lambda: self.now)
        self.done: list[str] = []

    def work(self, name: str, steps: int, each_s: float = SLICE_S) -> Steps[str]:
        for number in range(steps):
            self.now += each_s
            self.done.append(f"{name}{number}")
            yield
        return name


def test_work_of_less_than_a_slice_is_done_at_once() -> None:
    time = Time()
    assert time.slices.run(time.work("a", 3, SLICE_S / 10)) == "a"
    assert time.clock.due == []


def test_long_work_gives_every_turn_back_after_a_slice() -> None:
    time = Time()
    found: Any = time.slices.run(time.work("a", 3))
    assert isinstance(found, Deferred)
    for count in (1, 2, 3):
        assert len(time.done) == count
        assert not found.called
        time.clock.turn()
    assert found.result == "a"
    assert time.clock.due == []


def test_several_works_take_turns_with_one_slice_a_turn() -> None:
    time = Time()
    first: Any = time.slices.run(time.work("a", 2))
    second: Any = time.slices.run(time.work("b", 2))
    while not (first.called and second.called):
        before = len(time.done)
        time.clock.turn()
        assert len(time.done) - before <= 1
    assert time.done == ["a0", "a1", "b0", "b1"] or time.done == ["a0", "b0", "a1", "b1"]


def test_a_failure_reaches_whoever_waits_and_nobody_else() -> None:
    time = Time()

    def failing() -> Steps[str]:
        yield from time.work("a", 2)
        raise ValueError("a")

    with pytest.raises(ValueError):
        time.slices.run(_fail_at_once())
    first: Any = time.slices.run(failing())
    second: Any = time.slices.run(time.work("b", 2))
    failed: list[str] = []
    first.addErrback(lambda failure: failed.append(str(failure.value)))
    for _ in range(8):
        time.clock.turn()
    assert failed == ["a"]
    assert second.result == "b"


def _fail_at_once() -> Steps[str]:
    raise ValueError("at once")
    yield

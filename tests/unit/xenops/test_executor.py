"""Running plans: order, parallel steps, limits, time, cancellation."""

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from tests.unit.xenops.factories import begun, done, outcome
from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.undo import Undo
from xenops.executor import Executor, Progress
from xenops.plan import Atom, AtomKind, Parallel, Serial, Step
from xenops.queues import Slots


class Script:
    """Effects that wait until told to end; devices name atoms."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.waiting: dict[str, Deferred[None]] = {}
        self.cancelled: list[str] = []

    async def run(self, atom: Atom, undo: Undo) -> None:
        self.begun.append(atom.device)
        if not atom.option:
            return
        waiter = self.waiting[atom.device] = Deferred()
        try:
            await waiter
        except CancelledError:
            self.cancelled.append(atom.device)
            raise


def instant(name: str, kind: AtomKind = AtomKind.VBD_PLUG) -> Atom:
    return Atom(kind, name)


def waits(name: str, kind: AtomKind = AtomKind.VBD_PLUG) -> Atom:
    return Atom(kind, name, "wait")


class Lab:
    def __init__(self, slots: int = 4) -> None:
        self.clock = Clock()
        self.script = Script()
        self.executor = Executor(self.clock, Slots(slots))
        self.progress = Progress(lambda: None)

    def run(self, step: Step) -> "Deferred[None]":
        self.progress.expect(step)
        return begun(self.executor.run(step, self.script, Undo(), self.progress))


def test_serial_steps_wait_for_each_other() -> None:
    lab = Lab()
    running = lab.run(Serial("s", (instant("a"), waits("b"), instant("c"))))
    assert lab.script.begun == ["a", "b"]
    assert lab.progress.fraction == pytest.approx(1 / 3)
    lab.script.waiting["b"].callback(None)
    outcome(running)
    assert lab.script.begun == ["a", "b", "c"]
    assert lab.progress.fraction == 1.0


def test_parallel_steps_run_ten_at_a_time() -> None:
    lab = Lab()
    running = lab.run(Parallel("p", tuple(waits(str(n)) for n in range(12))))
    assert len(lab.script.begun) == 10
    for n in range(10):
        lab.script.waiting[str(n)].callback(None)
    assert lab.script.begun[10:] == ["10", "11"]
    for n in (10, 11):
        lab.script.waiting[str(n)].callback(None)
    outcome(running)


def test_a_failure_skips_the_rest_and_cancels_what_runs_beside_it() -> None:
    lab = Lab()
    beside = Parallel("p", (waits("a"), waits("b")))
    running = lab.run(Serial("s", (beside, instant("after"))))
    lab.script.waiting["b"].errback(RpcError("No"))
    with pytest.raises(RpcError, match="No"):
        outcome(running)
    assert lab.script.cancelled == ["a"]
    assert "after" not in lab.script.begun


def test_cancelling_reaches_all_parallel_steps() -> None:
    lab = Lab()
    running = lab.run(Parallel("p", (waits("a"), waits("b"))))
    running.cancel()
    with pytest.raises(CancelledError):
        outcome(running)
    assert lab.script.cancelled == ["a", "b"]


def test_an_atom_that_takes_too_long_is_given_up() -> None:
    lab = Lab()
    running = lab.run(waits("a"))
    lab.clock.advance(1200)
    with pytest.raises(RpcError) as problem:
        outcome(running)
    assert problem.value.args == ("Operation_timed_out", "VBD_plug", 1200.0)
    assert lab.clock.getDelayedCalls() == []


def test_heavy_atoms_of_all_vms_share_their_places() -> None:
    lab = Lab(slots=1)
    first = lab.run(waits("a", AtomKind.BUILD))
    second = lab.run(waits("b", AtomKind.BUILD))
    light = lab.run(waits("c"))
    assert lab.script.begun == ["a", "c"]
    first.cancel()
    with pytest.raises(CancelledError):
        outcome(first)
    assert lab.script.begun == ["a", "c", "b"]
    for name, running in (("b", second), ("c", light)):
        lab.script.waiting[name].callback(None)
        outcome(running)


def test_giving_up_the_wait_for_a_place_leaves_it_to_others() -> None:
    slots = Slots(1)
    done(slots.acquire())
    waiting, next_one = begun(slots.acquire()), begun(slots.acquire())
    waiting.cancel()
    with pytest.raises(CancelledError):
        outcome(waiting)
    slots.release()
    outcome(next_one)

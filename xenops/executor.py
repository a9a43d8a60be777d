"""Run the steps of a plan."""

from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.defer import CancelledError, Deferred

from xapi_py.base.reactor import Clock
from xapi_py.base.undo import Undo
from xenops import errors
from xenops.plan import WEIGHTS, Atom, AtomKind, Parallel, Serial, Step, weight
from xenops.queues import Slots
from xenops.waiting import gather

ATOM_TIMEOUT_S: Final = 1200.0
PARALLEL_LIMIT: Final = 10
"""How many steps of one parallel step run at a time."""

HEAVY: Final = frozenset(
    {AtomKind.BUILD, AtomKind.RESTORE, AtomKind.SAVE, AtomKind.CREATE_DEVICE_MODEL}
)
"""Atoms that keep a processor or a disk busy; those that wait for a guest are not."""


class Effects(Protocol):
    """What carries out atoms on one VM."""

    async def run(self, atom: Atom, undo: Undo) -> None:
        """Carry out one atom, telling ``undo`` how to take it back."""


class Progress:
    """How far an operation is, 0..1; tells ``report`` at each finished atom."""

    def __init__(self, report: Callable[[], None]) -> None:
        self._report = report
        self._total = 0.0
        self._done = 0.0

    @property
    def fraction(self) -> float:
        """The finished share."""
        return min(1.0, self._done / self._total) if self._total else 0.0

    def expect(self, *steps: Step) -> None:
        """Add the weight of what is to be done."""
        self._total += sum(weight(step) for step in steps)

    def done(self, atom: Atom) -> None:
        """Note a finished atom."""
        self._done += WEIGHTS.get(atom.kind, 1.0)
        self._report()


class Executor:
    """Runs plans; heavy atoms of all VMs share ``slots``."""

    def __init__(self, clock: Clock, slots: Slots, atom_timeout_s: float = ATOM_TIMEOUT_S) -> None:
        self._clock = clock
        self._slots = slots
        self._atom_timeout_s = atom_timeout_s

    async def run(self, step: Step, effects: Effects, undo: Undo, progress: Progress) -> None:
        """Run a step to its end, or to its first failure, which is raised.

        Taking back what was done is the caller's decision: ``undo`` holds it.
        """
        match step:
            case Atom():
                await self._atom(step, effects, undo)
                progress.done(step)
            case Serial():
                for inner in step.steps:
                    await self.run(inner, effects, undo, progress)
            case Parallel():
                for first in range(0, len(step.steps), PARALLEL_LIMIT):
                    chunk = step.steps[first : first + PARALLEL_LIMIT]
                    await gather([self.run(s, effects, undo, progress) for s in chunk])

    async def _atom(self, atom: Atom, effects: Effects, undo: Undo) -> None:
        if atom.kind not in HEAVY:
            await self._timed(atom, effects, undo)
            return
        await self._slots.acquire()
        try:
            await self._timed(atom, effects, undo)
        finally:
            self._slots.release()

    async def _timed(self, atom: Atom, effects: Effects, undo: Undo) -> None:
        running = Deferred.fromCoroutine(effects.run(atom, undo))
        if running.called:
            await running
            return
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            running.cancel()

        timer = self._clock.callLater(self._atom_timeout_s, expire)
        try:
            await running
        except CancelledError:
            if expired:
                raise errors.timed_out(atom.kind, self._atom_timeout_s) from None
            raise
        finally:
            if timer.active():
                timer.cancel()

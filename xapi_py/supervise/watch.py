"""Keep all processes of a pool running, and stop them in order.

States of the whole: starting -> running -> stopping -> stopped.  A process
that ends while starting stops everything; one that ends while running is
started again; the first signal stops everything, the second one at once.
"""

import enum
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import xapi_py
from xapi_py.base.lifeline import die_with_parent
from xapi_py.supervise.backoff import Backoff
from xapi_py.supervise.child import Child
from xapi_py.supervise.layout import Answer, DaemonSpec
from xapi_py.supervise.loop import Loop
from xapi_py.supervise.options import UsageError

log = logging.getLogger("supervisor")

READY_S: Final = 60.0
"""How long a process may take from its start until it answers."""

STOP_S: Final = 10.0
"""How long a process may take to end when told to."""


class State(enum.Enum):
    """Where the whole pool is."""

    STARTING = enum.auto()
    RUNNING = enum.auto()
    STOPPING = enum.auto()


class Slot:
    """A daemon and, most of the time, the process that runs it."""

    __slots__ = ("answer", "backoff", "child", "ready", "restart", "spec", "started_s", "timer")

    def __init__(self, spec: DaemonSpec) -> None:
        self.spec = spec
        self.child: Child | None = None
        self.ready = False
        self.answer: Answer = {}
        self.backoff = Backoff()
        self.started_s = 0.0
        self.timer: int | None = None
        self.restart: int | None = None


class Supervisor:
    """Run the processes of ``specs`` until a signal comes or a start fails.

    ``on_ready`` gets, once, what xapi of each host announced; ``problem`` says
    after ``run`` why the pool could not start, in the daemon's own words.
    ``kept`` is a descriptor that every process holds open.
    """

    def __init__(
        self,
        specs: Sequence[DaemonSpec],
        kept: int,
        on_ready: Callable[[dict[int, Answer]], None],
        *,
        ready_s: float = READY_S,
        stop_s: float = STOP_S,
    ) -> None:
        self.problem: str | None = None
        self._slots = [Slot(spec) for spec in specs]
        self._kept = (kept,)
        self._on_ready = on_ready
        self._ready_s = ready_s
        self._stop_s = stop_s
        self._loop = Loop()
        self._state = State.STARTING
        self._stop_stage = max(spec.stage for spec in specs)
        self._tie = die_with_parent()
        self._environment = _environment()

    def run(self) -> int:
        """Run everything and give the exit status for the shell."""
        self._loop.later(0.0, self._begin)
        self._loop.run(self._finished, self._signal)
        return 1 if self.problem else 0

    def _finished(self) -> bool:
        return self._state is State.STOPPING and not any(s.child for s in self._slots)

    def _signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            for slot in self._slots:
                self._look_at(slot)
        elif self._state is State.STOPPING:
            log.info("asked again to stop: killing what is left")
            for slot in self._slots:
                if slot.child:
                    slot.child.kill()
        else:
            log.info("stopping (%s)", signal.Signals(number).name)
            self._stop()

    # starting

    def _begin(self) -> None:
        for slot in self._slots:
            if slot.spec.stage == 0 and self._state is State.STARTING:
                self._start(slot)

    def _start(self, slot: Slot) -> None:
        slot.restart = None
        slot.started_s = self._loop.now()
        try:
            child = Child(slot.spec, slot.answer, self._kept, self._tie, self._environment)
        except (OSError, subprocess.SubprocessError) as error:
            self._failed(slot, f"{slot.spec.label} cannot start: {error}")
            return
        log.debug("%s started as process %d", slot.spec.label, child.pid)
        slot.child, slot.ready = child, False
        self._loop.watch(child.ready_end, lambda: self._announced(slot, child))
        slot.timer = self._loop.later(self._ready_s, lambda: self._too_slow(slot))

    def _announced(self, slot: Slot, child: Child) -> None:
        try:
            answer = child.read_ready()
        except EOFError:
            self._release(slot)
            slot.timer = self._loop.later(self._ready_s, lambda: self._too_slow(slot))
            return
        if answer is None:
            return
        self._release(slot)
        slot.ready, slot.answer = True, answer
        log.log(
            logging.INFO if self._state is State.RUNNING else logging.DEBUG,
            "%s answers after %.2f s",
            slot.spec.label,
            self._loop.now() - slot.started_s,
        )
        if self._state is State.STARTING:
            self._go_on(slot.spec.host)

    def _go_on(self, host: int) -> None:
        """Start the next stage of a host whose stages so far are ready."""
        mine = [slot for slot in self._slots if slot.spec.host == host]
        waiting = [slot for slot in mine if not slot.ready]
        if not waiting and all(slot.ready for slot in self._slots):
            self._state = State.RUNNING
            self._tell()
        elif waiting and not any(slot.child for slot in waiting):
            stage = min(slot.spec.stage for slot in waiting)
            for slot in waiting:
                if slot.spec.stage == stage:
                    self._start(slot)

    def _tell(self) -> None:
        try:
            self._on_ready({s.spec.host: s.answer for s in self._slots if s.spec.name == "xapi"})
        except UsageError as error:
            self.problem = str(error)
            self._stop()

    def _too_slow(self, slot: Slot) -> None:
        slot.timer = None
        if slot.child is None:
            return
        log.warning("%s did not answer within %g s", slot.spec.label, self._ready_s)
        if self._state is State.STARTING:
            text = f"{slot.spec.label} did not answer within {self._ready_s:g} s"
            self._failed(slot, _with_tail(text, slot.child))
        slot.child.kill()

    # ending

    def _look_at(self, slot: Slot) -> None:
        child = slot.child
        how = child.ended() if child else None
        if child is None or how is None:
            return
        self._release(slot)
        slot.child, slot.ready = None, False
        label = slot.spec.label
        match self._state:
            case State.STARTING:
                self._failed(slot, _with_tail(f"{label} cannot start ({how})", child))
            case State.RUNNING:
                delay_s = slot.backoff.ended(self._loop.now() - slot.started_s)
                when = f"in {delay_s:g} s" if delay_s else "now"
                log.warning("%s", _with_tail(f"{label} ended ({how}); starts again {when}", child))
                slot.restart = self._loop.later(delay_s, lambda: self._start(slot))
            case State.STOPPING:
                log.debug("%s ended (%s)", label, how)
                self._stop_next()

    def _release(self, slot: Slot) -> None:
        if slot.timer is not None:
            self._loop.cancel(slot.timer)
            slot.timer = None
        if slot.child is not None and slot.child.ready_end >= 0:
            self._loop.forget(slot.child.ready_end)
            slot.child.close_ready()

    def _failed(self, slot: Slot, text: str) -> None:
        """A process could not start: the end when starting, another try when running."""
        if self._state is State.STARTING:
            self.problem = text
            self._stop()
        elif self._state is State.RUNNING:
            delay_s = slot.backoff.ended(0.0) or 1.0
            log.error("%s; again in %g s", text, delay_s)
            slot.restart = self._loop.later(delay_s, lambda: self._start(slot))

    def _stop(self) -> None:
        self._state = State.STOPPING
        for slot in self._slots:
            if slot.restart is not None:
                self._loop.cancel(slot.restart)
                slot.restart = None
        self._ask_stage()

    def _stop_next(self) -> None:
        if not any(s.child for s in self._slots if s.spec.stage == self._stop_stage):
            self._stop_stage -= 1
            if self._stop_stage >= 0:
                self._ask_stage()

    def _ask_stage(self) -> None:
        asked = [s for s in self._slots if s.child and s.spec.stage == self._stop_stage]
        for slot in asked:
            if slot.child:
                slot.child.terminate()
                self._loop.later(self._stop_s, lambda slot=slot: self._too_long(slot))  # type: ignore[misc]
        if not asked and self._stop_stage > 0:
            self._stop_next()

    def _too_long(self, slot: Slot) -> None:
        if slot.child:
            log.warning("%s did not end within %g s: killed", slot.spec.label, self._stop_s)
            slot.child.kill()


def _with_tail(text: str, child: Child) -> str:
    tail = child.tail()
    return f"{text}; its last words, from {child.spec.log}:\n{tail}" if tail else text


def _environment() -> dict[str, str]:
    """Give the children's environment: they import the code this process runs."""
    root = str(Path(xapi_py.__file__).parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}

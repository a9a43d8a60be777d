"""Operations under way, by the name their caller gave them."""

from typing import Final

from twisted.internet.defer import Deferred

from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.updates import UpdateFeed
from xenops import errors
from xenops.executor import Progress

REPORT_EVERY_S: Final = 0.25
"""Progress of an operation is announced no more often than this."""


class Task:
    """One operation: its progress, and the way to cancel it."""

    def __init__(self, table: "TaskTable", dbg: str) -> None:
        self._table = table
        self._dbg = dbg
        self._reported_at = table.clock.seconds()
        self.progress = Progress(self._report)
        self.running: Deferred[object] | None = None

    def _report(self) -> None:
        now = self._table.clock.seconds()
        if self._dbg and now - self._reported_at >= REPORT_EVERY_S:
            self._reported_at = now
            self._table.feed.add("task", self._dbg)


class TaskTable:
    """Running operations; several may go by one name, the latest is meant."""

    def __init__(self, clock: Clock, feed: UpdateFeed) -> None:
        self.clock = clock
        self.feed = feed
        self._tasks: dict[str, list[Task]] = {}

    def begin(self, dbg: str) -> Task:
        """Register an operation."""
        task = Task(self, dbg)
        self._tasks.setdefault(dbg, []).append(task)
        return task

    def end(self, dbg: str, task: Task) -> None:
        """Forget it."""
        tasks = self._tasks[dbg]
        tasks.remove(task)
        if not tasks:
            del self._tasks[dbg]

    def stat(self, dbg: str) -> dict[str, object]:
        """Give ``{"progress": 0..1}``.  Errors: Does_not_exist when it is over."""
        tasks = self._tasks.get(dbg)
        if not tasks:
            raise errors.does_not_exist("task", dbg)
        return {"progress": tasks[-1].progress.fraction}

    def names(self) -> list[str]:
        """Give the names of all running operations."""
        return list(self._tasks)

    def cancel(self, dbg: str) -> bool:
        """Cancel all operations of a name; whether there were any."""
        tasks = list(self._tasks.get(dbg, ()))
        for task in tasks:
            if task.running is not None:
                task.running.cancel()
        return bool(tasks)

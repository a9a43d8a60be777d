"""Garbage collection of SRs as tasks that clients see, can follow and cancel."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred

from xapi_py.base.reactor import Clock
from xapi_py.base.waiting import sleep
from xapi_py.db.database import Database
from xapi_py.pool.following import TROUBLE, result_of
from xapi_py.pool.gateway import Daemon
from xapi_py.pool.storage_records import find_uuid
from xapi_py.task.tasks import Tasks, cancelled

log = logging.getLogger(__name__)

LABEL: Final = "Garbage Collection"
POLL_S: Final = 0.5
SHOWN: Final = 8
"""At most so many skipped disks are named in the task's description."""


class GarbageTasks:
    """Makes a task for each round in which the storage daemon merges images."""

    def __init__(self, db: Database, tasks: Tasks, daemon: Daemon, clock: Clock) -> None:
        self._db = db
        self._tasks = tasks
        self._daemon = daemon
        self._clock = clock
        self._watched: set[str] = set()

    def merging(self, sr: str) -> None:
        """Note that an SR's garbage collection merges something; follows it to its end."""
        if sr not in self._watched:
            self._watched.add(sr)
            Deferred.fromCoroutine(self._watch(sr)).addErrback(
                lambda f: log.error("following a collection failed\n%s", f.getTraceback())
            )

    async def _watch(self, sr: str) -> None:
        row = self._db.find("SR", find_uuid(self._db, "SR", sr) or "")
        task = self._tasks.create(LABEL, row.name_label if row is not None else sr)
        stop = False

        def cancel() -> None:
            nonlocal stop
            stop = True
            Deferred.fromCoroutine(self._stop(sr)).addErrback(log.error)

        try:
            self._tasks.cancellable(task, cancel)
            while (report := await self._report(sr)).get("running"):
                self._tasks.progress(task, float(report.get("progress", 0.0)))
                await sleep(self._clock, POLL_S)
            self._describe(task, report)
            if stop:
                self._tasks.fail(task, cancelled(task))
            else:
                self._tasks.succeed(task, "")
        finally:
            self._watched.discard(sr)

    async def _report(self, sr: str) -> Mapping[str, Any]:
        try:
            params = {"sr": sr}
            found: Mapping[str, Any] = result_of(
                await self._daemon.read("SR.garbage_report", params, dbg="garbage")
            )
        except TROUBLE as problem:
            log.info("the garbage collection of %s ended: %s", sr, problem)
            return {}
        return found

    async def _stop(self, sr: str) -> None:
        try:
            await self._daemon.read("SR.stop_collecting", {"sr": sr}, dbg="garbage")
        except TROUBLE as problem:
            log.info("the garbage collection of %s ended: %s", sr, problem)

    def _describe(self, task: str, report: Mapping[str, Any]) -> None:
        row = self._db.find("task", task)
        if row is None:
            return
        skipped = [f"{s['vdi']}: {s['reason']}" for s in report.get("skipped", ())]
        text = f"{row.name_description}; merged: {len(report.get('done', ()))}"
        if skipped:
            more = f" and {len(skipped) - SHOWN} more" if len(skipped) > SHOWN else ""
            text += f"; skipped: {'; '.join(skipped[:SHOWN])}{more}"
        with self._db.transaction() as tx:
            tx.set("task", task, "name_description", text)

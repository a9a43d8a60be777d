"""Task records: what runs, how far it is, how it ended, and how to stop it.

A task's row is all a client sees; the object here knows the running code.
``result`` is XML text whatever dialect the client speaks.
Source: facts/wire.md, "Asynchronous calls and tasks".
"""

from collections.abc import Callable

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref, new_uuid
from xapi_py.base.reactor import Clock
from xapi_py.datamodel import errors as err
from xapi_py.db.database import Database
from xapi_py.db.row import Row

FINISHED_LIFETIME_S = 3900
PENDING_LIFETIME_S = 86400
MAX_TASKS = 200
"""Above this many, finished tasks go early, the oldest first."""

FINISHED_STATES = frozenset({"success", "failure", "cancelled"})

Cancel = Callable[[], None]


class Tasks:
    """Make, complete, cancel and tidy up tasks."""

    def __init__(self, db: Database, clock: Clock, this_host: Callable[[], Ref]) -> None:
        self._db = db
        self._clock = clock
        self._this_host = this_host
        self._cancels: dict[str, Cancel] = {}

    def create(
        self,
        label: str,
        description: str = "",
        *,
        subtask_of: Ref = NULL_REF,
        session: Ref = NULL_REF,
    ) -> Ref:
        """Make a pending task."""
        with self._db.transaction() as tx:
            return tx.create(
                "task",
                {
                    "name_label": label,
                    "name_description": description,
                    "created": int(self._clock.seconds()),
                    "finished": 0,
                    "status": "pending",
                    "resident_on": self._this_host(),
                    "progress": 0.0,
                    "type": "<none/>",
                    "subtask_of": subtask_of,
                    "session": session,
                },
            )

    def cancellable(self, task: Ref, cancel: Cancel) -> None:
        """Offer to cancel the task by calling ``cancel``; a destroyed one is no error."""
        if self._db.find("task", task) is None:
            return
        self._cancels[task] = cancel
        with self._db.transaction() as tx:
            tx.set("task", task, "allowed_operations", ("cancel",))

    def not_cancellable(self, task: Ref) -> None:
        """From here on the task runs to its end."""
        if self._cancels.pop(task, None) is not None and self._db.find("task", task) is not None:
            with self._db.transaction() as tx:
                tx.set("task", task, "allowed_operations", ())

    def progress(self, task: Ref, value: float) -> None:
        """Set the progress, from 0 to 1; it never goes back."""
        row = self._db.find("task", task)
        if row is not None and row.status == "pending" and value > row.progress:
            with self._db.transaction() as tx:
                tx.set("task", task, "progress", min(value, 1.0))

    def succeed(self, task: Ref, result: str) -> None:
        """Complete the task; ``result`` is XML text or empty."""
        self._finish(task, "success", result=result, progress=1.0)

    def fail(self, task: Ref, error: ApiError) -> None:
        """Complete the task with an error; a cancellation makes it ``cancelled``."""
        status = "cancelled" if error.code == "TASK_CANCELLED" else "failure"
        self._finish(task, status, error_info=tuple(error.description), progress=1.0)

    def cancel(self, task: Ref) -> None:
        """Ask the running code to stop; the task ends when it has stopped.

        A task that nothing here runs, or one that offers no cancelling, keeps
        running: that is no error.  Its current operations tell the client
        that completes it.  Errors: HANDLE_INVALID.
        """
        row = self._db.row("task", task)
        if row.status not in ("pending", "cancelling"):
            return
        cancel = self._cancels.get(task)
        if cancel is None:
            self._mark(row)
            return
        with self._db.transaction() as tx:
            tx.update("task", task, status="cancelling", allowed_operations=())
        cancel()

    def _mark(self, row: Row) -> None:
        """Note that a cancellation was asked for; the call that did has no record."""
        if "cancel" not in row.current_operations.values():
            call = f"DummyRef:|{new_uuid()}|task.cancel"
            with self._db.transaction() as tx:
                tx.add_to_map("task", row.ref, "current_operations", call, "cancel")

    def destroy(self, task: Ref) -> None:
        """Remove the record; what runs goes on.  Errors: HANDLE_INVALID."""
        self._db.row("task", task)
        self._cancels.pop(task, None)
        with self._db.transaction() as tx:
            tx.delete("task", task)

    def forget(self, task: Ref) -> None:
        """Remove the record if it is still there."""
        self._cancels.pop(task, None)
        if self._db.find("task", task) is not None:
            with self._db.transaction() as tx:
                tx.delete("task", task)

    def tidy(self) -> None:
        """Remove finished and forgotten tasks by their age and number."""
        now = self._clock.seconds()
        finished = []
        for row in list(self._db.rows("task")):
            if row.status in FINISHED_STATES:
                if now - row.finished > FINISHED_LIFETIME_S:
                    self.forget(row.ref)
                else:
                    finished.append(row)
            elif now - row.created > PENDING_LIFETIME_S and row.ref not in self._cancels:
                self.forget(row.ref)
        surplus = self._db.count("task") - MAX_TASKS
        if surplus > 0:
            finished.sort(key=lambda row: row.finished)
            for row in finished[:surplus]:
                self.forget(row.ref)

    def _finish(self, task: Ref, status: str, **fields: object) -> None:
        self._cancels.pop(task, None)
        row = self._db.find("task", task)
        if row is None or row.status in FINISHED_STATES:
            return
        with self._db.transaction() as tx:
            tx.update(
                "task",
                task,
                status=status,
                finished=int(self._clock.seconds()),
                allowed_operations=(),
                current_operations={},
                **fields,
            )


def cancelled(task: Ref) -> ApiError:
    """The error of a task that was cancelled."""
    return err.TASK_CANCELLED(task)

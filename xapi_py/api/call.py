"""What a message's code is told about the call it answers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred

from xapi_py.api.toolstack import Toolstack
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel.model import Model
from xapi_py.db.database import Database
from xapi_py.pool.gateway import HostGateway
from xapi_py.session.sessions import Session


@dataclass(slots=True, eq=False)
class Caller:
    """Where a call came from.

    ``unix`` callers are local root.  ``subtask_of`` and ``task_id`` come from
    the query or the cookies of the request.  ``on_disconnect`` takes what to
    do when the client leaves before its answer.
    """

    address: str = ""
    unix: bool = False
    user_agent: str = ""
    subtask_of: Ref = NULL_REF
    task_id: Ref = NULL_REF
    on_disconnect: Callable[[Callable[[], None]], None] | None = None


@dataclass(slots=True, eq=False)
class Call:
    """One call: its session, its task and the toolstack it runs in."""

    toolstack: Toolstack
    session: Session
    method: str
    caller: Caller
    task_ref: Ref = NULL_REF
    running: "Deferred[Any] | None" = field(default=None)

    @property
    def db(self) -> Database:
        """The database: the pool's, or the saved one that the session is on."""
        saved = self.session.db
        return self.toolstack.db if saved is None else saved

    @property
    def model(self) -> Model:
        """The data model as this server's clients see it."""
        return self.toolstack.model

    @property
    def task(self) -> Ref:
        """The task of this call, made when first asked for."""
        if self.task_ref == NULL_REF:
            self.task_ref = self.toolstack.tasks.create(
                self.method, subtask_of=self.caller.subtask_of, session=self.session.ref
            )
        return self.task_ref

    @property
    def dbg(self) -> str:
        """The debug string that daemons get with every call."""
        return f"{self.method} {self.task_ref}"

    def now(self) -> int:
        """Whole unix seconds."""
        return int(self.toolstack.clock.seconds())

    def host(self, host: Ref) -> HostGateway:
        """The daemons of a host.

        Errors: HOST_OFFLINE when the host is not live or not known.
        """
        return self.toolstack.hosts.get(host)

    def progress(self, value: float) -> None:
        """Report progress, from 0 to 1, where the call has a task."""
        if self.task_ref != NULL_REF:
            self.toolstack.tasks.progress(self.task_ref, value)

    def allow_cancel(self) -> None:
        """Let task.cancel cancel what this call awaits, from here to its end."""
        self.toolstack.tasks.cancellable(self.task, self._cancel)

    def forbid_cancel(self) -> None:
        """From here to its end the call cannot be cancelled any more."""
        if self.task_ref != NULL_REF:
            self.toolstack.tasks.not_cancellable(self.task_ref)

    def _cancel(self) -> None:
        if self.running is not None:
            self.running.cancel()

"""What uploads and downloads have in common: their task, and how they end.

A client that made a task names it in ``task_id``; without one the transfer
makes its own and tells it in the header ``task-id``.  The task ends with the
transfer, however that ends: done, failed, cancelled, or the client gone.
Sources: briefs STORAGE 5, XENCENTER 3.5 and 4, CLIENTS 1.4 and 1.13.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from xapi_py.api.call import Call, Caller
from xapi_py.api.dispatch import api_error
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.waiting import shielded
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.http.bodies import BodyCutShort
from xapi_py.http.entry_points import task_of
from xapi_py.http.messages import Headers, HttpError, Request
from xapi_py.session.sessions import Session
from xapi_py.task.tasks import cancelled

log = logging.getLogger(__name__)

UNKNOWN_LENGTH: Final = 1 << 50
"""What clients announce that do not know how much they will send."""

OCTETS: Final = "application/octet-stream"


def call_of(toolstack: Toolstack, session: Session, request: Request, label: str) -> Call:
    """Give the call a transfer is, with its task.

    Errors: HANDLE_INVALID for a ``task_id`` that names none.
    """
    caller = Caller(request.peer.address, subtask_of=Ref(request.subtask_of or NULL_REF))
    call = Call(toolstack, session, label, caller, task_of(toolstack, request))
    if call.task_ref == NULL_REF:
        if request.task_id:
            raise err.HANDLE_INVALID("task", request.task_id)
        call.task_ref = call.task
    return call


def announced_bytes(request: Request) -> int | None:
    """Give the length of an upload, None where the client does not know it."""
    length = request.headers.get("content-length")
    if length is None or int(length) >= UNKNOWN_LENGTH:
        return None
    return int(length)


def is_probe(request: Request) -> bool:
    """Whether an upload is the empty one that clients send to learn about redirects."""
    return not request.task_id and announced_bytes(request) == 0


def flag(request: Request, name: str) -> bool:
    """Give a truth value of the query."""
    return (request.query.get(name) or "").lower() in ("true", "1", "yes")


def named(toolstack: Toolstack, cls: str, text: str) -> Row:
    """Find an object by reference or uuid.  Errors: UUID_INVALID."""
    row = toolstack.db.find(cls, text)
    return row if row is not None else toolstack.db.row(cls, toolstack.db.by_uuid(cls, text))


def reader_of(
    request: Request, first: bytes = b"", at_least: int = 1
) -> Callable[[], Awaitable[bytes]]:
    """Give the upload piece by piece, after ``first``; a client that left early ends it too.

    ``at_least``: bytes of a piece that is not the last one.
    """
    pending = [first] if first else []

    async def read() -> bytes:
        if pending:
            return pending.pop()
        try:
            return await request.body.read(at_least)
        except BodyCutShort:
            return b""

    return read


async def upload(
    call: Call, request: Request, work: Callable[[], Awaitable[str]], headers: Headers = ()
) -> None:
    """Tell the client to send, do the work, and complete the task with its result.

    Errors: API errors, once the task has failed with them.
    """
    tasks = call.toolstack.tasks

    async def whole() -> str:
        before = call.db.generation
        result = await work()
        await call.db.durable(since=before)
        return result

    if not request.answered_early:
        request.answer_early(200, (("task-id", call.task), *headers))
    running: Deferred[str] = Deferred.fromCoroutine(whole())
    call.running = running
    if not running.called:
        call.allow_cancel()
    try:
        tasks.succeed(call.task, await running)
    except Exception as problem:
        ending = _ending(call, problem)
        tasks.fail(call.task, ending)
        raise ending from problem


async def first_piece(request: Request) -> bytes | None:
    """Read on for a client that may only be probing; None when it is.

    A probe has no task, no length and no data: nothing may come of it.
    """
    if request.task_id or announced_bytes(request) is not None:
        return b""
    request.answer_early(200)
    return await reader_of(request)() or None


def _ending(call: Call, problem: BaseException) -> ApiError:
    if isinstance(problem, CancelledError):
        return cancelled(call.task)
    return call.model.as_sent(api_error(call.method, Failure(problem)))


class Download:
    """The body of a download.  Closing it early, before or after it began, fails its task.

    ``release`` is awaited in any case, once.
    """

    def __init__(
        self,
        call: Call,
        request: Request,
        body: AsyncIterator[bytes],
        release: Callable[[], Awaitable[object]],
    ) -> None:
        self._call = call
        self._body = body
        self._release: Callable[[], Awaitable[object]] | None = release
        self._request = request
        self._ended = False
        self._problem: ApiError | None = None
        call.toolstack.tasks.cancellable(call.task, self._cancel)

    def _cancel(self) -> None:
        self._problem = cancelled(self._call.task)
        self._request.connection.abort()

    def __aiter__(self) -> "Download":
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._body.__anext__()
        except StopAsyncIteration:
            self._ended = True
            raise
        except CancelledError:
            raise
        except Exception as problem:
            self._problem = _ending(self._call, problem)
            raise

    async def aclose(self) -> None:
        """End it, whatever it was doing; who stops waiting for that does not stop it."""
        release, self._release = self._release, None
        if release is not None:
            await shielded(Deferred.fromCoroutine(self._end(release)))

    async def _end(self, release: Callable[[], Awaitable[object]]) -> None:
        try:
            close: Any = getattr(self._body, "aclose", None)
            if close is not None:
                await close()
        finally:
            await release()
            tasks, task = self._call.toolstack.tasks, self._call.task
            if self._ended and self._problem is None:
                tasks.succeed(task, "")
            else:
                gone = err.INTERNAL_ERROR("the client closed the connection")
                tasks.fail(task, self._problem or gone)


def refuse_chunked(request: Request, problem: ApiError, status: int) -> None:
    """Refuse an upload in HTTP's own chunks.  Errors: HttpError."""
    if "transfer-encoding" in request.headers:
        raise HttpError(status, problem.code)

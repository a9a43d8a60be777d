"""HTTP entry points besides RPC: who may use them, and the task they complete.

The model lists every entry point with its path and its lowest role; code is
registered here under the same name.  A request is let in by a session, the
pool secret, HTTP basic authentication or the local socket, in this order.
Source: facts/wire.md, "HTTP handlers".
"""

import hmac
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from twisted.python.failure import Failure

from xapi_py.api.dispatch import api_error
from xapi_py.api.task import may_touch
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.model import HttpHandler
from xapi_py.datamodel.permissions import LOCAL_ROOT
from xapi_py.http.login import (
    LocalLogin,
    PasswordLogin,
    PoolSecretLogin,
    SessionLogin,
    login_of,
    unauthorised,
)
from xapi_py.http.messages import (
    Answer,
    HttpError,
    Request,
    Response,
    StreamingResponse,
    Takeover,
)
from xapi_py.http.routes import Routes
from xapi_py.session.sessions import Session

log = logging.getLogger(__name__)

EntryPoint = Callable[[Toolstack, Session, Request], Awaitable[Answer] | Answer]
ENTRY_POINTS: dict[str, EntryPoint] = {}

OpenEntryPoint = Callable[[Toolstack, Request], Awaitable[Answer] | Answer]
OPEN_ENTRY_POINTS: dict[str, OpenEntryPoint] = {}


def entry_point(name: str) -> Callable[[EntryPoint], EntryPoint]:
    """Register the decorated function as the code of the model's entry point ``name``.

    It is called once the request is let in; an ApiError it raises ends the
    request with status 500 and fails the task named by ``task_id``.
    """

    def register(function: EntryPoint) -> EntryPoint:
        if name in ENTRY_POINTS:
            raise ValueError(f"{name} is registered twice")
        ENTRY_POINTS[name] = function
        return function

    return register


def open_entry_point(name: str) -> Callable[[OpenEntryPoint], OpenEntryPoint]:
    """Register the decorated function for an entry point that anybody may ask.

    It finds out itself whether the request needs a login.
    """

    def register(function: OpenEntryPoint) -> OpenEntryPoint:
        if name in OPEN_ENTRY_POINTS:
            raise ValueError(f"{name} is registered twice")
        OPEN_ENTRY_POINTS[name] = function
        return function

    return register


def add_entry_points(routes: Routes, toolstack: Toolstack) -> None:
    """Route every entry point of the profile that is behind a login or has code.

    One without code fails with NOT_IMPLEMENTED for those who may use it.
    """
    answer: Callable[[Request], Awaitable[Answer] | Answer]
    for handler in toolstack.model.http_handlers.values():
        if handler.rbac:
            code = ENTRY_POINTS.get(handler.name) or _not_offered(handler.name)
            answer = _guarded(toolstack, handler, code)
        elif handler.name in OPEN_ENTRY_POINTS:
            answer = partial(_open, toolstack, OPEN_ENTRY_POINTS[handler.name])
        else:
            continue
        routes.add(handler.method, handler.path, answer, name=handler.name)


@asynccontextmanager
async def logged_in(toolstack: Toolstack, request: Request, realm: str) -> AsyncIterator[Session]:
    """Find the session of a request; one made for it ends with it.

    Errors: HttpError 401.
    """
    credentials = login_of(request)
    temporary: Session | None = None
    try:
        match credentials:
            case SessionLogin(ref):
                session = toolstack.sessions.get(ref)
            case PoolSecretLogin(secret):
                expected = toolstack.settings.pool_secret
                if not expected or not hmac.compare_digest(secret.encode(), expected.encode()):
                    raise unauthorised(realm)
                session = temporary = toolstack.sessions.add("", superuser=True, is_pool=True)
            case PasswordLogin(user, password):
                session = temporary = await toolstack.login.with_password(user, password, "http")
            case LocalLogin(uid) if uid in (0, os.getuid()):
                session = temporary = toolstack.sessions.add("root", superuser=True, unix=True)
            case _:
                raise unauthorised(realm)
    except ApiError as error:
        raise unauthorised(realm) from error
    try:
        yield session
    finally:
        if temporary is not None:
            toolstack.sessions.remove(temporary)


def check_permission(session: Session, name: str) -> None:
    """Refuse a session without the permission of an entry point.

    Errors: HttpError 403.
    """
    if not session.superuser and f"http/{name}" not in session.permissions:
        raise HttpError(403)


def task_of(toolstack: Toolstack, request: Request) -> Ref:
    """Give the task a request is to complete, or ``NULL_REF``."""
    task = Ref(request.task_id or NULL_REF)
    return task if toolstack.db.find("task", task) is not None else NULL_REF


def _guarded(
    toolstack: Toolstack, handler: HttpHandler, code: EntryPoint
) -> Callable[[Request], Awaitable[Answer]]:
    async def answer(request: Request) -> Answer:
        async with logged_in(toolstack, request, handler.name) as session:
            if handler.role == LOCAL_ROOT and not session.unix:
                raise HttpError(403)
            check_permission(session, handler.name)
            task = task_of(toolstack, request)
            if task != NULL_REF and not may_touch(toolstack.db, session, task):
                raise HttpError(403)
            try:
                outcome = code(toolstack, session, request)
                done = await outcome if isinstance(outcome, Awaitable) else outcome
                finished = completing(toolstack, task, done)
                return None if request.answered_early else finished
            except HttpError as error:
                _fail_task(toolstack, request, ApiError("INTERNAL_ERROR", str(error.detail)))
                raise
            except Exception:
                problem = api_error(handler.name, Failure())
                _fail_task(toolstack, request, problem)
                raise HttpError(500, _described(problem)) from None

    return answer


async def _open(toolstack: Toolstack, code: OpenEntryPoint, request: Request) -> Answer:
    outcome = code(toolstack, request)
    done = await outcome if isinstance(outcome, Awaitable) else outcome
    return completing(toolstack, task_of(toolstack, request), done)


def completing(toolstack: Toolstack, task: Ref, answer: Answer) -> Answer:
    """Complete a task with the end of its answer, unless it is complete by then.

    A task whose connection is handed over goes on.
    """
    if isinstance(answer, StreamingResponse):
        if answer.completes_task:
            return answer
        return replace(answer, body=_CompletingBody(toolstack, task, answer.body))
    if isinstance(answer, Response) and answer.status >= 400:
        toolstack.tasks.fail(task, ApiError("INTERNAL_ERROR", f"HTTP status {answer.status}"))
    elif not isinstance(answer, Takeover):
        toolstack.tasks.succeed(task, "")
    return answer


class _CompletingBody:
    """A body that completes a task with its end; closing it closes what it takes from."""

    def __init__(self, toolstack: Toolstack, task: Ref, body: AsyncIterator[bytes]) -> None:
        self._tasks = toolstack.tasks
        self._task = task
        self._body = body
        self._whole = False

    def __aiter__(self) -> "_CompletingBody":
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._body.__anext__()
        except StopAsyncIteration:
            self._whole = True
            raise
        except Exception:
            self._tasks.fail(self._task, api_error("download", Failure()))
            raise

    async def aclose(self) -> None:
        """End it: the task fails unless all was taken."""
        close = getattr(self._body, "aclose", None)
        try:
            if close is not None:
                await close()
        finally:
            if self._whole:
                self._tasks.succeed(self._task, "")
            else:
                cut_short = ApiError("INTERNAL_ERROR", "the download was cut short")
                self._tasks.fail(self._task, cut_short)


def _fail_task(toolstack: Toolstack, request: Request, problem: ApiError) -> None:
    task = task_of(toolstack, request)
    if task != NULL_REF:
        toolstack.tasks.fail(task, problem)


def _described(problem: ApiError) -> str:
    return f"{problem.code}: [ {'; '.join(problem.params)} ]"


def _not_offered(name: str) -> EntryPoint:
    def refuse(toolstack: Toolstack, session: Session, request: Request) -> Answer:
        raise err.NOT_IMPLEMENTED(f"http/{name}")

    return refuse

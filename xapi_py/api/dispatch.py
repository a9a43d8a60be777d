"""From a parsed call to the bytes of its answer.

Order of checks, as real clients can see it: the method exists, the number of
parameters, the session, the types, the members of a record to create, the
permission (of an Async call: inside its task), then the message's own code.
Source: facts/traces, groups params, session and rbac.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from xapi_py.api import implicit, saved_database
from xapi_py.api.call import Call, Caller
from xapi_py.api.registry import HANDLERS, ResultEncoder
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.errors import ApiError
from xapi_py.base.names import new_uuid
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.model import REQUIRED, MessageDef, Model, RefOf, SecretString, String, Type
from xapi_py.datamodel.profiles import load_model
from xapi_py.pool.role import refusal
from xapi_py.session import rbac
from xapi_py.session.sessions import Session
from xapi_py.task.tasks import cancelled
from xapi_py.wire.decode import Decoder
from xapi_py.wire.dialect import Dialect
from xapi_py.wire.raw import RawCall

log = logging.getLogger(__name__)

_STRING = String()
_TASK_REF = RefOf("task")
_ASYNC_PREFIXES = ("Async.", "InternalAsync.")
_EXTENSION = "host.call_extension"
"""What it takes to try a method that may be an extension.  Source: facts/traces, rbac-193."""
_SECRET_ENDINGS = ("password", "pwd", "secret", "private_key", "token")
"""How the names of parameters end that nobody but the server is to read."""
_SIMPLE = (str, int, float)
OF_COMMANDS = frozenset(
    {
        *("Diagnostics.gc_compact", "Diagnostics.gc_stats", "Diagnostics.db_stats"),
        *("Diagnostics.network_stats", "host.get_editions"),
    }
)
"""Messages that commands of every profile use, also where clients do not have them."""
_NOBODY = Session(ref=implicit.NULL, user_name="")

Chunks = list[bytes]


@dataclass(slots=True, eq=False)
class Entry:
    """Everything the dispatcher knows about one message."""

    message: MessageDef
    run: Callable[..., Any]
    defaults: tuple[object, ...]
    mandatory: int
    any_count: bool
    permission: str
    encoder: ResultEncoder | None
    audited: bool
    shown: tuple[tuple[int, str], ...]
    """Parameters whose values are in the audit log, with their places."""
    _decoders: dict[Dialect, tuple[Decoder, ...]] = field(default_factory=dict)

    def decoders_of(self, dialect: Dialect, model: Model) -> tuple[Decoder, ...]:
        """Give what reads the parameters, the session's reference first where there is one."""
        known = self._decoders.get(dialect)
        if known is None:
            session: tuple[Type, ...] = (_STRING,) if self.message.needs_session else ()
            types = (*session, *(p.type for p in self.message.params))
            known = self._decoders[dialect] = tuple(dialect.decoder(t, model) for t in types)
        return known


class Dispatcher:
    """Answers calls of all dialects.

    ``rpc`` is the whole interface: it gives the finished answer, or a Deferred
    of it when the call waits for something.  It never raises.
    """

    def __init__(self, toolstack: Toolstack) -> None:
        self._toolstack = toolstack
        self._model = toolstack.model
        self._entries: dict[str, Entry] = {}

    def rpc(self, dialect: Dialect, raw: RawCall, caller: Caller) -> "Chunks | Deferred[Chunks]":
        """Answer one call."""
        try:
            return self._start(dialect, raw, caller)
        except ApiError as error:
            return self._failure(dialect, raw, error)
        except Exception:
            return self._refused(Failure(), dialect, raw)

    def _refused(self, failure: Failure, dialect: Dialect, raw: RawCall) -> Chunks:
        return self._failure(dialect, raw, api_error(raw.method, failure))

    def _failure(self, dialect: Dialect, raw: RawCall, error: ApiError) -> Chunks:
        """Encode an error with as many parameters as the profile's errors have."""
        return [dialect.failure(self._model.as_sent(error), raw.id)]

    def entry(self, method: str) -> Entry | None:
        """Find what answers a method; ``Class_message`` is found as well."""
        entry = self._entries.get(method)
        if entry is None:
            message = self._model.messages.get(method) or _aliased(self._model, method)
            if message is None:
                return None
            entry = self._entries[method] = self._build(message)
        return entry

    def _build(self, message: MessageDef) -> Entry:
        registered = HANDLERS.get(message.wire_name)
        if message.removed:
            run: Callable[..., Any] = implicit.removed
        elif registered is not None:
            run = registered.handler
        else:
            run = implicit.handler_for(self._model, message)
        return Entry(
            message=message,
            run=run,
            defaults=(*(p.default for p in message.params), *newer_defaults(message)),
            mandatory=message.mandatory,
            any_count=message.mandatory < len(message.params),
            permission=message.wire_name.lower(),
            encoder=registered.encoder if registered else implicit.encoder_for(message),
            audited=message.role not in ("read-only", "") and message.implicit != "get",
            shown=shown_parameters(message),
        )

    def _start(self, dialect: Dialect, raw: RawCall, caller: Caller) -> "Chunks | Deferred[Chunks]":
        method, is_async = raw.method, False
        for prefix in _ASYNC_PREFIXES:
            if method.startswith(prefix):
                method, is_async = method[len(prefix) :], True
        entry = self.entry(method)
        if entry is None and not dialect.encodes and method in OF_COMMANDS:
            entry = self._build(load_model("newest").messages[method])
        if entry is None:
            return self._unknown(dialect, raw, method)
        if is_async and not entry.message.is_async:
            self._check_count(entry, method, raw.params)
            raise ApiError("Fault", f"No async mode for this operation (rpc: {method})")
        self._check_count(entry, method, raw.params)
        self._check_role(entry, caller)
        session, arguments = self._read(dialect, entry, raw.params)
        implicit.check_record(self._model, entry.message, arguments)
        call = Call(self._toolstack, session, method, caller)
        if is_async:
            return self._run_async(dialect, raw, call, entry, arguments)
        self._authorise(call, entry, arguments)
        return self._run(dialect, raw, call, entry, arguments)

    def _unknown(self, dialect: Dialect, raw: RawCall, method: str) -> Chunks:
        if method == "system.listMethods":
            return dialect.bare(
                dialect.array(dialect.text(n) for n in sorted(self._model.messages)), raw.id
            )
        if raw.method.startswith("system.isAlive:") and raw.params:
            return dialect.success([dialect.text(str(raw.params[0]))], raw.id)
        if raw.params:
            ref = dialect.decode(raw.params[0], _STRING, self._model)
            _check_may_extend(self._toolstack.sessions.get(ref))
        raise err.MESSAGE_METHOD_UNKNOWN(method)

    def _check_count(self, entry: Entry, method: str, params: list[Any]) -> None:
        received = len(params) - (1 if entry.message.needs_session else 0)
        if entry.any_count:
            if received >= entry.mandatory:
                return
        elif received == entry.mandatory:
            return
        raise err.MESSAGE_PARAMETER_COUNT_MISMATCH(method, entry.mandatory, received)

    def _check_role(self, entry: Entry, caller: Caller) -> None:
        """Send clients of a member to its master; local root may stay."""
        problem = refusal(self._toolstack.role, entry.message.wire_name)
        if problem is not None and not caller.unix:
            raise problem

    def _read(self, dialect: Dialect, entry: Entry, params: list[Any]) -> tuple[Session, list[Any]]:
        """Find the session, then read the other parameters."""
        pairs = zip(params, entry.decoders_of(dialect, self._model), strict=False)
        session = _NOBODY
        if entry.message.needs_session:
            raw, read = next(pairs)
            session = self._toolstack.sessions.get(read(raw))
        values = [read(raw) for raw, read in pairs]
        values.extend(entry.defaults[len(values) :])
        return session, values

    def _authorise(self, call: Call, entry: Entry, arguments: list[Any]) -> None:
        session, message = call.session, entry.message
        if not message.needs_session:
            return
        saved_database.check(session, message)
        if message.pool_internal and not session.is_pool:
            raise err.INTERNAL_ERROR(f"{message.wire_name} is for pool members only")
        if session.superuser:
            return
        if entry.permission not in session.permissions or message.key_roles:
            named = {p.name: a for p, a in zip(message.params, arguments, strict=False)}
            try:
                rbac.check(self._model, session.permissions, message, named)
            except ApiError as error:
                self._audit(call, entry, arguments, error, allowed=False)
                raise

    def _run(
        self, dialect: Dialect, raw: RawCall, call: Call, entry: Entry, arguments: list[Any]
    ) -> "Chunks | Deferred[Chunks]":
        db = call.db
        before = db.generation
        try:
            value = entry.run(call, *arguments)
        except ApiError as error:
            if entry.audited:
                self._audit(call, entry, arguments, error)
            raise
        if isinstance(value, Deferred):
            return self._wait(dialect, raw, call, entry, value)
        if implicit.is_coroutine(value):
            running: Deferred[Any] = Deferred.fromCoroutine(value)
            call.running = running
            if entry.message.cls == "event" and call.caller.on_disconnect is not None:
                call.caller.on_disconnect(running.cancel)  # nobody listens any more
            answering: Deferred[Chunks] = Deferred.fromCoroutine(
                self._finish(dialect, raw, call, entry, arguments, running, before)
            )
            return answering.addErrback(self._refused, dialect, raw)
        chunks = self._success(dialect, raw, call, entry, value)
        if entry.audited:
            self._audit(call, entry, arguments, None)
        if db.generation == before or isinstance(chunks, Deferred):
            return chunks
        durable = db.durable()
        if durable.called:
            return chunks
        return durable.addCallbacks(lambda _: chunks, self._refused, errbackArgs=(dialect, raw))

    def _wait(
        self, dialect: Dialect, raw: RawCall, call: Call, entry: Entry, waiting: "Deferred[Any]"
    ) -> "Deferred[Chunks]":
        """Answer when a wait without effects is over; cheaper than a coroutine."""
        call.running = waiting
        if call.caller.on_disconnect is not None:
            call.caller.on_disconnect(waiting.cancel)  # nobody listens any more

        def answer(value: Any) -> "Chunks | Deferred[Chunks]":
            try:
                return self._success(dialect, raw, call, entry, value)
            except Exception:
                return self._refused(Failure(), dialect, raw)

        def ended(failure: Failure) -> Chunks:
            if failure.check(CancelledError):
                return self._failure(dialect, raw, cancelled(call.task_ref))
            return self._refused(failure, dialect, raw)

        return waiting.addCallbacks(answer, ended)

    async def _finish(
        self,
        dialect: Dialect,
        raw: RawCall,
        call: Call,
        entry: Entry,
        arguments: list[Any],
        running: "Deferred[Any]",
        before: int,
    ) -> Chunks:
        problem: ApiError | None = None
        try:
            value = await running
            await call.db.durable(since=before)
            chunks = self._success(dialect, raw, call, entry, value)
            return await chunks if isinstance(chunks, Deferred) else chunks
        except CancelledError:
            problem = cancelled(call.task_ref)
            raise problem from None
        except ApiError as error:
            problem = error
            raise
        finally:
            if entry.audited:
                self._audit(call, entry, arguments, problem)
            if call.task_ref != implicit.NULL:
                call.toolstack.tasks.forget(call.task_ref)

    def _success(
        self, dialect: Dialect, raw: RawCall, call: Call, entry: Entry, value: Any
    ) -> "Chunks | Deferred[Chunks]":
        if entry.encoder is None or not dialect.encodes:
            fragment = dialect.encode(value, entry.message.result, self._model)
            return dialect.success([fragment], raw.id)
        result = entry.encoder(dialect, self._model, value)
        if isinstance(result, list):
            return dialect.success(result, raw.id)
        made = self._toolstack.slices.run(result)
        if isinstance(made, Deferred):
            return made.addCallbacks(
                lambda chunks: dialect.success(chunks, raw.id),
                self._refused,
                errbackArgs=(dialect, raw),
            )
        return dialect.success(made, raw.id)

    def _run_async(
        self, dialect: Dialect, raw: RawCall, call: Call, entry: Entry, arguments: list[Any]
    ) -> Chunks:
        call.method = f"Async.{entry.message.wire_name}"
        task = call.task
        running: Deferred[Any] = Deferred()
        self._toolstack.clock.callLater(0, running.callback, None)
        call.running = Deferred.fromCoroutine(self._background(running, call, entry, arguments))
        return dialect.success([dialect.encode(task, _TASK_REF)], raw.id)

    async def _background(
        self, start: "Deferred[Any]", call: Call, entry: Entry, arguments: list[Any]
    ) -> None:
        tasks = self._toolstack.tasks
        problem: ApiError | None = None
        authorised = False
        try:
            await start
            self._authorise(call, entry, arguments)
            authorised = True
            before = call.db.generation
            value = entry.run(call, *arguments)
            if implicit.is_coroutine(value):
                value = await value
            await call.db.durable(since=before)
            tasks.succeed(
                call.task_ref, implicit.result_text(value, entry.message.result, self._model)
            )
        except CancelledError:
            problem = cancelled(call.task_ref)
        except ApiError as error:
            problem = error
        except Exception:
            problem = internal_error(call.method, Failure())
        if problem is not None:
            tasks.fail(call.task_ref, self._model.as_sent(problem))
        if entry.audited and authorised:
            self._audit(call, entry, arguments, problem)

    def _audit(
        self,
        call: Call,
        entry: Entry,
        arguments: list[Any],
        problem: ApiError | None,
        allowed: bool = True,
    ) -> None:
        session = call.session
        shown = [
            (name, str(value) if isinstance(value := arguments[n], _SIMPLE) else "...")
            for n, name in entry.shown
        ]
        outcome = "OK" if problem is None else f"ERROR:{problem.code}"
        self._toolstack.audit.record(
            session.ref,
            session.subject_sid,
            session.user_name,
            outcome,
            entry.message.wire_name,
            shown,
            allowed=allowed,
        )


def shown_parameters(message: MessageDef) -> tuple[tuple[int, str], ...]:
    """Give places and names of the parameters that hold no passwords, keys and the like.

    Messages the model calls secret hide all of theirs, setters of fields that
    not everybody reads the value.
    """
    field = message.field
    guarded = field is not None and field.read_role != "read-only"
    return tuple(
        (place, p.name)
        for place, p in enumerate(message.params)
        if not (
            message.secret
            or isinstance(p.type, SecretString)
            or p.name.endswith(_SECRET_ENDINGS)
            or (guarded and p.name == "value")
        )
    )


def newer_defaults(message: MessageDef) -> tuple[Any, ...]:
    """Give values for the parameters a message has only in a newer profile.

    Code is written once, for all parameters a message ever had.
    """
    newest = load_model("all").messages.get(message.wire_name)
    if newest is None:
        return ()
    newer = newest.params[len(message.params) :]
    return tuple(p.default for p in newer if p.default is not REQUIRED)


def _check_may_extend(session: Session) -> None:
    """Refuse unknown methods to users who may not try extensions."""
    if not session.superuser and _EXTENSION not in session.permissions:
        raise err.RBAC_PERMISSION_DENIED(_EXTENSION, "no session in context")


def api_error(method: str, failure: Failure) -> ApiError:
    """Give the API error of a failure; an unexpected one becomes INTERNAL_ERROR."""
    problem = failure.value
    if isinstance(problem, ApiError):
        return problem
    return internal_error(method, failure)


def internal_error(method: str, failure: Failure) -> ApiError:
    """Log an unexpected failure under an id and give the error that names the id.

    The client gets the kind of failure and the id, never a traceback.
    """
    log_id = new_uuid()
    log.error("%s failed [%s]\n%s", method, log_id, failure.getTraceback())
    problem = failure.value
    return err.INTERNAL_ERROR(f"{type(problem).__name__}: {problem} [log {log_id}]")


def _aliased(model: Model, method: str) -> MessageDef | None:
    for name in model.classes:
        if method.startswith(f"{name}_"):
            found = model.messages.get(f"{name}.{method[len(name) + 1 :]}")
            if found is not None:
                return found
    return None

"""Calls of a user's session from inside the process, with data values instead of bytes.

They go the same way as calls from the network, so all that holds for those
holds here: the number and types of parameters, the session, its permissions,
the audit log, durability.  Only nothing is encoded.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from xapi_py.api.call import Caller
from xapi_py.api.dispatch import Dispatcher
from xapi_py.api.listing import Listing
from xapi_py.api.toolstack import Toolstack
from xapi_py.api.value_check import conforms
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.model import ClassDef, Model, Type
from xapi_py.event.subscription import format_token
from xapi_py.wire.decode import Decoder
from xapi_py.wire.dialect import Dialect, RequestId
from xapi_py.wire.raw import RawCall

SLICE_S = 0.004
"""How long work for one caller may hold up everybody else."""


class _Values(Dialect):
    """The dialect whose fragments are the data values themselves."""

    name = "inside"
    content_type = ""
    encodes = False

    def parse_request(self, body: bytes) -> RawCall:
        raise NotImplementedError

    def decoder(self, type_: Type, model: Model) -> Decoder:
        def checked(raw: Any) -> Any:
            if not conforms(raw, type_, model):
                raise err.INTERNAL_ERROR(f"{raw!r:.80} is not of type {type_}")
            return raw

        return checked

    def encode(self, value: Any, type_: Type, model: Model | None = None) -> Any:
        return value

    def text(self, text: str) -> Any:
        return text

    def count(self, number: int) -> Any:
        return number

    def members(self, members: Iterable[tuple[str, Any]]) -> Any:
        raise NotImplementedError

    def encode_record(self, row: Any, class_def: ClassDef, model: Model | None) -> Any:
        return row

    def success(self, chunks: Iterable[Any], id_: RequestId = 0) -> list[Any]:
        return list(chunks)

    def failure(self, error: ApiError, id_: RequestId = 0) -> Any:
        return error


_VALUES = _Values()


class InsideCaller:
    """Makes calls of one session.

    Results are data values: sets are tuples and records are rows.
    """

    def __init__(
        self, toolstack: Toolstack, dispatcher: Dispatcher, session: Ref, caller: Caller
    ) -> None:
        self._toolstack = toolstack
        self._dispatcher = dispatcher
        self._caller = caller
        self.session = session
        self._busy_since = toolstack.clock.seconds()

    async def breathe(self) -> None:
        """Let the server do other things when this has taken ``SLICE_S`` without a pause."""
        clock = self._toolstack.clock
        if clock.seconds() - self._busy_since > SLICE_S:
            pause: Deferred[None] = Deferred()
            clock.callLater(0, pause.callback, None)
            await pause
            self._busy_since = clock.seconds()

    @property
    def model(self) -> Model:
        """The data model as this server's clients see it."""
        return self._toolstack.model

    @property
    def is_superuser(self) -> bool:
        """Whether the session passes every permission check."""
        return self._toolstack.sessions.get(self.session).superuser

    def token(self) -> str:
        """Give the event token of this moment: event.from tells what changes after it.

        The latest token given to clients may be older than what is read here.
        """
        return format_token(self._toolstack.db.generation)

    def of_session(self, session: Ref) -> "InsideCaller":
        """Give a caller like this one for another session."""
        return InsideCaller(self._toolstack, self._dispatcher, session, self._caller)

    def start(self, method: str, *arguments: object) -> Any:
        """Call a message: gives its result, or a Deferred of it that can be cancelled.

        Errors: ApiError, as a client would get it, at once or from the Deferred.
        """
        message = self.model.messages.get(method.removeprefix("Async."))
        needs_session = message is None or message.needs_session
        params = [self.session, *arguments] if needs_session else list(arguments)
        outcome = self._dispatcher.rpc(_VALUES, RawCall(method, params), self._caller)
        if isinstance(outcome, Deferred):
            return outcome.addCallback(_unpacked)
        return _unpacked(outcome)

    async def call(self, method: str, *arguments: object) -> Any:
        """Call a message and wait for its end.  Errors: ApiError."""
        outcome = self.start(method, *arguments)
        if not isinstance(outcome, Deferred):
            return outcome
        value = await outcome
        self._busy_since = self._toolstack.clock.seconds()
        return value

    def read(self, method: str, *arguments: object) -> Any:
        """Call a message that answers at once.

        Errors: ApiError; TypeError for a message that has to wait.
        """
        outcome = self.start(method, *arguments)
        if isinstance(outcome, Deferred):
            raise TypeError(f"{method} does not answer at once")
        return outcome

    async def rows(self, method: str, *arguments: object) -> list[Any]:
        """Call a message that gives many records.  Errors: ApiError."""
        return _listed(await self.call(method, *arguments))

    def read_rows(self, method: str, *arguments: object) -> list[Any]:
        """Call a message that gives many records and answers at once."""
        return _listed(self.read(method, *arguments))


def _listed(found: Any) -> list[Any]:
    if isinstance(found, Listing):
        test = found.test
        return list(found.rows) if test is None else [row for row in found.rows if test(row)]
    return list(found.values()) if isinstance(found, Mapping) else list(found)


def _unpacked(chunks: list[Any]) -> Any:
    (value,) = chunks
    if isinstance(value, ApiError):
        raise value
    return value

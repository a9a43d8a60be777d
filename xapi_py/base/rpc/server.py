"""The answering side of the internal RPC."""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure

from xapi_py.base.names import new_uuid
from xapi_py.base.reactor import ByteTransport, Clock
from xapi_py.base.rpc import framing
from xapi_py.base.rpc.errors import (
    DAEMON_ERROR,
    JSON_RPC_BAD_PARAMS,
    JSON_RPC_INTERNAL,
    JSON_RPC_INVALID,
    JSON_RPC_NO_METHOD,
    RpcError,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a method is told about its call besides its parameters.

    ``dbg`` names the API call or task on whose behalf it runs; ``deadline_s``
    is how many seconds the caller will wait.
    """

    method: str
    dbg: str
    deadline_s: float


Method = Callable[..., Awaitable[object] | object]
"""Called as ``method(context, **params)``; plain functions answer at once."""


class RpcServer(Factory):
    """Answer calls to ``methods`` on every connection of one listening socket.

    A method fails the call by raising RpcError; any other exception is logged
    under an id that is part of the message the caller gets.  A lost connection
    does not cancel what runs; ``$/cancel`` and the deadline do.
    """

    noisy = False

    def __init__(self, methods: Mapping[str, Method], reactor: Clock) -> None:
        self.methods = methods
        self.reactor = reactor

    def buildProtocol(self, addr: object) -> "_ServerProtocol":
        return _ServerProtocol(self)


class _ServerProtocol(TwistedProtocol):
    def __init__(self, server: RpcServer) -> None:
        self._server = server
        self._decoder = framing.FrameDecoder()
        self._running: dict[object, Deferred[object]] = {}
        self._open = True

    @property
    def _bytes_out(self) -> ByteTransport:
        return cast(ByteTransport, self.transport)

    def dataReceived(self, data: bytes) -> None:
        try:
            for message in self._decoder.feed(data):
                self._dispatch(message)
        except framing.FrameError as error:
            log.warning("dropping an internal connection: %s", error)
            self._bytes_out.abortConnection()

    def connectionLost(self, reason: object = None) -> None:  # type: ignore[override]
        self._open = False
        self._running.clear()

    def _dispatch(self, message: object) -> None:
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            self._fail(None, JSON_RPC_INVALID, "not a request")
            return
        name, params, identifier = message["method"], message.get("params"), message.get("id")
        if not isinstance(params, dict):
            self._fail(identifier, JSON_RPC_INVALID, "params must be an object")
            return
        if name == "$/cancel":
            running = self._running.get(params.get("id"))
            if running is not None:
                running.cancel()
            return
        method = self._server.methods.get(name)
        if method is None:
            self._fail(identifier, JSON_RPC_NO_METHOD, f"no method {name}")
            return
        deadline_s = message.get("deadline_s")
        context = CallContext(
            name,
            str(message.get("dbg", "")),
            float(deadline_s) if isinstance(deadline_s, int | float) else 60.0,
        )
        self._start(identifier, method, context, params)

    def _start(
        self, identifier: object, method: Method, context: CallContext, params: dict[str, object]
    ) -> None:
        try:
            outcome = method(context, **params)
        except Exception:
            self._failed(identifier, context, Failure())
            return
        if not isinstance(outcome, Awaitable):
            self._answer(identifier, outcome)
            return
        running: Deferred[object] = Deferred.fromCoroutine(
            cast(Coroutine[Any, Any, object], outcome)
        )
        if running.called and not running.paused and not isinstance(running.result, Failure):
            self._answer(identifier, running.result)
            return
        self._running[identifier] = running
        timer = self._server.reactor.callLater(context.deadline_s, running.cancel)

        def finished(result: object) -> None:
            self._running.pop(identifier, None)
            if timer.active():
                timer.cancel()
            if isinstance(result, Failure):
                self._failed(identifier, context, result)
            else:
                self._answer(identifier, result)

        running.addBoth(finished)

    def _answer(self, identifier: object, result: object) -> None:
        if self._open:
            self._bytes_out.write(
                framing.encode({"jsonrpc": "2.0", "id": identifier, "result": result})
            )

    def _failed(self, identifier: object, context: CallContext, failure: Failure) -> None:
        problem = failure.value
        if isinstance(problem, RpcError):
            self._fail(identifier, DAEMON_ERROR, problem.name, list(problem.params))
        elif isinstance(problem, CancelledError):
            self._fail(identifier, DAEMON_ERROR, "Cancelled", [context.dbg])
        elif isinstance(problem, TypeError) and "argument" in str(problem):
            log.warning("%s: bad parameters: %s", context.method, problem)
            self._fail(identifier, JSON_RPC_BAD_PARAMS, str(problem))
        else:
            log_id = new_uuid()
            log.error(
                "%s failed [%s] (%s)\n%s",
                context.method,
                log_id,
                context.dbg,
                failure.getTraceback(),
            )
            text = f"{type(problem).__name__}: {problem} [{log_id}]"
            self._fail(identifier, JSON_RPC_INTERNAL, text)

    def _fail(
        self, identifier: object, code: int, text: str, data: list[object] | None = None
    ) -> None:
        if self._open:
            problem: dict[str, object] = {"code": code, "message": text}
            if data is not None:
                problem["data"] = data
            self._bytes_out.write(
                framing.encode({"jsonrpc": "2.0", "id": identifier, "error": problem})
            )

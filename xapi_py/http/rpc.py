"""XML-RPC and JSON-RPC over HTTP: from body to call to answer."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xapi_py.base.errors import ApiError
from xapi_py.base.names import new_uuid
from xapi_py.http import pages
from xapi_py.http.messages import Answer, Request, Response
from xapi_py.http.routes import Routes
from xapi_py.wire import jsonrpc, xmlrpc
from xapi_py.wire.dialect import Dialect
from xapi_py.wire.errors import WireError
from xapi_py.wire.raw import RawCall

log = logging.getLogger(__name__)

RPC_LIMIT_BYTES: Final = 307200

Rpc = Callable[[Request, Dialect, RawCall], "list[bytes] | Deferred[list[bytes]]"]
"""Executes a call and gives the chunks of the complete answer."""

Parser = Callable[[bytes], tuple[Dialect, RawCall]]


class RpcEndpoint:
    """Answers RPC requests of one family of dialects through ``rpc``."""

    def __init__(self, rpc: Rpc, parser: Parser, limit_bytes: int = RPC_LIMIT_BYTES) -> None:
        self._rpc = rpc
        self._parser = parser
        self.limit_bytes = limit_bytes

    def answer(self, request: Request) -> Awaitable[Answer] | Answer:
        """Run the call of a request.  The answer is HTTP 200, failures included."""
        try:
            dialect, call = self._parser(request.content)
        except WireError as error:
            return _unreadable(error, request)
        try:
            chunks = self._rpc(request, dialect, call)
        except Exception:
            return _failed(Failure(), dialect, call)
        headers = _HEADERS[dialect.content_type]
        if type(chunks) is list:
            return Response(200, chunks, headers)
        waiting: Deferred[Any] = chunks  # type: ignore[assignment]
        return waiting.addCallbacks(
            lambda done: Response(200, done, headers),
            lambda failure: _failed(failure, dialect, call),
        )


_HEADERS: Final = {
    content_type: (
        ("Content-Type", content_type),
        ("Cache-Control", "no-cache, no-store"),
        *pages.CORS,
    )
    for content_type in ("text/xml", "application/json")
}


def _unreadable(error: WireError, request: Request) -> Response:
    if error.error is None:
        return pages.error_page(error.status, error.reason)
    # only JSON requests end here; the version is taken from the text
    version2 = b'"jsonrpc"' in request.content
    dialect = jsonrpc.JSONRPC2 if version2 else jsonrpc.JSONRPC1
    return Response(200, (dialect.unreadable(error.error),), _HEADERS["application/json"])


def _failed(failure: Failure, dialect: Dialect, call: RawCall) -> Response:
    problem = failure.value
    if isinstance(problem, WireError):
        return pages.error_page(problem.status, problem.reason)
    if not isinstance(problem, ApiError):
        log_id = new_uuid()
        log.error("%s failed [%s]\n%s", call.method, log_id, failure.getTraceback())
        problem = ApiError("INTERNAL_ERROR", f"{type(problem).__name__} [{log_id}]")
    body = dialect.failure(problem, call.id)
    return Response(200, (body,), _HEADERS[dialect.content_type])


def _xml(dialect: Dialect) -> Parser:
    return lambda body: (dialect, dialect.parse_request(body))


def add_rpc_routes(routes: Routes, rpc: Rpc, profile: str) -> None:
    """Route the RPC paths of a profile ("7.1" or "newest") to ``rpc``.

    XML-RPC answers POST to every path that no other route claims.
    """
    ely = profile == "7.1"
    xml = RpcEndpoint(rpc, _xml(xmlrpc.XMLRPC))
    for path in ("/", "/RPC2"):
        routes.add_content("POST", path, xml, name="post_root")
    json_value = xmlrpc.XMLRPC_JSON_VALUE if ely else xmlrpc.XMLRPC
    routes.add_content("POST", "/json", RpcEndpoint(rpc, _xml(json_value)), name="post_json")
    parser = jsonrpc.parse_ely if ely else jsonrpc.parse
    routes.add_content("POST", "/jsonrpc", RpcEndpoint(rpc, parser), name="post_jsonrpc")

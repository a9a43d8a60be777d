"""The listeners of one server: plain, TLS and unix socket, all with the same routes."""

import importlib
import logging
import os
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from xapi_py.api.call import Caller
from xapi_py.api.dispatch import Dispatcher
from xapi_py.api.host.server_certificate import names_of
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.http.entry_points import add_entry_points
from xapi_py.http.messages import Request
from xapi_py.http.prompt import PromptServer, PromptUnixServer
from xapi_py.http.routes import Routes
from xapi_py.http.rpc import add_rpc_routes
from xapi_py.http.server import HttpServer
from xapi_py.http.static import StaticFiles
from xapi_py.http.tls import TlsSettings
from xapi_py.pool.certificate_files import SERVER_CERTIFICATE
from xapi_py.pool.server_certificate import ensure_certificate
from xapi_py.wire.dialect import Dialect
from xapi_py.wire.raw import RawCall

log = logging.getLogger(__name__)

SOCKET_NAME = "xapi"

AddRoutes = Callable[[Routes, Toolstack, Dispatcher], None]
"""Adds the routes of a part that stands above this one."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a server can be reached; a port is 0 where nothing listens."""

    address: str
    http: int
    https: int
    socket: Path


def routes_of(
    toolstack: Toolstack, dispatcher: Dispatcher, more: Sequence[AddRoutes] = ()
) -> Routes:
    """Give all paths this server answers."""
    routes = Routes()

    def rpc(
        request: Request, dialect: Dialect, call: RawCall
    ) -> "list[bytes] | Deferred[list[bytes]]":
        return dispatcher.rpc(dialect, call, caller_of(request))

    add_rpc_routes(routes, rpc, toolstack.model.profile)
    for add in more:
        add(routes, toolstack, dispatcher)
    load_transfers()
    add_entry_points(routes, toolstack)
    routes.add("GET", "/", StaticFiles(toolstack.settings.state / "www"), name="get_root")
    return routes


def load_transfers() -> None:
    """Import every module that registers an entry point."""
    package = importlib.import_module("xapi_py.transfer")
    for module in pkgutil.iter_modules(package.__path__, "xapi_py.transfer."):
        importlib.import_module(module.name)


def caller_of(request: Request) -> Caller:
    """Describe who sent a request; root on the unix socket needs no password."""
    peer = request.peer
    trusted = peer.kind == "unix" and peer.uid in (0, os.getuid())
    if "?" not in request.target and "cookie" not in request.headers:
        agent = request.headers.get("user-agent", "")
        return Caller(peer.address, trusted, agent, on_disconnect=request.on_disconnect)
    return Caller(
        peer.address,
        trusted,
        request.headers.get("user-agent", ""),
        subtask_of=Ref(request.subtask_of or NULL_REF),
        task_id=Ref(request.task_id or NULL_REF),
        on_disconnect=request.on_disconnect,
    )


def serve(
    toolstack: Toolstack,
    dispatcher: Dispatcher,
    http: int,
    https: int,
    reactor: Any,
    more: Sequence[AddRoutes] = (),
) -> Endpoints:
    """Listen on the host's address; port 0 takes any free one.

    A real host listens on all its addresses: the one of its management interface may
    not be there yet, and may become another one.  Errors: CannotListenError.
    """
    settings = toolstack.settings
    routes = routes_of(toolstack, dispatcher, more)
    address = settings.address
    where = address
    if settings.backend == "xen":
        where = "::" if ":" in address else ""
    plain = reactor.listenTCP(
        http, HttpServer(routes, reactor, kind="tcp"), interface=where, backlog=512
    )
    certificate = ensure_certificate(settings.state / SERVER_CERTIFICATE, names_of(toolstack))
    tls = TlsSettings(certificate)
    toolstack.certificate_changed = tls.reload
    plain.transport = PromptServer
    secure = reactor.listenSSL(
        https,
        HttpServer(routes, reactor, kind="tls"),
        tls,
        interface=where,
        backlog=512,
    )
    secure.transport = PromptServer
    socket = settings.state / "run" / SOCKET_NAME
    _remove_socket(socket)
    local = reactor.listenUNIX(str(socket), HttpServer(routes, reactor, kind="unix"), mode=0o600)
    local.transport = PromptUnixServer
    return Endpoints(address, plain.getHost().port, secure.getHost().port, socket)


def _remove_socket(path: Path) -> None:
    """Remove the socket a killed process left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)

"""Consoles of guests for clients: HTTP CONNECT, and WebSocket for browsers.

After the answer the bytes are those of the console itself, RFB or text.
Sources: briefs XENCENTER 5.2 and CLIENTS item 14.
"""

from typing import Any

from xapi_py.api.toolstack import Toolstack
from xapi_py.base.names import NULL_REF
from xapi_py.base.rpc.errors import RpcError
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.http.entry_points import check_permission, entry_point
from xapi_py.http.messages import HttpError, Request, Takeover
from xapi_py.session.sessions import Session
from xapi_py.transfer.relay import Relay
from xapi_py.transfer.websocket import BinaryFrames, accept


@entry_point("connect_console")
async def connect_console(toolstack: Toolstack, session: Session, request: Request) -> Takeover:
    """Join the connection to a console."""
    path = await _console_path(toolstack, session, request, "connect_console/host_console")
    return Takeover(Relay(toolstack.clock, path))


@entry_point("connect_console_ws")
async def connect_console_ws(toolstack: Toolstack, session: Session, request: Request) -> Takeover:
    """Join a WebSocket to a console."""
    path = await _console_path(toolstack, session, request, "connect_console_ws/host_console_ws")
    headers, frames = accept(request), BinaryFrames()
    relay = Relay(toolstack.clock, path, frames.decode, frames.encode)
    return Takeover(relay, 101, headers)


async def _console_path(
    toolstack: Toolstack, session: Session, request: Request, host_permission: str
) -> str:
    """Find the unix socket of the console a request names.

    Errors: HttpError 403 for the control domain's console without its
    permission, HttpError 404 when the guest has no such console now;
    VM_BAD_POWER_STATE, HANDLE_INVALID, UUID_INVALID.
    """
    console, vm = _named(toolstack, request)
    if vm.is_control_domain:
        check_permission(session, host_permission)
    if vm.power_state != "Running" and vm.power_state != "Paused":
        raise err.VM_BAD_POWER_STATE(vm.ref, "running", vm.power_state.lower())
    protocol = console.protocol if console is not None else "rfb"
    xenops = toolstack.hosts.get(vm.resident_on).xenops
    try:
        opened: Any = (
            await xenops.read("HOST.open_console", {"protocol": protocol}, dbg="console")
            if vm.is_control_domain
            else await xenops.read(
                "CONSOLE.open", {"id": vm.uuid, "protocol": protocol}, dbg="console"
            )
        )
    except RpcError as error:
        if error.name != "Does_not_exist":
            raise
        raise HttpError(404, "the guest has no such console now") from error
    path = opened.get("path")
    if not path:
        raise HttpError(404, "the guest has no such console now")
    return str(path)


def _named(toolstack: Toolstack, request: Request) -> tuple[Row | None, Row]:
    """Find the console and its VM by reference or uuid of either."""
    db, query = toolstack.db, request.query
    uuid, ref = query.get("uuid"), query.get("ref")
    if uuid is None and ref is None:
        raise err.INTERNAL_ERROR("one of uuid and ref is needed")
    for cls in ("console", "VM"):
        found = ref if ref is not None else db.tables[cls].uuids.get(uuid or "")
        row = db.find(cls, found or NULL_REF)
        if row is not None:
            return (row, db.row("VM", row.VM)) if cls == "console" else (None, row)
    if ref is not None:
        raise err.HANDLE_INVALID("console", ref)
    raise err.UUID_INVALID("console", uuid)

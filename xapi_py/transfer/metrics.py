"""Metrics over HTTP: excerpts for graphs, and whole archives.

Sources: briefs POOL 14.2 and XENCENTER 5.1.
"""

from collections.abc import Iterator

from ocaml_compat import rrd_xml
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.slices import Steps, finished
from xapi_py.datamodel import errors as err
from xapi_py.http.entry_points import entry_point
from xapi_py.http.messages import HttpError, Request, Response
from xapi_py.metrics.store import FUNCTION, Owner, OwnerKind
from xapi_py.session.sessions import Session

_CORS = ("Access-Control-Allow-Origin", "*")
_NO_UUID = Response(400, close=True)
_NOTHING = Response(404, close=True)
"""A bare host answers this too.  Source: facts/traces, http-157 to http-163."""


@entry_point("rrd_updates")
async def rrd_updates(toolstack: Toolstack, session: Session, request: Request) -> Response:
    """Send the rows since ``start``, newest first.

    Without filters those of all running guests of this host; ``host=true`` adds
    the host's, ``vm_uuid`` and ``sr_uuid`` choose one owner.  Errors: HttpError
    400 without a start that is a number.
    """
    if toolstack.settings.bare:
        return _NOTHING
    query = request.query
    start, interval = _number(query.get("start", "")), _number(query.get("interval") or "0")
    owners = _owners(toolstack, request)
    if query.get("cf", FUNCTION).upper() not in (FUNCTION, ""):
        owners = []
    xport = await finished(toolstack.slices.run(toolstack.metrics.excerpt(owners, start, interval)))
    write = rrd_xml.xport_json if _is_json(request) else rrd_xml.xport_xml
    return await _answer(toolstack, request, write(xport))


def _number(text: str) -> int:
    try:
        return int(float(text))
    except (ValueError, OverflowError) as error:
        raise HttpError(400, f"{text[:40]!r} is no number of seconds") from error


def _owners(toolstack: Toolstack, request: Request) -> list[Owner]:
    query, metrics = request.query, toolstack.metrics
    chosen: list[Owner] = []
    if "vm_uuid" in query and query["vm_uuid"]:
        chosen += _one(toolstack, "vm", query["vm_uuid"])
    elif query.get("sr_uuid"):
        chosen += _one(toolstack, "sr", query["sr_uuid"])
    elif "vm_uuid" not in query:
        chosen += metrics.live("vm")
    if query.get("host", "").lower() == "true":
        chosen += _one(toolstack, "host", toolstack.db.row("host", toolstack.localhost).uuid)
    return chosen


def _one(toolstack: Toolstack, kind: OwnerKind, uuid: str) -> list[Owner]:
    owner = toolstack.metrics.find(kind, uuid)
    return [] if owner is None else [owner]


@entry_point("vm_rrd")
@entry_point("get_vm_rrds")
async def vm_rrd(toolstack: Toolstack, session: Session, request: Request) -> Response:
    """Send the whole archive of a VM, running or not.

    Errors: status 400 without ``uuid``, UUID_INVALID, status 404 for a VM
    that nothing is known of.
    """
    uuid = request.query.get("uuid")
    if not uuid:
        return _NO_UUID
    if toolstack.settings.bare:
        raise err.INTERNAL_ERROR("nothing collects performance data on this host")
    toolstack.db.by_uuid("VM", uuid)
    return await _whole(toolstack, request, "vm", uuid)


@entry_point("host_rrd")
@entry_point("get_host_rrds")
async def host_rrd(toolstack: Toolstack, session: Session, request: Request) -> Response:
    """Send the whole archive of this host."""
    uuid = toolstack.db.row("host", toolstack.localhost).uuid
    return await _whole(toolstack, request, "host", uuid)


@entry_point("sr_rrd")
async def sr_rrd(toolstack: Toolstack, session: Session, request: Request) -> Response:
    """Send the whole archive of an SR.  Errors: HttpError 400 and 404."""
    uuid = request.query.get("uuid")
    if not uuid:
        return _NO_UUID
    return await _whole(toolstack, request, "sr", uuid)


async def _whole(toolstack: Toolstack, request: Request, kind: OwnerKind, uuid: str) -> Response:
    owner = toolstack.metrics.find(kind, uuid)
    if owner is None:
        return _NOTHING
    rrd = toolstack.metrics.dump(owner)
    write = rrd_xml.render_json if _is_json(request) else rrd_xml.render
    return await _answer(toolstack, request, write(rrd))


def _is_json(request: Request) -> bool:
    return "json" in request.query or "application/json" in request.headers.get("accept", "")


async def _answer(toolstack: Toolstack, request: Request, parts: Iterator[str]) -> Response:
    """Make a long answer in short turns of the loop."""

    def steps() -> Steps[list[bytes]]:
        found = []
        for part in parts:
            found.append(part.encode())
            yield
        return found

    body = await finished(toolstack.slices.run(steps()))
    kind = "application/json" if _is_json(request) else "text/xml"
    return Response(200, body, (("Content-Type", kind), _CORS))

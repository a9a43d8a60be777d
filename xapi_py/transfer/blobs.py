"""Blobs over HTTP: ``GET`` and ``PUT /blob?uuid=...`` or ``?ref=...``.

A public blob is read without a session.  Sources: facts/traces misc-092 to
misc-101, brief POOL (blobs).
"""

from pathlib import Path

from xapi_py.api.blob import content_path
from xapi_py.api.disk_files import in_thread
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.names import NULL_REF
from xapi_py.base.private_file import replace
from xapi_py.db.row import Row
from xapi_py.http.entry_points import (
    check_permission,
    entry_point,
    logged_in,
    open_entry_point,
)
from xapi_py.http.messages import HttpError, Request, Response
from xapi_py.session.sessions import Session

MAX_BYTES = 64 * 1024 * 1024
"""The largest blob: they are notes and pictures, not disks."""

REALM = "Blob handler"


@open_entry_point("get_blob")
async def get_blob(toolstack: Toolstack, request: Request) -> Response:
    """Send a blob's content with its type; a blob that was never filled is not there."""
    if "uuid" not in request.query and "ref" not in request.query:
        return Response(400)
    row = _find(toolstack, request)
    if row is not None and row.public:
        return await _content(toolstack, row)
    async with logged_in(toolstack, request, REALM) as session:
        check_permission(session, "get_blob")
        if row is None:
            return Response(404, (b"Unknown reference\n",))
        return await _content(toolstack, row)


def _find(toolstack: Toolstack, request: Request) -> Row | None:
    db, query = toolstack.db, request.query
    ref = query.get("ref") or db.tables["blob"].uuids.get(query.get("uuid", ""))
    return db.find("blob", ref or NULL_REF)


async def _content(toolstack: Toolstack, row: Row) -> Response:
    path = content_path(toolstack.settings.state, row.uuid)
    try:
        content: bytes = await in_thread(path.read_bytes)
    except FileNotFoundError:
        return Response(404, (b"Unknown reference\n",))
    return Response(200, (content,), (("content-type", row.mime_type),))


@entry_point("put_blob")
async def put_blob(toolstack: Toolstack, session: Session, request: Request) -> Response:
    """Replace a blob's content; all of it or nothing.

    Errors: HttpError 400 without a length or an argument, 404, 413.
    """
    row = _find(toolstack, request)
    if "uuid" not in request.query and "ref" not in request.query:
        return Response(400, close=True)
    if row is None:
        return Response(404, (b"Unknown reference\n",), close=True)
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        raise HttpError(400, "a blob is uploaded with Content-Length")
    if int(length) > MAX_BYTES:
        raise HttpError(413)
    request.invite()
    chunks = []
    while chunk := await request.body.read():
        chunks.append(chunk)
    content = b"".join(chunks)
    await in_thread(_store, content_path(toolstack.settings.state, row.uuid), content)
    if toolstack.db.find("blob", row.ref) is not None:
        now = int(toolstack.clock.seconds())
        with toolstack.db.transaction() as tx:
            tx.update("blob", row.ref, size=len(content), last_updated=now)
        await toolstack.db.durable()
    return Response(200, (), (("Access-Control-Allow-Origin", "*"),))


def _store(path: Path, content: bytes) -> None:
    """Put a file in place; it is there whole or not at all after a crash."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    replace(path, content)

"""Downloads and restores of the database in the form of the real toolstack."""

from collections.abc import AsyncIterator

from twisted.internet.threads import deferToThread

from ocaml_compat import state_db
from ocaml_compat.state_db import StateDb, StateDbError
from xapi_py.api.toolstack import Toolstack
from xapi_py.datamodel import errors as err
from xapi_py.db.xml_database import export_database
from xapi_py.http.entry_points import entry_point
from xapi_py.http.messages import HttpError, Request, Response, StreamingResponse
from xapi_py.session.sessions import Session
from xapi_py.transfer import restore

MAX_UPLOAD_BYTES = 512 * 1024 * 1024
RESTART_S = 0.2
"""Time for the answer to leave before the server restarts."""


@entry_point("get_pool_xml_db_sync")
def get_pool_xml_db_sync(
    toolstack: Toolstack, session: Session, request: Request
) -> StreamingResponse:
    """Send the whole database as XML, secrets included, as it is at this moment."""
    state = export_database(toolstack.db, toolstack.model.schema_version)

    async def parts() -> AsyncIterator[bytes]:
        for part in state_db.render(state):
            yield part

    return StreamingResponse(parts(), headers=(("Content-Type", "application/octet-stream"),))


@entry_point("put_pool_xml_db_sync")
async def put_pool_xml_db_sync(
    toolstack: Toolstack, session: Session, request: Request
) -> Response:
    """Replace the database by the uploaded one and restart; ``dry_run=true`` only checks it.

    Nothing is changed before the whole upload is here and fits this host.
    Errors: RESTORE_INCOMPATIBLE_VERSION for a newer schema,
    RESTORE_TARGET_MGMT_IF_NOT_IN_BACKUP when this host is not in it.
    """
    content = await read_upload(request)
    try:
        state: StateDb = await deferToThread(state_db.parse, content)
    except StateDbError as error:
        raise HttpError(400, str(error)) from error
    check_restorable(toolstack, state)
    if request.query.get("dry_run", "false").lower() != "true":
        restore.store_upload(toolstack.settings.state, content)
        toolstack.clock.callLater(RESTART_S, toolstack.restart)
    return Response(200)


async def read_upload(request: Request) -> bytes:
    """Take a whole upload into memory.  Errors: HttpError 413."""
    request.invite()
    parts: list[bytes] = []
    size = 0
    while part := await request.body.read():
        size += len(part)
        if size > MAX_UPLOAD_BYTES:
            raise HttpError(413)
        parts.append(part)
    return b"".join(parts)


def check_restorable(toolstack: Toolstack, state: StateDb) -> None:
    """Refuse a database that is newer than this server, or not of this host."""
    if state.schema > toolstack.model.schema_version:
        raise err.RESTORE_INCOMPATIBLE_VERSION()
    me = toolstack.db.row("host", toolstack.localhost).uuid
    if not any(row.fields.get("uuid") == me for row in state.tables.get("host", ())):
        raise err.RESTORE_TARGET_MGMT_IF_NOT_IN_BACKUP()

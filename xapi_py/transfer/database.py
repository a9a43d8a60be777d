"""Downloads of the database in the form of the real toolstack."""

from collections.abc import AsyncIterator

from ocaml_compat import state_db
from xapi_py.api.toolstack import Toolstack
from xapi_py.db.xml_database import export_database
from xapi_py.http.entry_points import entry_point
from xapi_py.http.messages import Request, StreamingResponse
from xapi_py.session.sessions import Session


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

"""Downloads of the audit log."""

from collections.abc import AsyncIterator

from xapi_py.api.toolstack import Toolstack
from xapi_py.http.entry_points import entry_point
from xapi_py.http.messages import Request, StreamingResponse
from xapi_py.session.sessions import Session

_BLOCK_LINES = 500


@entry_point("get_audit_log")
def get_audit_log(toolstack: Toolstack, session: Session, request: Request) -> StreamingResponse:
    """Send the audit log, oldest line first; ``since`` cuts it off at the start."""
    query = request.query
    lines = toolstack.audit.lines(query.get("since", ""), query.get("filter", ""))

    async def blocks() -> AsyncIterator[bytes]:
        block: list[str] = []
        for line in lines:
            block.append(line)
            if len(block) == _BLOCK_LINES:
                yield "".join(block).encode()
                block.clear()
        yield "".join(block).encode()

    return StreamingResponse(blocks(), headers=(("Content-Type", "text/plain"),))

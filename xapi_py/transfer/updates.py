"""Updates of hosts over HTTP: this server has none to give.

Source: facts/traces, http-047, http-188 and http-189.
"""

from xapi_py.api.toolstack import Toolstack
from xapi_py.http.entry_points import entry_point, open_entry_point
from xapi_py.http.messages import HttpError, Request, Response
from xapi_py.session.sessions import Session


@entry_point("get_updates")
def get_updates(toolstack: Toolstack, session: Session, request: Request) -> Response:
    """Say that there is no repository whose updates could be listed."""
    return Response(404, close=True)


@open_entry_point("get_pool_update_download")
def get_pool_update_download(toolstack: Toolstack, request: Request) -> Response:
    """Give a file of an attached update, ``/update/<host>/<path>``: none is attached.

    Errors: status 500 for a path of another form.
    """
    host, _, file = request.path.removeprefix("/update/").partition("/")
    if not host or not file:
        raise HttpError(500, "the path names no host and file")
    return Response(404, close=True)

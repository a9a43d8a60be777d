"""Performance data over HTTP: none while nothing collects it.

Source: facts/traces, http-157 to http-163.
"""

from xapi_py.api.toolstack import Toolstack
from xapi_py.datamodel import errors as err
from xapi_py.http.entry_points import entry_point
from xapi_py.http.messages import Request, Response
from xapi_py.session.sessions import Session


@entry_point("vm_rrd")
def vm_rrd(toolstack: Toolstack, session: Session, request: Request) -> Response:
    """Give a guest's data.  Errors: status 400 without ``uuid``, NOT_IMPLEMENTED."""
    if "uuid" not in request.query:
        return Response(400, close=True)
    raise err.NOT_IMPLEMENTED("http/vm_rrd")


@entry_point("host_rrd")
@entry_point("sr_rrd")
@entry_point("rrd_updates")
def nothing(toolstack: Toolstack, session: Session, request: Request) -> Response:
    """Say that there is no data; clients draw empty graphs then."""
    return Response(404, close=True)

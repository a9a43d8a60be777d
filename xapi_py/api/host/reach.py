"""Calls that are answered by the host they name."""

from xapi_py.api.call import Call
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan.operations.host import is_live


def reached(call: Call, host: Ref) -> Row:
    """Give the record of a host that can be asked now.

    Errors: HOST_OFFLINE for a host that is down, and for a reference to none:
    such calls are sent on before anybody looks at the record.
    Source: facts/traces, poolhost-130 and -198.
    """
    row = call.db.find("host", host)
    if row is None or not is_live(call.db, row):
        raise err.HOST_OFFLINE(host)
    return row

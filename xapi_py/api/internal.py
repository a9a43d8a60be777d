"""Calls the server makes of its own: at start, by a clock, or because a daemon said so."""

from xapi_py.api.call import Call, Caller
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.names import NULL_REF
from xapi_py.session.sessions import Session

_SERVER = Session(ref=NULL_REF, user_name="", originator="xapi", superuser=True, is_pool=True)


def internal_call(toolstack: Toolstack, name: str) -> Call:
    """Make a call that may do everything; ``name`` is what its task is called.

    End it with ``finish``, so that no task record stays.
    """
    return Call(toolstack, _SERVER, name, Caller(unix=True))


def finish(call: Call) -> None:
    """Remove the task of an internal call, if one was made."""
    if call.task_ref != NULL_REF:
        call.toolstack.tasks.forget(call.task_ref)

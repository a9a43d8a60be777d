"""Messages of class event."""

from typing import Any

from twisted.internet.defer import Deferred

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.datamodel import errors as err
from xapi_py.event.encode import encode_batch, encode_old_events
from xapi_py.event.events import Batch
from xapi_py.event.subscription import format_token, parse_token
from xapi_py.session.audit import track_id


@message("event.from", encoder=encode_batch)
def from_(
    call: Call, classes: tuple[str, ...], token: str, timeout: float
) -> "Batch | Deferred[Batch]":
    """Wait for changes of the given classes and objects after a token."""
    events = call.toolstack.events
    since = parse_token(token)
    return events.wait(call.session, events.subscription(classes), since, timeout)


@message("event.register")
def register(call: Call, classes: tuple[str, ...]) -> None:
    """Follow classes in the old style."""
    call.toolstack.events.old.register(call.session, classes)


@message("event.unregister")
def unregister(call: Call, classes: tuple[str, ...]) -> None:
    """Stop following classes in the old style."""
    call.toolstack.events.old.unregister(call.session, classes)


@message("event.next", encoder=encode_old_events)
async def next_(call: Call) -> list[Any]:
    """Wait for changes of registered classes.

    Errors: SESSION_NOT_REGISTERED, EVENTS_LOST, SESSION_INVALID.
    """
    old = call.toolstack.events.old
    if not old.is_registered(call.session):
        raise err.SESSION_NOT_REGISTERED(f"trackid={track_id(call.session.ref)}")
    return await old.next(call.session)


@message("event.get_current_id")
def get_current_id(call: Call) -> int:
    """Give the number of the latest change."""
    return call.toolstack.events.generation


@message("event.inject")
def inject(call: Call, cls: str, ref: str) -> str:
    """Make a change event for an object and give the token just before it.

    Errors: HANDLE_INVALID, also for a class that does not exist; letter case
    of the class matters here.
    """
    class_def = call.model.classes.get(cls)
    if class_def is None or not class_def.in_db or call.db.find(cls, ref) is None:
        raise err.HANDLE_INVALID(cls, ref)
    before = call.db.generation
    with call.db.transaction() as tx:
        tx.touch(cls, ref)
    return format_token(before)

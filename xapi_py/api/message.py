"""Messages of class message: the alerts that clients show and dismiss."""

from collections.abc import Callable
from dataclasses import replace

from xapi_py.api.call import Call
from xapi_py.api.implicit import listing_where
from xapi_py.api.listing import Listing, encode_listing
from xapi_py.api.registry import message
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.defaults import LIMITS
from xapi_py.db.row import Row

OBJECT_CLASSES = {
    "VM": "VM",
    "Host": "host",
    "SR": "SR",
    "Pool": "pool",
    "VMPP": "VMPP",
    "VMSS": "VMSS",
    "PVS_proxy": "PVS_proxy",
    "VDI": "VDI",
    "Certificate": "Certificate",
}
"""The class of the object an alert is about, by the value of ``cls``."""

DEFAULT_PRIORITY = 5


def create_alert(toolstack: Toolstack, name: str, cls: str, uuid: str, body: str) -> Ref:
    """Raise an alert of the model's priority; the oldest go beyond the limit."""
    alert = toolstack.model.alerts.get(name)
    priority = alert.priority if alert is not None else DEFAULT_PRIORITY
    return _store(toolstack, name, priority, cls, uuid, body)


@message("message.create")
def create(call: Call, name: str, priority: int, cls: str, obj_uuid: str, body: str) -> Ref:
    """Raise an alert about an object.  Errors: UUID_INVALID."""
    _check_object(call, cls, obj_uuid)
    return _store(call.toolstack, name, priority, cls, obj_uuid, body)


@message("message.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Dismiss an alert."""
    destroy_many(call, (self,))


@message("message.destroy_many")
def destroy_many(call: Call, messages: tuple[Ref, ...]) -> None:
    """Dismiss alerts: all of them, or none when one does not exist."""
    for ref in messages:
        call.db.row("message", ref)
    with call.db.transaction() as tx:
        for ref in dict.fromkeys(messages):
            tx.delete("message", ref)


@message("message.destroy_all")
def destroy_all(call: Call, filters: dict[str, str]) -> None:
    """Dismiss every alert whose fields have the given text.

    Errors: INVALID_VALUE for a field that alerts do not have.
    """
    for name in filters:
        if name not in call.model.classes["message"].fields:
            raise err.INVALID_VALUE("filters", name)
    chosen = [
        row.ref
        for row in call.db.rows("message")
        if all(str(getattr(row, name)) == value for name, value in filters.items())
    ]
    destroy_many(call, tuple(chosen))


@message("message.get_all")
def get_all(call: Call) -> tuple[Ref, ...]:
    """Give all alerts, the newest first."""
    return tuple(reversed(call.db.refs("message")))


@message("message.get_record")
def get_record(call: Call, self: Ref) -> Row:
    """Give one alert."""
    return call.db.row("message", self)


@message("message.get_by_uuid")
def get_by_uuid(call: Call, uuid: str) -> Ref:
    """Find an alert."""
    return call.db.by_uuid("message", uuid)


@message("message.get", encoder=encode_listing)
def get(call: Call, cls: str, obj_uuid: str, since: int) -> Listing:
    """Give the alerts about one object since a moment.

    Errors: UUID_INVALID without parameters.  Source: facts/traces, misc-012.
    """
    try:
        _check_object(call, cls, obj_uuid)
    except ApiError as problem:
        raise ApiError(problem.code) from problem

    def wanted(row: Row) -> bool:
        about = row.obj_uuid == obj_uuid and row.cls == cls
        return bool(about and row.timestamp >= since)

    return _newest_first(call, wanted)


@message("message.get_since", encoder=encode_listing)
def get_since(call: Call, since: int) -> Listing:
    """Give the alerts since a moment."""
    return _newest_first(call, lambda row: bool(row.timestamp >= since))


@message("message.get_all_records", encoder=encode_listing)
def get_all_records(call: Call) -> Listing:
    """Give all alerts."""
    return _newest_first(call)


@message("message.get_all_records_where", encoder=encode_listing)
def get_all_records_where(call: Call, expr: str) -> Listing:
    """Give the alerts an expression matches."""
    found = listing_where(call.db, call.model.classes["message"], expr)
    return replace(found, rows=tuple(reversed(found.rows)))


def _newest_first(call: Call, test: Callable[[Row], bool] | None = None) -> Listing:
    """Give alerts, to be tested while they are encoded: there may be thousands."""
    return Listing(call.db, "message", tuple(reversed(call.db.rows("message"))), test)


def _check_object(call: Call, cls: str, uuid: str) -> None:
    try:
        call.db.by_uuid(OBJECT_CLASSES[cls], uuid)
    except (ApiError, KeyError):
        raise err.UUID_INVALID(cls, uuid) from None


def _store(toolstack: Toolstack, name: str, priority: int, cls: str, uuid: str, body: str) -> Ref:
    db, limit = toolstack.db, LIMITS["messages"]
    with db.transaction() as tx:
        ref = tx.create(
            "message",
            {
                "name": name,
                "priority": priority,
                "cls": cls,
                "obj_uuid": uuid,
                "timestamp": int(toolstack.clock.seconds()),
                "body": body,
            },
        )
        surplus = db.count("message") - limit
        if surplus > 0:
            for old in db.refs("message")[:surplus]:
                tx.delete("message", old)
    return ref

"""Messages of classes Caller and Rate_limit: who calls, and how often they may.

The records are kept; calls are not counted or held back by them.
"""

from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.implicit import constructor_fields
from xapi_py.api.registry import message
from xapi_py.api.settings import Check, Setting, register
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err


def _positive(name: str) -> Check:
    def check(call: Call, ref: Ref, value: float) -> None:
        if not value > 0.0:
            raise err.INVALID_VALUE(name, _number(value))

    return check


def _number(value: float) -> str:
    """Write a number as the recorded server does: ``0.``, ``1.5``."""
    text = f"{value:.12g}"
    return text if "." in text or "e" in text or "n" in text else f"{text}."


register(
    (
        Setting("Rate_limit.set_burst_size", ("burst_size",), _positive("burst_size")),
        Setting("Rate_limit.set_fill_rate", ("fill_rate",), _positive("fill_rate")),
    )
)


@message("Caller.create")
def create_caller(call: Call, record: dict[str, Any]) -> Ref:
    """Note a kind of caller.  Errors: INVALID_VALUE.  Source: facts/traces, classes-029."""
    fields = constructor_fields(call, "Caller", record)
    if not fields.get("user_agent") and not fields.get("client_ip"):
        raise err.INVALID_VALUE(
            "user_agent/client_ip", "at least one of user_agent or client_ip must be set"
        )
    with call.db.transaction() as tx:
        return tx.create("Caller", fields)


@message("Caller.add_group")
def add_group(call: Call, self: Ref, group: str) -> None:
    """Count a caller in a group as well."""
    call.db.row("Caller", self)
    with call.db.transaction() as tx:
        tx.add_to_set("Caller", self, "groups", group)


@message("Caller.remove_group")
def remove_group(call: Call, self: Ref, group: str) -> None:
    """Count a caller in a group no longer."""
    call.db.row("Caller", self)
    with call.db.transaction() as tx:
        tx.remove_from_set("Caller", self, "groups", group)


@message("Rate_limit.create")
def create_rate_limit(call: Call, record: dict[str, Any]) -> Ref:
    """Make a limit.  Errors: INVALID_VALUE.  Source: facts/traces, classes-150."""
    fields = constructor_fields(call, "Rate_limit", record)
    for name in ("fill_rate", "burst_size"):
        _positive(name)(call, NULL_REF, fields.get(name, 0.0))
    with call.db.transaction() as tx:
        return tx.create("Rate_limit", fields)


@message("Rate_limit.add_caller")
def add_caller(call: Call, self: Ref, caller: Ref) -> None:
    """Let a limit hold for a caller."""
    call.db.row("Rate_limit", self)
    call.db.row("Caller", caller)
    with call.db.transaction() as tx:
        tx.set("Caller", caller, "rate_limit", self)


@message("Rate_limit.remove_caller")
def remove_caller(call: Call, self: Ref, caller: Ref) -> None:
    """Let a limit hold for a caller no longer."""
    call.db.row("Rate_limit", self)
    if call.db.row("Caller", caller).rate_limit == self:
        with call.db.transaction() as tx:
            tx.set("Caller", caller, "rate_limit", NULL_REF)

"""The edition of the whole pool."""

from xapi_py.api.call import Call
from xapi_py.api.host.licence import set_edition
from xapi_py.api.registry import message
from xapi_py.base.names import Ref

NEVER = "never"


@message("pool.get_license_state")
def get_license_state(call: Call, self: Ref) -> dict[str, str]:
    """Give the edition and the end of the licence of the pool.

    The host whose licence ends first speaks for all; the master among equals.
    """
    master = call.db.row("pool", self).master
    hosts = sorted(call.db.rows("host"), key=lambda host: host.ref != master)
    first = min(hosts, key=lambda host: host.license_params.get("expiry", NEVER))
    return {"edition": first.edition, "expiry": first.license_params.get("expiry", NEVER)}


@message("pool.apply_edition")
def apply_edition(call: Call, self: Ref, edition: str) -> None:
    """Change the edition of all hosts."""
    call.db.row("pool", self)
    set_edition(call, tuple(call.db.refs("host")), edition)

"""Workload balancing: an external service this pool is not connected to.

Order of checks: licence, connected, enabled.  Source: brief POOL 20.
"""

import re

from xapi_py.api.call import Call
from xapi_py.api.licence import require_feature
from xapi_py.api.registry import message
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel import errors as err

_URL = re.compile(r"[^:/\s]+:\d{1,5}")


@message("pool.initialize_wlb")
def initialize_wlb(
    call: Call,
    wlb_url: str,
    wlb_username: str,
    wlb_password: str,
    xenserver_username: str,
    xenserver_password: str,
) -> None:
    """Connect the pool to a balancing server.

    Errors: LICENCE_RESTRICTION, WLB_URL_INVALID; WLB_CONNECTION_REFUSED, as
    this server speaks no balancing protocol yet.
    """
    require_feature(call, "restrict_wlb", "WLB")
    if not _URL.fullmatch(wlb_url):
        raise err.WLB_URL_INVALID(wlb_url)
    raise err.WLB_CONNECTION_REFUSED()


@message("pool.deconfigure_wlb")
def deconfigure_wlb(call: Call) -> None:
    """Forget the balancing server.  Errors: as ``send_wlb_configuration``."""
    _check_connected(call)
    with call.db.transaction() as tx:
        tx.update(
            "pool",
            call.toolstack.pool,
            wlb_url="",
            wlb_username="",
            wlb_password=NULL_REF,
            wlb_enabled=False,
        )


@message("pool.send_wlb_configuration")
def send_wlb_configuration(call: Call, config: dict[str, str]) -> None:
    """Configure the balancing server.

    Errors: LICENCE_RESTRICTION, WLB_NOT_INITIALIZED, WLB_CONNECTION_REFUSED.
    """
    _ask(call)


@message("pool.retrieve_wlb_configuration")
def retrieve_wlb_configuration(call: Call) -> dict[str, str]:
    """Ask for its configuration.  Errors: as ``send_wlb_configuration``."""
    _ask(call)
    return {}


@message("pool.retrieve_wlb_recommendations")
def retrieve_wlb_recommendations(call: Call) -> dict[Ref, tuple[str, ...]]:
    """Ask where guests should go.  Errors: as ``send_wlb_configuration``."""
    _ask(call)
    return {}


def _ask(call: Call) -> None:
    _check_connected(call)
    raise err.WLB_CONNECTION_REFUSED()


def _check_connected(call: Call) -> None:
    require_feature(call, "restrict_wlb", "WLB")
    if call.db.row("pool", call.toolstack.pool).wlb_url == "":
        raise err.WLB_NOT_INITIALIZED()

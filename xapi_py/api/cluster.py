"""Messages of class Cluster: no host has a cluster stack yet, so none can be made.

Source: facts/traces, poolhost-257 and -258.
"""

from xapi_py.api.call import Call
from xapi_py.api.licence import require_feature
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err


@message("Cluster.create")
def create(
    call: Call,
    pif: Ref,
    cluster_stack: str,
    pool_auto_join: bool,
    token_timeout: float,
    token_timeout_coefficient: float,
) -> Ref:
    """Make a cluster of one host.

    Errors: HANDLE_INVALID, LICENCE_RESTRICTION, REQUIRED_PIF_IS_UNPLUGGED,
    PIF_ALLOWS_UNPLUG, INVALID_VALUE, INVALID_CLUSTER_STACK.
    """
    row = call.db.row("PIF", pif)
    _check(call, token_timeout, token_timeout_coefficient)
    if not row.currently_attached:
        raise err.REQUIRED_PIF_IS_UNPLUGGED(pif)
    if not row.disallow_unplug:
        raise err.PIF_ALLOWS_UNPLUG(pif)
    raise err.INVALID_CLUSTER_STACK(cluster_stack)


@message("Cluster.pool_create")
def pool_create(
    call: Call,
    network: Ref,
    cluster_stack: str,
    token_timeout: float,
    token_timeout_coefficient: float,
) -> Ref:
    """Make a cluster of all hosts.  Errors: as ``create``."""
    call.db.row("network", network)
    _check(call, token_timeout, token_timeout_coefficient)
    raise err.INVALID_CLUSTER_STACK(cluster_stack)


def _check(call: Call, token_timeout: float, token_timeout_coefficient: float) -> None:
    require_feature(call, "restrict_corosync", "Corosync")
    if token_timeout < 1.0:
        raise err.INVALID_VALUE("token_timeout", f"{token_timeout:g}")
    if token_timeout_coefficient < 0.65:
        raise err.INVALID_VALUE("token_timeout_coefficient", f"{token_timeout_coefficient:g}")

"""High availability on one host: off, until pools of several hosts have it."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err


@message("host.emergency_ha_disable")
def emergency_ha_disable(call: Call, soft: bool = False) -> None:
    """Switch high availability off on this host alone.  Errors: HA_NOT_ENABLED."""
    raise err.HA_NOT_ENABLED()


@message("host.ha_xapi_healthcheck")
def ha_xapi_healthcheck(call: Call) -> bool:
    """Tell the host's watcher that the server answers."""
    return True


@message("host.retrieve_wlb_evacuate_recommendations")
def retrieve_wlb_evacuate_recommendations(call: Call, self: Ref) -> dict[Ref, tuple[str, ...]]:
    """Ask workload balancing where guests should go.  Errors: WLB_NOT_INITIALIZED."""
    call.db.row("host", self)
    raise err.WLB_NOT_INITIALIZED()

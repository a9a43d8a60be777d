"""Failures of the network daemon as the errors clients know."""

from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.base.rpc.errors import RpcError, RpcInternalError, RpcTimeout, RpcUnreachable
from xapi_py.datamodel import errors as err

TROUBLE = (RpcError, RpcInternalError, RpcTimeout, RpcUnreachable)
"""What a call of a daemon can fail with."""


def network_error(problem: Exception, pif: Ref) -> ApiError:
    """Give the API error of a failed call on behalf of a PIF."""
    if isinstance(problem, RpcError):
        params = [str(p) for p in problem.params]
        if problem.name == "Vlan_in_use":
            return err.VLAN_IN_USE(*params)
        return err.PIF_CONFIGURATION_ERROR(pif, ": ".join((problem.name, *params)))
    return err.PIF_CONFIGURATION_ERROR(pif, f"the network daemon failed: {problem}")


def bridge_error(problem: Exception, bridge: str) -> ApiError:
    """Give the API error of a bridge without a PIF that cannot be made."""
    if isinstance(problem, RpcError):
        return err.BRIDGE_NOT_AVAILABLE(bridge)
    if isinstance(problem, RpcUnreachable):
        return err.HOST_STILL_BOOTING()
    return err.INTERNAL_ERROR(f"the network daemon failed: {problem}")

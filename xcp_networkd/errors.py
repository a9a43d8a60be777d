"""Errors of the network interface."""

from xapi_py.base.rpc.errors import RpcError


def no_interface(name: str) -> RpcError:
    return RpcError("Interface_does_not_exist", name)


def no_bridge(name: str) -> RpcError:
    return RpcError("Bridge_does_not_exist", name)


def vlan_in_use(device: str, tag: int) -> RpcError:
    """The tag is taken on the device, by this toolstack or something else."""
    return RpcError("Vlan_in_use", device, tag)


def bad_config(text: str) -> RpcError:
    """The desired state makes no sense; the text names what and where."""
    return RpcError("Bad_network_config", text)


def script_error(text: str) -> RpcError:
    """A step failed in the system."""
    return RpcError("Script_error", text)

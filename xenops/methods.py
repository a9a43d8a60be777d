"""The daemon's RPC methods."""

from collections.abc import Mapping

from xapi_py.base.rpc.server import Method
from xapi_py.base.rpc.updates import UpdateFeed
from xenops.backends.contract import Backend
from xenops.device_methods import DeviceMethods
from xenops.host_methods import HostMethods
from xenops.operations import Operations
from xenops.vm_methods import VmMethods


def all_methods(operations: Operations, backend: Backend, feed: UpdateFeed) -> Mapping[str, Method]:
    """Give every method the API server can call, by its name on the wire."""
    groups = (VmMethods, DeviceMethods, HostMethods)
    return {
        name: method
        for group in groups
        for name, method in group(operations, backend, feed).table().items()
    }

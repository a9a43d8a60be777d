"""The networks a VM needs on the host it runs on."""

from xapi_py.api.call import Call
from xapi_py.api.registry import HANDLERS
from xapi_py.base.names import Ref
from xapi_py.db.row import Row


async def attach_networks(call: Call, vm: Row, host: Ref) -> None:
    """Bring the networks of the VM's VIFs up on the host."""
    if not len(vm.VIFs):
        return
    registered = HANDLERS.get("network.attach_for_vm")
    if registered is not None:
        await registered.handler(call, host, vm.ref)

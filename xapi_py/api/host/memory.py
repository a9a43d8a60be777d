"""Memory of a host as placement counts it.  All amounts in bytes."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref


@message("host.compute_free_memory")
def compute_free_memory(call: Call, host: Ref) -> int:
    """Give what can still be promised to guests."""
    row = call.db.row("host", host)
    return call.toolstack.reservations.free_bytes(call.db, row)


@message("host.compute_memory_overhead")
def compute_memory_overhead(call: Call, host: Ref) -> int:
    """Give what the hypervisor keeps for itself."""
    return int(call.db.row("host", host).memory_overhead)

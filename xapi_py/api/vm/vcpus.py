"""Virtual CPUs of VMs, at rest and live."""

from xapi_py.api.call import Call
from xapi_py.api.operations import check, operation
from xapi_py.api.registry import message
from xapi_py.api.vm.domain import home, xenops
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.plan import vcpus


@message("VM.set_VCPUs_max")
def set_vcpus_max(call: Call, self: Ref, value: int) -> None:
    """Set the most virtual CPUs.  Errors: INVALID_VALUE, VM_BAD_POWER_STATE."""
    check(call, ("VM", self, "changing_VCPUs"))
    row = call.db.row("VM", self)
    problem = vcpus.counts_error(value, row.VCPUs_at_startup, value)
    if problem is not None:
        raise problem
    with call.db.transaction() as tx:
        tx.set("VM", self, "VCPUs_max", value)


@message("VM.set_VCPUs_at_startup")
def set_vcpus_at_startup(call: Call, self: Ref, value: int) -> None:
    """Set the virtual CPUs to start with.  Errors: INVALID_VALUE, VM_BAD_POWER_STATE."""
    check(call, ("VM", self, "changing_VCPUs"))
    row = call.db.row("VM", self)
    problem = vcpus.counts_error(row.VCPUs_max, value, value)
    if problem is not None:
        raise problem
    with call.db.transaction() as tx:
        tx.set("VM", self, "VCPUs_at_startup", value)


@message("VM.set_VCPUs_number_live")
async def set_vcpus_number_live(call: Call, self: Ref, nvcpu: int) -> None:
    """Plug or unplug virtual CPUs of a running VM; its next start has as many.

    Errors: INVALID_VALUE above VCPUs_max, VM_LACKS_FEATURE.
    """
    row = call.db.row("VM", self)
    async with operation(call, ("VM", self, "changing_VCPUs_live")):
        problem = vcpus.live_number_error(nvcpu, row.VCPUs_max)
        if problem is not None:
            raise problem
        params = {"id": row.uuid, "n": nvcpu}
        await xenops(call, home(row), "VM.set_vcpus", params, vm=self)
        with call.db.transaction() as tx:
            tx.set("VM", self, "VCPUs_at_startup", nvcpu)


@message("VM.add_to_VCPUs_params_live")
def add_to_vcpus_params_live(call: Call, self: Ref, key: str, value: str) -> None:
    """Refuse: weight and cap apply at the next start.

    Errors: those of the state, then NOT_IMPLEMENTED.
    """
    check(call, ("VM", self, "changing_VCPUs_live"))
    raise err.NOT_IMPLEMENTED("VM.add_to_VCPUs_params_live")

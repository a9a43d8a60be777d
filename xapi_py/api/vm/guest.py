"""What reaches into a running VM: plugins, keys, sleep states, data sources."""

from xapi_py.api.call import Call
from xapi_py.api.operations import check, operation
from xapi_py.api.registry import message
from xapi_py.api.vm.domain import home, push_metadata, xenops
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err


@message("VM.call_plugin")
def call_plugin(call: Call, vm: Ref, plugin: str, fn: str, args: dict[str, str]) -> str:
    """Call a plugin that talks to the guest.

    Errors: those of the state, XENAPI_MISSING_PLUGIN: there is none to call.
    """
    check(call, ("VM", vm, "call_plugin"))
    raise err.XENAPI_MISSING_PLUGIN(plugin)


@message("VM.call_host_plugin")
def call_host_plugin(call: Call, vm: Ref, plugin: str, fn: str, args: dict[str, str]) -> str:
    """Call a plugin on the host of the VM.  Errors: XENAPI_MISSING_PLUGIN."""
    check(call, ("VM", vm, "call_plugin"))
    raise err.XENAPI_MISSING_PLUGIN(plugin)


@message("VM.send_sysrq")
def send_sysrq(call: Call, vm: Ref, key: str) -> None:
    """Refuse, as real servers do.  Errors: those of the state, NOT_IMPLEMENTED."""
    check(call, ("VM", vm, "send_sysrq"))
    raise err.NOT_IMPLEMENTED("send_sysrq")


@message("VM.send_trigger")
def send_trigger(call: Call, vm: Ref, trigger: str) -> None:
    """Refuse, as real servers do.  Errors: those of the state, NOT_IMPLEMENTED."""
    check(call, ("VM", vm, "send_trigger"))
    raise err.NOT_IMPLEMENTED("send_trigger")


@message("VM.s3_suspend")
async def s3_suspend(call: Call, vm: Ref) -> None:
    """Put the guest to sleep in its own memory."""
    row = call.db.row("VM", vm)
    await xenops(call, home(row), "VM.s3suspend", {"id": row.uuid}, vm=vm)


@message("VM.s3_resume")
async def s3_resume(call: Call, vm: Ref) -> None:
    """Wake the guest from its own memory."""
    row = call.db.row("VM", vm)
    await xenops(call, home(row), "VM.s3resume", {"id": row.uuid}, vm=vm)


@message("VM.query_services")
def query_services(call: Call, self: Ref) -> dict[str, str]:
    """List the services a system domain offers: none.

    Errors: NOT_SYSTEM_DOMAIN for other VMs.
    """
    check(call, ("VM", self, "query_services"))
    return {}


@message("VM.restart_device_models")
async def restart_device_models(call: Call, self: Ref) -> None:
    """Take over changed metadata where the VM runs.  Errors: VM_BAD_POWER_STATE."""
    row = call.db.row("VM", self)
    if row.power_state != "Running":
        raise err.VM_BAD_POWER_STATE(self, "Running", row.power_state)
    async with operation(call, ("VM", self, "pool_migrate")):
        await push_metadata(call, self, home(row))


@message("VM.sysprep")
async def sysprep(call: Call, self: Ref, unattend: str, timeout: float) -> None:
    """Refuse: the guests here take no answer file.  Errors: SYSPREP."""
    check(call, ("VM", self, "sysprep"))
    raise err.SYSPREP(self, "API call is disabled")

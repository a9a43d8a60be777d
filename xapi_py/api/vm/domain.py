"""A VM on the domain daemon of a host: calls, metadata, and what its devices claim."""

from collections.abc import Mapping

from xapi_py.api import xenops_errors
from xapi_py.api.call import Call
from xapi_py.api.message import create_alert
from xapi_py.api.operations import Claim
from xapi_py.api.xenops_errors import About
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.rpc.errors import RpcError, RpcInternalError, RpcTimeout, RpcUnreachable
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan import boot

OPERATION_DEADLINE_S = 7200.0
"""An operation has deadlines of its own for every step; this one is for lost answers."""

DAEMON_FAILURES = (RpcError, RpcInternalError, RpcTimeout, RpcUnreachable)


async def xenops(
    call: Call,
    host: Ref,
    method: str,
    params: Mapping[str, object],
    *,
    vm: Ref,
    device: Ref = NULL_REF,
) -> object:
    """Call the domain daemon; its effects are in the database when this returns.

    Errors: API errors only, see ``xapi_py.api.xenops_errors``.
    """
    daemon = call.host(host).xenops
    try:
        return await daemon.call(method, params, dbg=call.dbg, deadline_s=OPERATION_DEADLINE_S)
    except DAEMON_FAILURES as failure:
        about = About(vm=vm, host=host, task=call.task_ref, device=device)
        raise xenops_errors.api_error(failure, about) from failure


async def push_metadata(call: Call, vm: Ref, host: Ref) -> None:
    """Tell a host how the VM is to be at its next start there."""
    md = boot.vm_metadata(call.db, vm, host)
    await xenops(call, host, "VM.import_metadata", {"md": md}, vm=vm)


async def forget(call: Call, vm: Row, host: Ref) -> None:
    """Let a host forget a VM that no longer runs there; failing to is no error."""
    daemon = call.host(host).xenops
    try:
        await daemon.call("VM.remove", {"id": vm.uuid}, dbg=call.dbg)
    except DAEMON_FAILURES:
        return


def home(vm: Row) -> Ref:
    """Give the host a live VM runs on.

    Errors: VM_BAD_POWER_STATE when it runs nowhere.
    """
    if vm.resident_on in ("", NULL_REF):
        raise err.VM_BAD_POWER_STATE(vm.ref, "running", vm.power_state.lower())
    return Ref(vm.resident_on)


def device_claims(call: Call, vm: Row) -> list[Claim]:
    """List the claims a start has on the VM's disks and network devices."""
    find = call.db.find
    claims: list[Claim] = []
    for ref in vm.VBDs:
        vbd = find("VBD", ref)
        if vbd is not None and not vbd.empty:
            claims.append(("VBD", ref, "attach"))
    claims.extend(("VIF", ref, "attach") for ref in vm.VIFs)
    return claims


def alert(call: Call, name: str, vm: Row, body: str) -> None:
    """Leave a message about the VM."""
    create_alert(call.toolstack, name, "VM", vm.uuid, body)

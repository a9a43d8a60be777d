"""Power operations: start, pause, shut down, reboot.

Source: brief XENOPS 4, 13 and 20; facts/traces, group lifecycle.
"""

from secrets import SystemRandom

from xapi_py.api.call import Call
from xapi_py.api.operations import check, operation
from xapi_py.api.registry import message
from xapi_py.api.vm import disks
from xapi_py.api.vm.domain import alert, device_claims, forget, home, push_metadata, xenops
from xapi_py.api.vm.networks import attach_networks
from xapi_py.api.vm.preparation import prepare_start
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.base.undo import Undo
from xapi_py.base.waiting import sleep
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.plan import events_text, placement, shutdown
from xapi_py.plan.operations.table import OPERATIONS
from xapi_py.pool.domain_state import halt

_random = SystemRandom()


@message("VM.start")
async def start(call: Call, vm: Ref, start_paused: bool, force: bool) -> None:
    """Start on the best host.

    Errors: those of the VM's state, NO_HOSTS_AVAILABLE, then those of the host.
    """
    check(call, ("VM", vm, "start"))
    row = call.db.row("VM", vm)
    free = call.toolstack.reservations.free_bytes
    host = placement.choose_host(call.db, row, _random.random(), free)
    await _start(call, row, Ref(host), "start", start_paused)


@message("VM.start_on")
async def start_on(call: Call, vm: Ref, host: Ref, start_paused: bool, force: bool) -> None:
    """Start on a given host.  Errors: as ``VM.assert_can_boot_here``."""
    row = call.db.row("VM", vm)
    place = call.db.row("host", host)
    check(call, ("VM", vm, "start_on"))
    free = call.toolstack.reservations.free_bytes
    placement.assert_can_boot_here(call.db, row, place, free)
    await _start(call, row, host, "start_on", start_paused)


async def _start(call: Call, vm: Row, host: Ref, name: str, start_paused: bool) -> None:
    claims = [("VM", vm.ref, name), ("host", host, "vm_start"), *device_claims(call, vm)]
    async with operation(call, *claims):
        with call.toolstack.reservations.hold(call.db, vm.ref, host):
            prepare_start(call, vm, host)
            async with Undo() as undo:
                undo.push("forget metadata", lambda: forget(call, vm, host))
                await attach_networks(call, vm, host)
                await push_metadata(call, vm.ref, host)
                call.allow_cancel()
                params = {"id": vm.uuid, "paused": start_paused, "force": False}
                await xenops(call, host, "VM.start", params, vm=vm.ref)
        place = call.db.row("host", host)
        alert(call, "VM_STARTED", vm, events_text.started(vm, place))
        await sleep(call.toolstack.clock, vm.start_delay)


@message("VM.pause")
async def pause(call: Call, vm: Ref) -> None:
    """Stop the virtual CPUs."""
    row = call.db.row("VM", vm)
    async with operation(call, ("VM", vm, "pause")):
        await xenops(call, home(row), "VM.pause", {"id": row.uuid}, vm=vm)
    alert(call, "VM_PAUSED", row, events_text.paused(row))


@message("VM.unpause")
async def unpause(call: Call, vm: Ref) -> None:
    """Let the virtual CPUs run again."""
    row = call.db.row("VM", vm)
    async with operation(call, ("VM", vm, "unpause")):
        await xenops(call, home(row), "VM.unpause", {"id": row.uuid}, vm=vm)
    alert(call, "VM_UNPAUSED", row, events_text.unpaused(row))


@message("VM.clean_shutdown")
async def clean_shutdown(call: Call, vm: Ref) -> None:
    """Ask the guest to shut down; cancellable while it takes its time.

    Errors: VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT, VM_SHUTDOWN_TIMEOUT.
    """
    row = call.db.row("VM", vm)
    async with operation(call, ("VM", vm, "clean_shutdown")):
        await _end_domain(call, row, shutdown.TOTAL_TIMEOUT_S, forced=False)
        await sleep(call.toolstack.clock, row.shutdown_delay)


@message("VM.hard_shutdown")
async def hard_shutdown(call: Call, vm: Ref) -> None:
    """End the domain at once; a suspended VM loses its memory.

    Operations of the VM that can be cancelled are.
    """
    row = call.db.row("VM", vm)
    async with operation(call, ("VM", vm, "hard_shutdown")):
        await _force_down(call, row)


@message("VM.shutdown")
async def shutdown_either_way(call: Call, vm: Ref) -> None:
    """Shut down cleanly if the guest does, by force if not."""
    row = call.db.row("VM", vm)
    async with operation(call, ("VM", vm, "shutdown")):
        if row.power_state == "Running" and _guest_answers(call, row):
            try:
                timeout_s = shutdown.clean_timeout_s(row.shutdown_delay)
                await _end_domain(call, row, timeout_s, forced=False)
                return
            except ApiError as problem:
                if problem.code == "TASK_CANCELLED":
                    raise
        await _force_down(call, row)


def _guest_answers(call: Call, vm: Row) -> bool:
    """Tell whether the guest can be asked to shut down."""
    rules = OPERATIONS["VM"]
    return rules.error_for(call.db, vm, "clean_shutdown", task=call.task_ref) is None


async def _force_down(call: Call, vm: Row) -> None:
    cancel_others(call, vm)
    if vm.power_state in ("Running", "Paused"):
        await _end_domain(call, vm, 0, forced=True)
    elif vm.power_state == "Suspended":
        await discard_suspended(call, vm)


def cancel_others(call: Call, vm: Row) -> None:
    """Cancel the operations a forced one does not wait for."""
    for task in shutdown.to_cancel(vm.current_operations, call.task_ref):
        if call.db.find("task", task) is not None:
            call.toolstack.tasks.cancel(Ref(task))


async def _end_domain(call: Call, vm: Row, timeout_s: float, *, forced: bool) -> None:
    host = home(vm)
    if not forced:
        call.allow_cancel()
    params = {"id": vm.uuid, "timeout_s": timeout_s, "force": forced}
    await xenops(call, host, "VM.shutdown", params, vm=vm.ref)
    with call.db.transaction() as tx:
        tx.set("VM", vm.ref, "ha_always_run", False)
    await forget(call, vm, host)
    alert(call, "VM_SHUTDOWN", vm, events_text.shut_down(vm, forced))


async def end_for_revert(call: Call, vm: Row) -> None:
    """End the domain of a VM whose record and disks are about to be replaced."""
    if vm.power_state not in ("Running", "Paused"):
        return
    host = home(vm)
    await xenops(call, host, "VM.shutdown", {"id": vm.uuid, "force": True}, vm=vm.ref)
    await forget(call, vm, host)


async def discard_suspended(call: Call, vm: Row) -> None:
    """Make a suspended VM Halted and destroy its image."""
    image = vm.suspend_VDI
    with call.db.transaction() as tx:
        halt(call.db, tx, vm)
        tx.update("VM", vm.ref, suspend_VDI=NULL_REF, last_booted_record="")
        disks.condemn(call.db, tx, [image])
    await disks.destroy_condemned(call, [image])


@message("VM.clean_reboot")
async def clean_reboot(call: Call, vm: Ref) -> None:
    """Ask the guest to reboot; settings made meanwhile apply.

    Errors: VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT, VM_SHUTDOWN_TIMEOUT.
    """
    row = call.db.row("VM", vm)
    async with operation(call, ("VM", vm, "clean_reboot")):
        await _reboot(call, row, forced=False)


@message("VM.hard_reboot")
async def hard_reboot(call: Call, vm: Ref) -> None:
    """End the domain and start a new one."""
    row = call.db.row("VM", vm)
    async with operation(call, ("VM", vm, "hard_reboot")):
        cancel_others(call, row)
        await _reboot(call, row, forced=True)


@message("VM.hard_reboot_internal")
async def hard_reboot_internal(call: Call, vm: Ref) -> None:
    """Reboot by force on behalf of another server of the pool."""
    await _reboot(call, call.db.row("VM", vm), forced=True)


async def _reboot(call: Call, vm: Row, *, forced: bool) -> None:
    host = home(vm)
    await push_metadata(call, vm.ref, host)
    if not forced:
        call.allow_cancel()
    params = {"id": vm.uuid, "timeout_s": shutdown.TOTAL_TIMEOUT_S, "force": forced}
    await xenops(call, host, "VM.reboot", params, vm=vm.ref)
    alert(call, "VM_REBOOTED", vm, events_text.rebooted(vm, forced))


@message("VM.power_state_reset")
def power_state_reset(call: Call, vm: Ref) -> None:
    """Make the database say Halted for a VM whose host is lost.

    Errors: CANNOT_RESET_CONTROL_DOMAIN; DOMAIN_EXISTS and HOST_IS_LIVE when
    the VM may still run.
    """
    row = call.db.row("VM", vm)
    check(call, ("VM", vm, "power_state_reset"))
    if row.is_control_domain:
        raise err.CANNOT_RESET_CONTROL_DOMAIN(vm)
    host = call.db.find("host", row.resident_on)
    if host is not None and row.power_state in ("Running", "Paused"):
        if host.ref == call.toolstack.localhost:
            raise err.DOMAIN_EXISTS(vm, row.domid)
        metrics = call.db.find("host_metrics", host.metrics)
        if metrics is not None and metrics.live:
            raise err.HOST_IS_LIVE(host.ref)
    image = row.suspend_VDI
    with call.db.transaction() as tx:
        halt(call.db, tx, row)
        tx.update("VM", vm, suspend_VDI=NULL_REF, current_operations={})
        disks.condemn(call.db, tx, [image])

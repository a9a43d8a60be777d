"""Moving a running VM into a new domain of the same host.

The guest stops, its memory is saved, its disks are let go; the new domain gets
all of it, with other metadata if need be, and runs; then the old domain ends.
Until the new one runs everything can be taken back and the guest goes on.
Storage motion uses it to put other disks under a running guest.
"""

import logging

from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.undo import Step, Undo
from xenops import errors, plan
from xenops.backends.contract import ShutdownReason
from xenops.effects import VmEffects
from xenops.metadata import VmMetadata
from xenops.operations import Operations, by_itself, then_unpause
from xenops.tasks import Task
from xenops.vms import Vm
from xenops.waiting import shielded

log = logging.getLogger(__name__)


async def move(operations: Operations, dbg: str, vm_id: str, md: VmMetadata | None) -> None:
    """Move a VM from Running to Running in a new domain; ``md`` takes effect there.

    Errors: Bad_power_state, Failed_to_acknowledge_suspend_request,
    Cannot_free_this_much_memory: both domains need their memory for a moment.
    """

    async def work(vm: Vm, task: Task) -> None:
        domain = operations.around.backend.find(vm.id)
        if domain is None or domain.paused:
            raise errors.bad_power_state(operations.power_state(vm), "Running")
        effects = VmEffects(operations.around, vm, dbg)
        undo = Undo()
        try:
            await _to_new_domain(operations, vm, effects, undo, task, domain.domid, md)
        except Exception:
            await shielded(undo.run())
            raise
        finally:
            vm.extra.suspend_memory_bytes, vm.extra.image = 0, {}
        await shielded(_end_old(operations, vm, domain.domid))

    await operations.perform(dbg, vm_id, work)


async def _to_new_domain(
    operations: Operations,
    vm: Vm,
    effects: VmEffects,
    undo: Undo,
    task: Task,
    old: int,
    md: VmMetadata | None,
) -> None:
    before, backend = vm.md, operations.around.backend
    arrive = then_unpause(plan.arrive(md or before), paused=False)
    task.progress.expect(arrive)
    await effects.stop_to_suspend(old)
    undo.push("go on", lambda: backend.resume_fast(old))
    saved = await backend.save(old, "")
    vm.extra.suspend_memory_bytes = saved.memory_bytes
    vm.extra.image = dict(saved.inline)
    for device in list(backend.stat(old).vbds):
        undo.push("disk back", _plug_back(operations, vm, effects, task, device))
        await effects.let_go(old, device)
    if md is not None:
        undo.push("metadata back", lambda: setattr(vm, "md", before))
        vm.md = md
    await operations.run_undoable(arrive, effects, undo, task)


def _plug_back(operations: Operations, vm: Vm, effects: VmEffects, task: Task, device: str) -> Step:
    step = plan.plug_vbd(vm.md.vbd(device))
    return lambda: operations.run(step, effects, task)


async def _end_old(operations: Operations, vm: Vm, domid: int) -> None:
    backend = operations.around.backend
    effects = VmEffects(operations.around, vm, by_itself(vm.id))
    for device in list(backend.stat(domid).vbds):
        await effects.let_go(domid, device)
    await backend.destroy_device_model(domid)
    await backend.destroy(domid)


async def take_back(operations: Operations, vm: Vm, task: Task) -> None:
    """Let a guest go on in its old domain after a move was cut short by our own end."""
    backend = operations.around.backend
    domain = backend.find(vm.id)
    if domain is None or domain.shutdown is not ShutdownReason.SUSPEND:
        return
    effects = VmEffects(operations.around, vm, by_itself(vm.id))
    plugged = backend.stat(domain.domid).vbds
    for vbd in vm.md.vbds:
        if vbd.device not in plugged and plan.has_drive_slot(vm.md, vbd):
            try:
                await operations.plain(plan.plug_vbd(vbd), effects, task)
            except RpcError as problem:
                log.error("%s of %s is not plugged back: %s", vbd.device, vm.id, problem)
    await backend.resume_fast(domain.domid)


async def end_leftovers(operations: Operations, vm: Vm) -> None:
    """End domains of a VM that are not its newest one; only a move leaves such."""
    backend = operations.around.backend
    newest = backend.find(vm.id)
    for domain in list(backend.domains()):
        if domain.vm == vm.id and newest is not None and domain.domid != newest.domid:
            await _end_old(operations, vm, domain.domid)

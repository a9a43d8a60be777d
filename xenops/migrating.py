"""Moving a running VM to another host: the source's half and the target's.

The target is asked first (``receive``) and says where it listens; then the
source (``send``).  Until the target has all of the memory, any failure leaves
the guest on the source.  Then the source gives up the disks and hands over,
and the target takes them and lets the guest run.  A link that is lost in
between is made again to ask how it ended; when nobody answers the guest stays
stopped on the source until somebody decides: ``VM.resume_fast`` or
``VM.shutdown`` there.
"""

import logging
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.undo import Undo
from xenops import errors, memory, moving, plan
from xenops.backends.contract import ShutdownReason
from xenops.effects import VmEffects
from xenops.operations import Operations, by_itself
from xenops.tasks import Task
from xenops.vms import Vm, read_extra, write_extra
from xenops.waiting import shielded

log = logging.getLogger(__name__)


class _Sending:
    """The source's steps."""

    def __init__(self, operations: Operations, vm: Vm, effects: VmEffects, domid: int) -> None:
        self._operations = operations
        self._vm = vm
        self._effects = effects
        self._domid = domid
        self.let_go_of: list[str] = []

    async def suspend(self) -> None:
        await self._effects.stop_to_suspend(self._domid)

    async def let_go(self) -> None:
        # From here on only the target's word tells where the guest is, also for our next life.
        self._vm.extra.handed_over = True
        self._operations.vms.save(self._vm)
        self._operations.around.backend.flush()
        for device in list(self._operations.around.backend.stat(self._domid).vbds):
            self.let_go_of.append(device)
            await self._effects.let_go(self._domid, device)

    def progress(self, fraction: float) -> None:
        """The rounds of a live migration are of unknown number: nothing to report."""


async def send(operations: Operations, dbg: str, vm_id: str, address: str, token: str) -> None:
    """Move a VM from Running here to Running at an address; it is Halted here then.

    Errors: Bad_power_state; Migration_failed, after which it runs here;
    Migration_undecided.
    """

    async def work(vm: Vm, task: Task) -> None:
        backend = operations.around.backend
        domain = backend.find(vm.id)
        if domain is None or domain.paused:
            raise errors.bad_power_state(operations.power_state(vm), "Running")
        effects = VmEffects(operations.around, vm, dbg)
        steps = _Sending(operations, vm, effects, domain.domid)
        hello = {
            "token": token,
            "vm": vm.id,
            "memory_bytes": backend.stat(domain.domid).memory_limit,
            "extra": write_extra(vm.extra),
        }
        result = await shielded(backend.send(domain.domid, address, hello, steps))
        match result.outcome:
            case "there":
                await shielded(_end(operations, vm, effects, task))
            case "here":
                await shielded(_go_on(operations, vm, effects, task, steps.let_go_of))
                raise errors.migration_failed(vm.id, result.text)
            case _:
                raise errors.migration_undecided(vm.id, result.text)

    await operations.perform(dbg, vm_id, work)


async def _end(operations: Operations, vm: Vm, effects: VmEffects, task: Task) -> None:
    _, end = plan.suspend(vm.md)
    await operations.run(end, effects, task)
    vm.extra.handed_over = False


async def _go_on(
    operations: Operations, vm: Vm, effects: VmEffects, task: Task, devices: list[str]
) -> None:
    """Give a guest its disks back and let it go on where it was."""
    backend = operations.around.backend
    for device in devices:
        try:
            await operations.plain(plan.plug_vbd(vm.md.vbd(device)), effects, task)
        except RpcError as problem:
            log.error("%s of %s is not plugged back: %s", device, vm.id, problem)
    domain = backend.find(vm.id)
    if domain is not None and domain.shutdown is ShutdownReason.SUSPEND:
        await backend.resume_fast(domain.domid)
    vm.extra.handed_over = False


async def go_on(operations: Operations, dbg: str, vm_id: str) -> None:
    """Let a guest go on that stopped to be suspended or moved, with its disks.

    After an undecided migration this is the word that it does not run elsewhere.
    """

    async def work(vm: Vm, task: Task) -> None:
        if operations.around.backend.find(vm.id) is None:
            raise errors.bad_power_state(operations.power_state(vm), "Running, Paused")
        await moving.take_back(operations, vm, task)
        vm.extra.handed_over = False

    await operations.perform(dbg, vm_id, work)


class _Receiving:
    """The target's steps; ``undo`` ends what was made."""

    def __init__(self, operations: Operations, vm: Vm, effects: VmEffects, task: Task) -> None:
        self._operations = operations
        self._vm = vm
        self._effects = effects
        self._task = task
        self.undo = Undo()

    async def create(self, hello: Mapping[str, Any]) -> int:
        extra = read_extra(str(hello["extra"]))
        overhead = memory.overhead_bytes(self._vm.md.vm)
        extra.suspend_memory_bytes = max(1, int(hello["memory_bytes"]) - overhead)
        extra.handed_over = False
        self._vm.extra = extra
        await self._operations.run_undoable(plan.make_empty(), self._effects, self.undo, self._task)
        return self._operations.domid(self._vm)

    async def run(self) -> None:
        try:
            whole = plan.settle(self._vm.md)
            await self._operations.run_undoable(whole, self._effects, self.undo, self._task)
        except Exception:
            await shielded(self.undo.run())
            raise


async def receive(operations: Operations, dbg: str, vm_id: str, token: str) -> str:
    """Wait for a VM from another host, and give the address it is to be sent to.

    The VM's turn is taken until it has come or not; its metadata is that of
    this host.  Errors: Bad_power_state, Unimplemented.
    """
    address: Deferred[str] = Deferred()

    async def work(vm: Vm, task: Task) -> None:
        if operations.around.backend.find(vm.id) is not None:
            raise errors.bad_power_state(operations.power_state(vm), "Halted")
        effects = VmEffects(operations.around, vm, dbg)
        steps = _Receiving(operations, vm, effects, task)

        def listening(path: str) -> None:
            address.callback(f"unix:{path}")

        try:
            result = await operations.around.backend.receive(vm.md.vm, token, steps, listening)
            if result.outcome != "there":
                raise errors.migration_failed(vm.id, result.text)
        except Exception:
            await shielded(steps.undo.run())
            raise
        finally:
            vm.extra.suspend_memory_bytes, vm.extra.image = 0, {}

    def ended(outcome: object) -> None:
        if not address.called:
            error = errors.migration_failed(vm_id, "nobody listens")
            address.errback(outcome if isinstance(outcome, Failure) else Failure(error))
        elif isinstance(outcome, Failure):
            log.error("%s has not come: %s", vm_id, outcome.value)

    Deferred.fromCoroutine(operations.perform(by_itself(vm_id), vm_id, work)).addBoth(ended)
    return await address

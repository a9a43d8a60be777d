"""What domains do by themselves, and what a killed daemon left half done."""

import logging
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.rpc.updates import UpdateFeed
from xenops import moving, plan
from xenops.backends.contract import Change, ShutdownReason
from xenops.effects import Surroundings, VmEffects
from xenops.operations import Operations, by_itself, then_unpause
from xenops.plan import Atom, AtomKind
from xenops.reactions import react
from xenops.tasks import Task
from xenops.vms import Vm
from xenops.waiting import shielded

log = logging.getLogger(__name__)


class Watch:
    """React to guests that stop, and put right what an earlier life left."""

    def __init__(self, operations: Operations, around: Surroundings, feed: UpdateFeed) -> None:
        self._operations = operations
        self._vms = operations.vms
        self._around = around
        self._backend = around.backend
        self._feed = feed
        self._looking: set[str] = set()

    def changed(self, change: Change) -> None:
        """Take note of what a domain did by itself."""
        if change.kind != "vm":
            self._feed.add(change.kind, change.vm, change.device)
            return
        vm = self._vms.find(change.vm)
        if vm is None:
            return
        self._feed.add("vm", change.vm)
        domain = self._backend.find(change.vm)
        if domain is not None and domain.shutdown is not None:
            self._look_at(vm)

    def _look_at(self, vm: Vm) -> None:
        """Queue a look at a domain that has stopped."""
        if vm.id not in self._looking:
            self._looking.add(vm.id)
            self._by_itself(self._stopped(vm.id), f"{vm.id} stopped")

    async def _stopped(self, vm_id: str) -> None:
        async def work(vm: Vm, task: Task) -> None:
            self._looking.discard(vm_id)
            domain = self._backend.find(vm_id)
            if vm.extra.handed_over:
                log.warning("%s stays as it is: it may run on another host", vm_id)
            elif domain is not None and domain.shutdown is not None:
                await self._react(vm, domain.shutdown, task)

        try:
            await self._operations.perform(by_itself(vm_id), vm_id, work)
        finally:
            self._looking.discard(vm_id)

    async def _react(self, vm: Vm, reason: ShutdownReason, task: Task) -> None:
        uptime_s = self._around.clock.seconds() - vm.extra.last_start_time
        reaction = react(vm.md.vm, reason, uptime_s)
        log.info("%s stopped by itself (%s): %s", vm.id, reason, reaction)
        effects = VmEffects(self._around, vm, by_itself(vm.id))
        for action in reaction.actions:
            match action:
                case "Shutdown":
                    _, end = plan.shutdown(vm.md, clean=False)
                    await shielded(self._operations.run(end, effects, task))
                    self._operations.note_end(vm, reason, "guest")
                case "Start":
                    delay_s = reaction.delay_s
                    await self._operations.remake(vm, effects, task, clean=False, delay_s=delay_s)
                case "Softreboot":
                    await self._operations.remake(vm, effects, task, clean=False, delay_s=0.0)
                case "Pause":
                    await self._operations.plain(Atom(AtomKind.PAUSE), effects, task)
                case "Coredump":
                    log.info("%s: no core dump is taken", vm.id)

    def recover(self) -> None:
        """Put right what the last life of this daemon left half done.

        Queues: domains not yet survivable are destroyed, interrupted reboots
        and suspends completed, and stopped guests reacted to.  Domains of VMs
        unknown here are left alone.
        """
        for vm in self._vms:
            domain = self._backend.find(vm.id)
            if domain is None:
                if vm.extra.rebooting:
                    self._by_itself(self._finish_reboot(vm.id), f"reboot of {vm.id}")
            elif not domain.survivable:
                self._by_itself(self._discard(vm.id), f"half-made domain of {vm.id}")
            elif vm.extra.handed_over:
                log.warning("%s stays as it is: it may run on another host", vm.id)
            elif domain.shutdown is ShutdownReason.SUSPEND:
                self._by_itself(self._finish_suspend(vm.id), f"suspend of {vm.id}")
            elif domain.shutdown is not None:
                self._look_at(vm)
            if domain is not None and domain.survivable:
                leftovers = moving.end_leftovers(self._operations, vm)
                self._by_itself(leftovers, f"old domain of {vm.id}")

    async def _discard(self, vm_id: str) -> None:
        async def work(vm: Vm, task: Task) -> None:
            effects = VmEffects(self._around, vm, by_itself(vm.id))
            await self._operations.plain(plan.discard(vm.md), effects, task)
            await moving.take_back(self._operations, vm, task)
            if vm.extra.rebooting:
                await self._begin_again(vm, effects, task)

        await self._operations.perform(by_itself(vm_id), vm_id, work)

    async def _finish_reboot(self, vm_id: str) -> None:
        async def work(vm: Vm, task: Task) -> None:
            await self._begin_again(vm, VmEffects(self._around, vm, by_itself(vm.id)), task)

        await self._operations.perform(by_itself(vm_id), vm_id, work)

    async def _begin_again(self, vm: Vm, effects: VmEffects, task: Task) -> None:
        vm.shown_state = "Running"
        try:
            await self._operations.with_undo(then_unpause(plan.start(vm.md), False), effects, task)
            vm.extra.last_start_time = self._around.clock.seconds()
        finally:
            vm.extra.rebooting = False

    async def _finish_suspend(self, vm_id: str) -> None:
        async def work(vm: Vm, task: Task) -> None:
            if vm.extra.suspend_memory_bytes:
                _, end = plan.suspend(vm.md)
                await self._operations.plain(
                    end, VmEffects(self._around, vm, by_itself(vm.id)), task
                )
            else:
                await moving.take_back(self._operations, vm, task)

        await self._operations.perform(by_itself(vm_id), vm_id, work)

    def _by_itself(self, work: Coroutine[Any, Any, None], what: str) -> None:
        def failed(failure: Failure) -> None:
            if failure.check(RpcError):
                log.error("%s: %s", what, failure.value)
            else:
                log.error("%s\n%s", what, failure.getTraceback())

        Deferred.fromCoroutine(work).addErrback(failed)

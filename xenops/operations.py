"""VM operations: state checks, plans, undo, and what guests do by themselves."""

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.rpc.updates import UpdateFeed
from xapi_py.base.undo import Undo
from xenops import errors, plan
from xenops.backends.contract import Change, ShutdownReason
from xenops.effects import Surroundings, VmEffects
from xenops.executor import Executor
from xenops.metadata import Disk
from xenops.plan import Atom, AtomKind, Step
from xenops.queues import VmQueues
from xenops.reactions import react
from xenops.tasks import Task, TaskTable
from xenops.vms import Vm, VmTable
from xenops.waiting import shielded

log = logging.getLogger(__name__)

Work = Callable[[Vm, Task], Awaitable[object]]
BY_ITSELF = ""
"""The name of operations nobody asked for."""


class Operations:
    """Run operations, one at a time per VM.

    Every public coroutine gives the result of the operation once it is
    complete, saved, and in the update feed.
    """

    def __init__(
        self, vms: VmTable, around: Surroundings, executor: Executor, feed: UpdateFeed
    ) -> None:
        self.vms = vms
        self.around = around
        self.tasks = TaskTable(around.clock, feed)
        self._backend = around.backend
        self._executor = executor
        self._feed = feed
        self._queues = VmQueues()
        self._looking: set[str] = set()

    def power_state(self, vm: Vm) -> str:
        """Give Running, Paused, Suspended or Halted, as others are to see it."""
        return vm.shown_state or self._actual_state(vm)

    def _actual_state(self, vm: Vm) -> str:
        domain = self._backend.find(vm.id)
        if domain is not None:
            return "Paused" if domain.paused else "Running"
        return "Suspended" if vm.extra.suspend_memory_bytes else "Halted"

    async def perform(self, dbg: str, vm_id: str, work: Work) -> object:
        """Take the VM's turn and do ``work``; save and announce the VM after it."""
        self.vms.get(vm_id)
        task = self.tasks.begin(dbg)
        try:
            running = Deferred.fromCoroutine(self._in_turn(vm_id, work, task))
            if running.called:
                return await running
            task.running = running
            return await running
        finally:
            self.tasks.end(dbg, task)

    async def _in_turn(self, vm_id: str, work: Work, task: Task) -> object:
        async with self._queues.turn(vm_id):
            vm = self.vms.get(vm_id)
            vm.shown_state = self._actual_state(vm)
            try:
                return await work(vm, task)
            finally:
                vm.shown_state = None
                if self.vms.find(vm_id) is vm:
                    self.vms.save(vm)
                self._backend.flush()
                self._feed.add("vm", vm_id)

    async def start(self, dbg: str, vm_id: str, *, paused: bool) -> None:
        """From Halted to Running, or Paused."""

        async def work(vm: Vm, task: Task) -> None:
            self._expect(vm, "Halted")
            vm.extra.last_shutdown = {}
            whole = _then(plan.start(vm.md), paused)
            await self._with_undo(whole, VmEffects(self.around, vm, dbg), task)
            vm.extra.last_start_time = self.around.clock.seconds()

        await self.perform(dbg, vm_id, work)

    async def resume(self, dbg: str, vm_id: str, disk: Disk, *, paused: bool) -> None:
        """From Suspended to Running, or Paused."""

        async def work(vm: Vm, task: Task) -> None:
            self._expect(vm, "Suspended")
            whole = _then(plan.resume(vm.md), paused)
            await self._with_undo(whole, VmEffects(self.around, vm, dbg, disk=disk), task)
            vm.extra.suspend_memory_bytes, vm.extra.image = 0, {}

        await self.perform(dbg, vm_id, work)

    async def pause(self, dbg: str, vm_id: str) -> None:
        """From Running to Paused; Paused already is no error."""
        await self._single(dbg, vm_id, Atom(AtomKind.PAUSE))

    async def unpause(self, dbg: str, vm_id: str) -> None:
        """From Paused to Running; Running already is no error."""
        await self._single(dbg, vm_id, Atom(AtomKind.UNPAUSE))

    async def _single(self, dbg: str, vm_id: str, atom: Atom) -> None:
        async def work(vm: Vm, task: Task) -> None:
            self._expect(vm, "Running", "Paused")
            await self._plain(atom, VmEffects(self.around, vm, dbg), task)

        await self.perform(dbg, vm_id, work)

    async def shutdown(self, dbg: str, vm_id: str, *, timeout_s: float, clean: bool) -> None:
        """To Halted, asking the guest when ``clean``; a suspended VM loses its memory."""

        async def work(vm: Vm, task: Task) -> None:
            if self._backend.find(vm.id) is None:
                vm.extra.suspend_memory_bytes, vm.extra.image = 0, {}
                return
            if clean:
                self._expect(vm, "Running")
            effects = VmEffects(self.around, vm, dbg, timeout_s=timeout_s)
            ask, end = plan.shutdown(vm.md, clean=clean)
            task.progress.expect(ask, end)
            await self._run(ask, effects, task)
            await shielded(self._run(end, effects, task))
            self._note_end(vm, ShutdownReason.POWEROFF, "toolstack")

        await self.perform(dbg, vm_id, work)

    async def reboot(self, dbg: str, vm_id: str, *, timeout_s: float, clean: bool) -> None:
        """To a new domain with the metadata of now, asking the guest when ``clean``."""

        async def work(vm: Vm, task: Task) -> None:
            self._expect(vm, *(("Running",) if clean else ("Running", "Paused")))
            effects = VmEffects(self.around, vm, dbg, timeout_s=timeout_s)
            await self._reboot(vm, effects, task, clean=clean, delay_s=0.0)

        await self.perform(dbg, vm_id, work)

    async def _reboot(
        self, vm: Vm, effects: VmEffects, task: Task, *, clean: bool, delay_s: float
    ) -> None:
        ask, end, begin = plan.reboot(vm.md, clean=clean, delay_s=delay_s)
        task.progress.expect(ask, end)
        await self._run(ask, effects, task)
        vm.extra.rebooting = True
        self.vms.save(vm)
        try:
            await shielded(self._run(end, effects, task))
            await self._with_undo(begin, effects, task)
            vm.extra.last_start_time = self.around.clock.seconds()
        finally:
            vm.extra.rebooting = False

    async def suspend(self, dbg: str, vm_id: str, disk: Disk) -> None:
        """From Running to Suspended, the memory in an image; cannot be cancelled."""

        async def work(vm: Vm, task: Task) -> None:
            self._expect(vm, "Running")
            effects = VmEffects(self.around, vm, dbg, disk=disk)
            save, end = plan.suspend(vm.md)
            task.progress.expect(end)
            await shielded(self._with_undo(save, effects, task))
            self.vms.save(vm)
            await shielded(self._run(end, effects, task))

        await self.perform(dbg, vm_id, work)

    async def resume_fast(self, dbg: str, vm_id: str) -> None:
        """Let a domain that stopped to suspend go on without an image."""

        async def work(vm: Vm, task: Task) -> None:
            self._expect(vm, "Running", "Paused")
            await self._backend.resume_fast(self._domid(vm))

        await self.perform(dbg, vm_id, work)

    async def device(self, dbg: str, vm_id: str, step: Step) -> None:
        """Plug or unplug a device of a running or paused VM."""

        async def work(vm: Vm, task: Task) -> None:
            self._expect(vm, "Running", "Paused")
            await self._with_undo(step, VmEffects(self.around, vm, dbg), task)

        await self.perform(dbg, vm_id, work)

    async def live(
        self, dbg: str, vm_id: str, effect: Callable[[Vm, int], Awaitable[object]]
    ) -> None:
        """Apply one effect of the backend to the VM's domain."""

        async def work(vm: Vm, task: Task) -> None:
            self._expect(vm, "Running", "Paused")
            await effect(vm, self._domid(vm))

        await self.perform(dbg, vm_id, work)

    async def insert(self, dbg: str, vm_id: str, device: str, disk: Disk) -> None:
        """Put a medium into an empty drive of a running VM."""

        async def effect(vm: Vm, domid: int) -> None:
            storage, dp = self.around.storage, f"vbd/{domid}/{device}"
            vbd = vm.md.vbd(device)
            async with Undo() as undo:
                path = await storage.attach(dbg, dp, disk, writable=False)
                undo.push("detach medium", lambda: storage.detach(dbg, dp, disk))
                await self._backend.vbd_insert(domid, device, disk, path)
            vm.md = vm.md.with_vbd(dataclasses.replace(vbd, backend=disk))

        await self.live(dbg, vm_id, effect)

    async def eject(self, dbg: str, vm_id: str, device: str) -> None:
        """Empty a drive of a running VM."""

        async def effect(vm: Vm, domid: int) -> None:
            vbd = vm.md.vbd(device)
            disk = await self._backend.vbd_eject(domid, device)
            vm.md = vm.md.with_vbd(dataclasses.replace(vbd, backend=None))
            await self.around.storage.detach(dbg, f"vbd/{domid}/{device}", disk)

        await self.live(dbg, vm_id, effect)

    async def delay(self, dbg: str, vm_id: str, seconds: float) -> None:
        """Hold the VM's turn for a while."""

        async def work(vm: Vm, task: Task) -> None:
            atom = Atom(AtomKind.DELAY, option=str(seconds))
            await self._plain(atom, VmEffects(self.around, vm, dbg), task)

        await self.perform(dbg, vm_id, work)

    async def remove(self, dbg: str, vm_id: str) -> None:
        """Forget a VM that has no domain."""

        async def work(vm: Vm, task: Task) -> None:
            self._expect(vm, "Halted", "Suspended")
            self.vms.remove(vm_id)

        await self.perform(dbg, vm_id, work)

    async def _run(self, step: Step, effects: VmEffects, task: Task) -> None:
        """Run a plan that is not taken back when it fails."""
        await self._executor.run(step, effects, Undo(), task.progress)

    async def _plain(self, step: Step, effects: VmEffects, task: Task) -> None:
        task.progress.expect(step)
        await self._run(step, effects, task)

    async def _with_undo(self, step: Step, effects: VmEffects, task: Task) -> None:
        """Run a plan; take all of it back when it fails or is cancelled."""
        task.progress.expect(step)
        undo = Undo()
        try:
            await self._executor.run(step, effects, undo, task.progress)
        except Exception:
            await shielded(undo.run())
            raise

    def _expect(self, vm: Vm, *states: str) -> None:
        found = self._actual_state(vm)
        if found not in states:
            raise errors.bad_power_state(found, ", ".join(states))

    def _domid(self, vm: Vm) -> int:
        domain = self._backend.find(vm.id)
        if domain is None:
            raise errors.does_not_exist("domain", vm.id)
        return domain.domid

    def _note_end(self, vm: Vm, reason: ShutdownReason, initiator: str) -> None:
        vm.extra.suspend_memory_bytes, vm.extra.image = 0, {}
        vm.extra.last_shutdown = {
            "reason": reason.value,
            "initiator": initiator,
            "at": self.around.clock.seconds(),
        }

    def changed(self, change: Change) -> None:
        """Take note of what a domain did by itself."""
        if change.kind != "vm":
            self._feed.add(change.kind, change.vm, change.device)
            return
        vm = self.vms.find(change.vm)
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
            if domain is not None and domain.shutdown is not None:
                await self._react(vm, domain.shutdown, task)

        try:
            await self.perform(BY_ITSELF, vm_id, work)
        finally:
            self._looking.discard(vm_id)

    async def _react(self, vm: Vm, reason: ShutdownReason, task: Task) -> None:
        uptime_s = self.around.clock.seconds() - vm.extra.last_start_time
        reaction = react(vm.md.vm, reason, uptime_s)
        log.info("%s stopped by itself (%s): %s", vm.id, reason, reaction)
        effects = VmEffects(self.around, vm, BY_ITSELF)
        for action in reaction.actions:
            match action:
                case "Shutdown":
                    _, end = plan.shutdown(vm.md, clean=False)
                    await shielded(self._run(end, effects, task))
                    self._note_end(vm, reason, "guest")
                case "Start":
                    delay_s = reaction.delay_s
                    await self._reboot(vm, effects, task, clean=False, delay_s=delay_s)
                case "Softreboot":
                    await self._reboot(vm, effects, task, clean=False, delay_s=0.0)
                case "Pause":
                    await self._plain(Atom(AtomKind.PAUSE), effects, task)
                case "Coredump":
                    log.info("%s: no core dump is taken", vm.id)

    def recover(self) -> None:
        """Put right what the last life of this daemon left half done.

        Queues: domains not yet survivable are destroyed, interrupted reboots
        and suspends completed, and stopped guests reacted to.  Domains of VMs
        unknown here are left alone.
        """
        for vm in self.vms:
            domain = self._backend.find(vm.id)
            if domain is None:
                if vm.extra.rebooting:
                    self._by_itself(self._finish_reboot(vm.id), f"reboot of {vm.id}")
            elif not domain.survivable:
                self._by_itself(self._discard(vm.id), f"half-made domain of {vm.id}")
            elif domain.shutdown is ShutdownReason.SUSPEND:
                self._by_itself(self._finish_suspend(vm.id), f"suspend of {vm.id}")
            elif domain.shutdown is not None:
                self._look_at(vm)

    async def _discard(self, vm_id: str) -> None:
        async def work(vm: Vm, task: Task) -> None:
            effects = VmEffects(self.around, vm, BY_ITSELF)
            await self._plain(plan.discard(vm.md), effects, task)
            if vm.extra.rebooting:
                await self._begin_again(vm, effects, task)

        await self.perform(BY_ITSELF, vm_id, work)

    async def _finish_reboot(self, vm_id: str) -> None:
        async def work(vm: Vm, task: Task) -> None:
            await self._begin_again(vm, VmEffects(self.around, vm, BY_ITSELF), task)

        await self.perform(BY_ITSELF, vm_id, work)

    async def _begin_again(self, vm: Vm, effects: VmEffects, task: Task) -> None:
        vm.shown_state = "Running"
        try:
            await self._with_undo(_then(plan.start(vm.md), False), effects, task)
            vm.extra.last_start_time = self.around.clock.seconds()
        finally:
            vm.extra.rebooting = False

    async def _finish_suspend(self, vm_id: str) -> None:
        async def work(vm: Vm, task: Task) -> None:
            if vm.extra.suspend_memory_bytes:
                _, end = plan.suspend(vm.md)
                await self._plain(end, VmEffects(self.around, vm, BY_ITSELF), task)
            else:
                await self._backend.resume_fast(self._domid(vm))

        await self.perform(BY_ITSELF, vm_id, work)

    def _by_itself(self, work: Coroutine[Any, Any, None], what: str) -> None:
        def failed(failure: Failure) -> None:
            if failure.check(RpcError):
                log.error("%s: %s", what, failure.value)
            else:
                log.error("%s\n%s", what, failure.getTraceback())

        Deferred.fromCoroutine(work).addErrback(failed)


def _then(whole: plan.Serial, paused: bool) -> plan.Serial:
    """Let the guest run at the end of a start, unless it is to stay paused."""
    if paused:
        return whole
    return plan.Serial(whole.name, (*whole.steps, Atom(AtomKind.UNPAUSE)))

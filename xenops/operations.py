"""VM operations: state checks, plans, undo, and what guests do by themselves."""

import dataclasses
import logging
from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred

from xapi_py.base.rpc.updates import UpdateFeed
from xapi_py.base.undo import Undo
from xenops import errors, plan
from xenops.backends.contract import ShutdownReason
from xenops.effects import Surroundings, VmEffects
from xenops.executor import Executor
from xenops.metadata import Disk
from xenops.plan import Atom, AtomKind, Step
from xenops.queues import VmQueues
from xenops.tasks import Task, TaskTable
from xenops.vms import Vm, VmTable
from xenops.waiting import shielded

log = logging.getLogger(__name__)

Work = Callable[[Vm, Task], Awaitable[object]]


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
            whole = then_unpause(plan.start(vm.md), paused)
            await self.with_undo(whole, VmEffects(self.around, vm, dbg), task)
            vm.extra.last_start_time = self.around.clock.seconds()

        await self.perform(dbg, vm_id, work)

    async def resume(self, dbg: str, vm_id: str, disk: Disk, *, paused: bool) -> None:
        """From Suspended to Running, or Paused."""

        async def work(vm: Vm, task: Task) -> None:
            self._expect(vm, "Suspended")
            whole = then_unpause(plan.resume(vm.md), paused)
            await self.with_undo(whole, VmEffects(self.around, vm, dbg, disk=disk), task)
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
            await self.plain(atom, VmEffects(self.around, vm, dbg), task)

        await self.perform(dbg, vm_id, work)

    async def shutdown(self, dbg: str, vm_id: str, *, timeout_s: float, clean: bool) -> None:
        """To Halted, asking the guest when ``clean``; a suspended VM loses its memory.

        Without ``clean`` a reaction to the guest, such as a delayed reboot, is
        cancelled.
        """

        async def work(vm: Vm, task: Task) -> None:
            if self._backend.find(vm.id) is None:
                vm.extra.suspend_memory_bytes, vm.extra.image = 0, {}
                return
            if clean:
                self._expect(vm, "Running")
            effects = VmEffects(self.around, vm, dbg, timeout_s=timeout_s)
            ask, end = plan.shutdown(vm.md, clean=clean)
            task.progress.expect(ask, end)
            await self.run(ask, effects, task)
            await shielded(self.run(end, effects, task))
            self.note_end(vm, ShutdownReason.POWEROFF, "toolstack")

        if not clean:
            self.tasks.cancel(by_itself(vm_id))
        await self.perform(dbg, vm_id, work)

    async def reboot(self, dbg: str, vm_id: str, *, timeout_s: float, clean: bool) -> None:
        """To a new domain with the metadata of now, asking the guest when ``clean``."""

        async def work(vm: Vm, task: Task) -> None:
            self._expect(vm, *(("Running",) if clean else ("Running", "Paused")))
            effects = VmEffects(self.around, vm, dbg, timeout_s=timeout_s)
            await self.remake(vm, effects, task, clean=clean, delay_s=0.0)

        await self.perform(dbg, vm_id, work)

    async def remake(
        self, vm: Vm, effects: VmEffects, task: Task, *, clean: bool, delay_s: float
    ) -> None:
        """End the domain and make a new one; the VM stays Running for others."""
        ask, end, begin = plan.reboot(vm.md, clean=clean, delay_s=delay_s)
        task.progress.expect(ask, end)
        await self.run(ask, effects, task)
        vm.extra.rebooting = True
        self.vms.save(vm)
        try:
            await shielded(self.run(end, effects, task))
            await self.with_undo(begin, effects, task)
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
            await shielded(self.with_undo(save, effects, task))
            self.vms.save(vm)
            await shielded(self.run(end, effects, task))

        await self.perform(dbg, vm_id, work)

    async def device(self, dbg: str, vm_id: str, step: Step) -> None:
        """Plug or unplug a device of a running or paused VM."""

        async def work(vm: Vm, task: Task) -> None:
            self._expect(vm, "Running", "Paused")
            await self.with_undo(step, VmEffects(self.around, vm, dbg), task)

        await self.perform(dbg, vm_id, work)

    async def live(
        self, dbg: str, vm_id: str, effect: Callable[[Vm, int], Awaitable[object]]
    ) -> None:
        """Apply one effect of the backend to the VM's domain."""

        async def work(vm: Vm, task: Task) -> None:
            self._expect(vm, "Running", "Paused")
            await effect(vm, self.domid(vm))

        await self.perform(dbg, vm_id, work)

    async def insert(self, dbg: str, vm_id: str, device: str, disk: Disk) -> None:
        """Put a medium into an empty drive of a running VM."""

        async def effect(vm: Vm, domid: int) -> None:
            storage, dp = self.around.storage, f"vbd/{domid}/{device}"
            vbd = vm.md.vbd(device)
            async with Undo() as undo:
                path = await storage.attach(dbg, dp, vm_id, disk, writable=False)
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
            await self.plain(atom, VmEffects(self.around, vm, dbg), task)

        await self.perform(dbg, vm_id, work)

    async def remove(self, dbg: str, vm_id: str) -> None:
        """Forget a VM that has no domain."""

        async def work(vm: Vm, task: Task) -> None:
            self._expect(vm, "Halted", "Suspended")
            self.vms.remove(vm_id)

        await self.perform(dbg, vm_id, work)

    async def run(self, step: Step, effects: VmEffects, task: Task) -> None:
        """Run a plan that is not taken back when it fails."""
        await self._executor.run(step, effects, Undo(), task.progress)

    async def run_undoable(self, step: Step, effects: VmEffects, undo: Undo, task: Task) -> None:
        """Run a plan that the caller takes back by ``undo`` when it fails."""
        await self._executor.run(step, effects, undo, task.progress)

    async def plain(self, step: Step, effects: VmEffects, task: Task) -> None:
        """Run a plan with its progress; nothing is taken back when it fails."""
        task.progress.expect(step)
        await self.run(step, effects, task)

    async def with_undo(self, step: Step, effects: VmEffects, task: Task) -> None:
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

    def domid(self, vm: Vm) -> int:
        """Errors: Does_not_exist."""
        domain = self._backend.find(vm.id)
        if domain is None:
            raise errors.does_not_exist("domain", vm.id)
        return domain.domid

    def note_end(self, vm: Vm, reason: ShutdownReason, initiator: str) -> None:
        """Remember why a VM halted, and by whom: "guest" or "toolstack"."""
        vm.extra.suspend_memory_bytes, vm.extra.image = 0, {}
        vm.extra.handed_over = False
        vm.extra.last_shutdown = {
            "reason": reason.value,
            "initiator": initiator,
            "at": self.around.clock.seconds(),
        }


def by_itself(vm_id: str) -> str:
    """Name the operations that nobody asked for: reactions to a guest."""
    return f"guest/{vm_id}"


def then_unpause(whole: plan.Serial, paused: bool) -> plan.Serial:
    """Let the guest run at the end of a start, unless it is to stay paused."""
    if paused:
        return whole
    return plan.Serial(whole.name, (*whole.steps, Atom(AtomKind.UNPAUSE)))

"""The desired state of the host's network: kept in a file, brought about by steps."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock

from xapi_py.base.reactor import Clock
from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.rpc.updates import UpdateFeed
from xapi_py.base.undo import Undo
from xcp_networkd import codec, errors, plan, state_file
from xcp_networkd.contract import Backend, InterfaceConfig, NetworkState, SetRoles, Step

log = logging.getLogger(__name__)

MANAGEMENT_TIMEOUT_S: Final = 45.0
"""How long a change may keep the host from its gateway: a DHCP lease, spanning tree, LACP."""
_POLL_S: Final = 0.25


class DesiredNetwork:
    """Change the desired state and make it so, one change at a time.

    While a change goes on a mark lies beside the file.  A daemon that finds it
    was killed, or lost power, half way: it goes back to what the file says.
    """

    def __init__(
        self,
        backend: Backend,
        file: Path,
        feed: UpdateFeed,
        reactor: Clock,
        management_timeout_s: float = MANAGEMENT_TIMEOUT_S,
        boot: str = "",
    ) -> None:
        """``boot`` names this start of the machine."""
        self._backend = backend
        self._file = file
        self._mark = file.with_suffix(".changing")
        self._feed = feed
        self._reactor = reactor
        self._management_timeout_s = management_timeout_s
        self._boot = boot
        self._lock = DeferredLock()
        self._held = False
        self.state = NetworkState()

    async def start(self, first: NetworkState, *, anew: bool = False) -> None:
        """Read the file, or take ``first`` when there is none, and restore what is persistent.

        What exists is left alone, unless a change was cut off: what that left behind
        goes.  ``anew`` takes ``first`` in any case, and what else this daemon made goes.
        What fails is logged.
        """
        kept: Mapping[str, Any] | None = None if anew else state_file.read(self._file)
        whole = first if kept is None else codec.state_from_wire(kept)
        self.state = plan.persistent_part(whole)
        found = await self._backend.observe()
        cut_off = state_file.read(self._mark)
        if anew:
            target = whole
        elif cut_off is None:
            target = plan.merged(found, self.state)
        else:
            log.warning("a change was cut off: going back to the state before it")
            target = whole if cut_off.get("boot") == self._boot else self.state
        present = await self._backend.present()
        for step in plan.steps(found, plan.with_vifs(found, target), present):
            try:
                await self._backend.execute(step)
            except RpcError as problem:
                log.warning("%s failed at the start: %s", step, problem)
        await self._backend.settle()
        self.state = plan.with_vifs(found, target)
        self._save()
        self._mark.unlink(missing_ok=True)

    async def between_changes(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something that no change may see half done."""
        await self._lock.acquire()
        try:
            await work()
        finally:
            self._lock.release()

    async def change(self, edit: Callable[[NetworkState], NetworkState]) -> None:
        """Bring about the state that ``edit`` makes of the present one.

        The state is durable when this returns.  When a step fails, when the system does not
        show the state afterwards, or when the gateway interface could reach its gateway before
        and cannot any more within the time limit, everything is put back as it was
        and the error is raised.
        """
        await self._lock.acquire()
        try:
            found = await self._backend.observe()
            desired = edit(plan.with_found_vifs(found, self.state))
            plan.check(desired)
            await self._reach(found, desired)
            if desired != self.state:
                self.state = desired
                self._save()
            self._mark.unlink(missing_ok=True)
        finally:
            self._lock.release()

    async def _reach(self, before: NetworkState, desired: NetworkState) -> None:
        present = await self._backend.present()
        planned = plan.steps(before, desired, present)
        if not planned:
            return
        state_file.write(self._mark, {"boot": self._boot}, durable=True)
        guarded = await self._was_reachable(before) and _management(desired)
        done: list[Step] = []
        try:
            async with Undo() as undo:
                undo.push("the network as it was", lambda: self._return_to(before, done))
                for steps in plan.batches(planned):
                    done += steps
                    await self._backend.execute_together(steps)
                await self._verify(desired, present)
                if guarded:
                    await self._wait_reachable(guarded)
        except BaseException:
            self._mark.unlink(missing_ok=True)
            raise
        finally:
            for step in done:
                self._announce(step)
        await self._backend.settle()

    async def _return_to(self, before: NetworkState, done: list[Step]) -> None:
        now = await self._backend.observe()
        for step in plan.steps(now, before, await self._backend.present()):
            done.append(step)
            try:
                await self._backend.execute(step)
            except RpcError as problem:
                log.warning("undoing with %s failed: %s", step, problem)
        await self._backend.settle()

    async def _verify(self, desired: NetworkState, present: set[str]) -> None:
        """Look again: an MTU the hardware refuses is told by the links, not an error."""
        now = plan.without_mtu(await self._backend.observe())
        missing = plan.steps(now, plan.without_mtu(desired), present)
        if missing:
            raise errors.script_error(f"this did not take effect: {missing[0]}")

    async def _was_reachable(self, before: NetworkState) -> bool:
        management = _management(before)
        return bool(management) and await self._backend.reachable(management)

    async def _wait_reachable(self, interface: str) -> None:
        end_s = self._reactor.seconds() + self._management_timeout_s
        while not await self._backend.reachable(interface):
            if self._reactor.seconds() >= end_s:
                raise errors.script_error(f"the network is out of reach through {interface}")
            pause: Deferred[None] = Deferred()
            self._reactor.callLater(_POLL_S, pause.callback, None)
            await pause

    def _announce(self, step: Step) -> None:
        if isinstance(step, SetRoles):
            names = {step.gateway_interface, step.dns_interface} - {""}
        elif hasattr(step, "bridge"):
            self._feed.add("bridge", step.bridge)
            names = {step.bridge, getattr(step, "port", step.bridge)}
        else:
            names = {step.interface}
        for name in sorted(names):
            self._feed.add("interface", name)

    def hold(self, held: bool) -> None:
        """While held the file stays as it is; letting go writes it."""
        self._held = held
        self._save()

    def forget(self) -> None:
        """Keep what exists, but none of it over a restart unless it is asked for again."""
        self.state = plan.transient(self.state)
        self._save()

    def _save(self) -> None:
        if not self._held:
            state_file.write(self._file, codec.state_to_wire(self.state), durable=True)


def _management(state: NetworkState) -> str:
    """The interface the host is reached through, if it has an address to be; else empty."""
    name = state.gateway_interface
    config = state.interfaces.get(name, InterfaceConfig())
    configured = replace(config, mtu=1500) != InterfaceConfig(persistent=config.persistent)
    return name if configured else ""

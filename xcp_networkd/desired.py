"""The desired state of the host's network: kept in a file, brought about by steps."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import DeferredLock

from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.rpc.updates import UpdateFeed
from xcp_networkd import codec, plan, state_file
from xcp_networkd.contract import Backend, NetworkState, Step

log = logging.getLogger(__name__)


class DesiredNetwork:
    """Change the desired state and make it so, one change at a time."""

    def __init__(self, backend: Backend, file: Path, feed: UpdateFeed) -> None:
        self._backend = backend
        self._file = file
        self._feed = feed
        self._lock = DeferredLock()
        self._held = False
        self.state = NetworkState()

    async def start(self, first: NetworkState) -> None:
        """Read the file, or take ``first`` when there is none, and restore what is persistent.

        What exists is left alone; what fails is logged.
        """
        kept: Mapping[str, Any] | None = state_file.read(self._file)
        self.state = first if kept is None else codec.state_from_wire(kept)
        self.state = plan.persistent_part(self.state)
        found = await self._backend.observe()
        union = NetworkState(
            {**found.bridges, **self.state.bridges},
            {**found.interfaces, **self.state.interfaces},
            self.state.gateway_interface,
            self.state.dns_interface,
        )
        target = plan.with_vifs(found, union)
        for step in plan.steps(found, target, await self._present()):
            try:
                await self._backend.execute(step)
            except RpcError as problem:
                log.warning("%s failed at the start: %s", step, problem)
        self.state = target
        self._save()

    async def change(self, edit: Callable[[NetworkState], NetworkState]) -> None:
        """Bring about the state that ``edit`` makes of the present one.

        The state is durable when this returns.  When a step fails the steps
        already done are undone as far as possible, the desired state stays
        what it was, and the step's error is raised.
        """
        await self._lock.acquire()
        try:
            desired = edit(self.state)
            plan.check(desired)
            before = await self._backend.observe()
            await self._reach(before, desired)
            self.state = desired
            self._save()
        finally:
            self._lock.release()

    async def _reach(self, before: NetworkState, desired: NetworkState) -> None:
        present = await self._present()
        done: list[Step] = []
        try:
            for step in plan.steps(before, desired, present):
                await self._backend.execute(step)
                done.append(step)
        except RpcError:
            now = await self._backend.observe()
            for step in plan.steps(now, before, present):
                try:
                    await self._backend.execute(step)
                except RpcError as problem:
                    log.warning("undoing with %s failed: %s", step, problem)
            raise
        finally:
            for step in done:
                self._announce(step)
        await self._backend.settle()

    def _announce(self, step: Step) -> None:
        if hasattr(step, "bridge"):
            self._feed.add("bridge", step.bridge)
            self._feed.add("interface", step.bridge)
        else:
            self._feed.add("interface", step.interface)
        port = getattr(step, "port", None)
        if port is not None:
            self._feed.add("interface", port)

    async def _present(self) -> set[str]:
        links = await self._backend.links()
        return {name for name, link in links.items() if link.kind == "nic"}

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

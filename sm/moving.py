"""Moving disks in use between SRs of this host: ``VDI.mirror`` and what ends it.

Design: doc/design/005-live-mirror.md.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

from twisted.internet.defer import Deferred

from sm import errors
from sm.attached_srs import AttachedSrs
from sm.contract import Mirrors, VdiSpec
from sm.datapath import DatapathStore, Move, State, superstate
from xapi_py.base.rpc.errors import RpcError
from xapi_py.base.undo import Undo

log = logging.getLogger(__name__)
T = TypeVar("T")

POLL_S: Final = 0.1
WAIT_S: Final = 60.0
"""A complete mirror that nobody switches to for so long is given up."""


class Works:
    """Long works that fill disks, by the disk's uuid: to wait for their end."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Deferred[None]]] = {}

    async def run(self, vdi: str, work: Awaitable[T]) -> T:
        """Do a work."""
        self._waiting[vdi] = []
        try:
            return await work
        finally:
            for waiter in self._waiting.pop(vdi):
                waiter.callback(None)

    async def ended(self, vdi: str) -> None:
        """Wait until no work fills a disk."""
        while vdi in self._waiting:
            waiter: Deferred[None] = Deferred()
            self._waiting[vdi].append(waiter)
            await waiter


@dataclass(slots=True)
class Moves:
    """The moves of this host; at most one for each disk."""

    srs: AttachedSrs
    store: DatapathStore
    sleep: Callable[[float], Awaitable[None]]
    _progress: dict[str, float] = field(default_factory=dict)
    _switching: set[Move] = field(default_factory=set)

    def _sr(self, sr: str) -> Mirrors:
        """Errors: SR_OPERATION_NOT_SUPPORTED for an SR whose disks do not move while in use."""
        found = self.srs.get(sr)
        if not isinstance(found, Mirrors):
            raise errors.unsupported(sr)
        return found

    def progress(self, vdi: str) -> float:
        """How much of a disk that moves here is there, 0..1."""
        return self._progress.get(vdi, 0.0)

    def _move(self, sr: str, vdi: str) -> Move | None:
        return next((m for m in self.store.moves() if (m.sr, m.vdi) == (sr, vdi)), None)

    async def mirror(self, sr: str, vdi: str, dest_sr: str, spec: VdiSpec) -> None:
        """Make a partial disk and mirror an active one into it, until both are the same.

        Then ``switch`` or ``cancel``.  Errors: SR_OPERATION_NOT_SUPPORTED,
        VDI_IN_USE, 46 for a disk that is not active, those of both SRs;
        then nothing is left.
        """
        source, target, made = self._sr(sr), self._sr(dest_sr), spec.uuid
        if superstate(self.store.holders(sr, vdi))[0] < State.ACTIVATED:
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, "the VDI is not in use")
        if self._move(sr, vdi) is not None:
            raise errors.backend_failure(errors.VDI_IN_USE)
        move = Move(sr, vdi, dest_sr, made)
        async with Undo() as undo:
            self.store.put_move(move)
            undo.push("forget the move", lambda: self.store.remove_move(sr, vdi))
            undo.push("delete the partial disk", lambda: target.mirror_give_up(made))
            image = await target.mirror_receive(spec)
            undo.push("end the mirror", lambda: source.mirror_cancel(vdi))
            await source.mirror_begin(vdi, image)
            try:
                await self._until_ready(source, vdi, made)
            finally:
                self._progress.pop(made, None)
        Deferred.fromCoroutine(self._expire(move)).addErrback(
            lambda failure: log.error("a mirror stays: %s", failure.getErrorMessage())
        )

    async def _until_ready(self, source: Mirrors, vdi: str, made: str) -> None:
        while True:
            state, done = await source.mirror_state(vdi)
            if not state:
                text = "the mirror ended, as its disk did"
                raise errors.backend_failure(errors.VDI_UNAVAILABLE, text)
            if state == "ready":
                return
            self._progress[made] = done
            await self.sleep(POLL_S)

    async def switch(self, sr: str, vdi: str) -> None:
        """Let the guest use the mirror, under whose name its data paths are known then.

        Errors: 46 when there is no complete mirror; the guest uses the old disk then.
        """
        move = self._move(sr, vdi)
        if move is None:
            text = "the VDI has no mirror"
            raise errors.backend_failure(errors.VDI_UNAVAILABLE, text)
        self._switching.add(move)
        try:
            await self._hand_over(move, await self._sr(sr).mirror_switch(vdi))
        finally:
            self._switching.discard(move)

    async def _expire(self, move: Move) -> None:
        """Who asked for the mirror may have died."""
        await self.sleep(WAIT_S)
        if move in self.store.moves() and move not in self._switching:
            await self._recover(move)

    async def _hand_over(self, move: Move, backend: object) -> None:
        assert isinstance(backend, dict)
        _, writable = superstate(self.store.holders(move.sr, move.vdi))
        await self._sr(move.dest_sr).mirror_adopt(move.dest_vdi, backend, writable)
        self.store.hand_over(move)
        await self._sr(move.sr).mirror_release(move.vdi)

    async def cancel(self, sr: str, vdi: str) -> None:
        """Give a mirror up, unless the guest uses it already; what is not there is no error."""
        move = self._move(sr, vdi)
        if move is not None:
            await self._recover(move)

    async def _give_up(self, move: Move) -> None:
        with suppress(RpcError):
            await self._sr(move.sr).mirror_cancel(move.vdi)
        await self._sr(move.dest_sr).mirror_give_up(move.dest_vdi)
        self.store.remove_move(move.sr, move.vdi)

    async def recover(self) -> None:
        """End what the last process began: a disk that uses its mirror already stays there."""
        for move in self.store.moves():
            try:
                await self._recover(move)
            except RpcError as problem:
                log.error("the move of VDI %s is not ended: %s", move.vdi, problem)

    async def _recover(self, move: Move) -> None:
        source, target = self._sr(move.sr), self._sr(move.dest_sr)
        backend = None
        with suppress(RpcError):
            image = await target.mirror_image(move.dest_vdi)
            backend = await source.mirror_switched(move.vdi, image)
        if backend is not None:
            await self._hand_over(move, backend)
        else:
            await self._give_up(move)

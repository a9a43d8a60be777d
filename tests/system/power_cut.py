"""A backend that stops in the middle of a change, as a killed daemon or a lost host does."""

from collections.abc import Sequence
from typing import Any

from xcp_networkd.contract import Backend, Step


class PowerLoss(BaseException):
    """Nothing runs any more."""


class PowerCut:
    """A backend that carries out ``steps`` steps and then nothing at all.

    ``at_cut`` is called at that moment, before anything could be tidied up.
    """

    def __init__(self, backend: Backend, steps: int, at_cut: Any) -> None:
        self._backend = backend
        self._left = steps
        self._at_cut = at_cut
        self.kind = backend.kind
        self.cut = False

    def __getattr__(self, name: str) -> Any:
        if self.cut:
            raise PowerLoss
        return getattr(self._backend, name)

    async def execute_together(self, steps: Sequence[Step]) -> None:
        for step in steps:
            await self.execute(step)

    async def execute(self, step: Step) -> None:
        if not self.cut and self._left == 0:
            self._at_cut()
            self.cut = True
        if self.cut:
            raise PowerLoss
        self._left -= 1
        await self._backend.execute(step)

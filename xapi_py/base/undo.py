"""An undo stack for work done in several steps."""

import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)

Step = Callable[[], Awaitable[object] | object]


class Undo:
    """Undo finished steps, last first, when the block is left by an exception.

    ::

        async with Undo() as undo:
            await bridge.create()
            undo.push("destroy bridge", bridge.destroy)
            await bridge.plug()

    Leaving the block normally forgets the steps.  A step that fails while
    undoing is logged and the remaining steps still run; the exception that
    started the undoing is the one that propagates.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[str, Step]] = []

    def push(self, name: str, step: Step) -> None:
        """Add a step that undoes what was just done; ``name`` is for the log."""
        self._steps.append((name, step))

    def forget(self) -> None:
        """Drop all steps: what was done so far is to stay."""
        self._steps.clear()

    async def run(self) -> None:
        """Undo everything now, last step first."""
        while self._steps:
            name, step = self._steps.pop()
            try:
                result = step()
                if isinstance(result, Awaitable):
                    await result
            except Exception:
                log.exception("undo step %r failed", name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            await self.run()
        self.forget()

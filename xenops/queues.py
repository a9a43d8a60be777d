"""One queue a VM: operations on a VM run one at a time, in the order they came."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred


class VmQueues:
    """Turns for VMs.  An idle VM costs nothing."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Deferred[None]]] = {}

    def busy(self, vm: str) -> bool:
        """Whether an operation is at work on a VM."""
        return vm in self._waiting

    @asynccontextmanager
    async def turn(self, vm: str) -> AsyncIterator[None]:
        """Hold the VM's turn; cancelling the wait gives the place away."""
        queue = self._waiting.get(vm)
        if queue is None:
            self._waiting[vm] = deque()
        else:
            mine: Deferred[None] = Deferred(queue.remove)
            queue.append(mine)
            await mine
        try:
            yield
        except GeneratorExit:  # collected, not ended: the daemon goes, nobody is to go on
            raise
        except BaseException:
            self._next(vm)
            raise
        self._next(vm)

    def _next(self, vm: str) -> None:
        queue = self._waiting[vm]
        if queue:
            queue.popleft().callback(None)
        else:
            del self._waiting[vm]


class Slots:
    """Places for heavy work, so that a thousand starts do not run at once."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[Deferred[None]] = deque()

    async def acquire(self) -> None:
        """Take a place, waiting for one in turn."""
        if self._free > 0:
            self._free -= 1
            return
        mine: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(mine)
        await mine

    def release(self) -> None:
        """Give a place back."""
        if self._waiting:
            self._waiting.popleft().callback(None)
        else:
            self._free += 1

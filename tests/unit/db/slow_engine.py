"""An engine whose commits take as long as a test wants."""

from twisted.internet.defer import Deferred

from xapi_py.db.engines.engine import Batch, Stored
from xapi_py.db.engines.memory import MemoryEngine


class SlowEngine:
    """A memory engine whose commits wait to be let through or refused."""

    immediate = False
    name = "slow"

    def __init__(self) -> None:
        self.memory = MemoryEngine()
        self.waiting: list[tuple[Batch, Deferred[None]]] = []

    def load(self, reserve: int) -> Stored:
        return self.memory.load(reserve)

    def commit(self, batch: Batch) -> "Deferred[None]":
        done: Deferred[None] = Deferred()
        self.waiting.append((batch, done))
        return done

    def close(self) -> "Deferred[None]":
        return self.memory.close()

    def keep(self) -> Batch:
        batch, done = self.waiting.pop(0)
        self.memory.commit(batch)
        done.callback(None)
        return batch

    def refuse(self) -> None:
        _, done = self.waiting.pop(0)
        done.errback(OSError("disk full"))

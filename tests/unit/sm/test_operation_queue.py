from twisted.internet.defer import CancelledError, Deferred

from sm.operation_queue import OperationQueue


class Work:
    """Operations that end when told to."""

    def __init__(self, limit: int) -> None:
        self.queue = OperationQueue(limit)
        self.running: dict[str, Deferred[None]] = {}

    def start(self, name: str, *, exclusive: bool = False) -> "Deferred[None]":
        async def operation() -> None:
            self.running[name] = Deferred()
            try:
                await self.running[name]
            finally:
                del self.running[name]

        return Deferred.fromCoroutine(self.queue.run(operation, exclusive=exclusive))

    def end(self, name: str) -> None:
        self.running[name].callback(None)


def test_limit_and_order_are_kept() -> None:
    work = Work(2)
    for name in "abc":
        work.start(name)
    assert sorted(work.running) == ["a", "b"]
    work.end("a")
    assert sorted(work.running) == ["b", "c"]


def test_exclusive_operation_runs_alone_and_is_not_overtaken() -> None:
    work = Work(10)
    work.start("a")
    work.start("alone", exclusive=True)
    work.start("b")
    assert list(work.running) == ["a"]
    work.end("a")
    assert list(work.running) == ["alone"]
    work.end("alone")
    assert list(work.running) == ["b"]


def test_cancelled_while_waiting_never_runs() -> None:
    work = Work(1)
    work.start("a")
    waiting = work.start("b")
    waiting.cancel()
    waiting.addErrback(lambda f: f.trap(CancelledError))
    work.end("a")
    assert work.running == {} and work.queue.idle


def test_failure_lets_the_next_one_run() -> None:
    queue = OperationQueue(1)

    async def fails() -> None:
        raise ValueError("no")

    found: list[object] = []
    Deferred.fromCoroutine(queue.run(fails)).addErrback(found.append)
    assert found and queue.idle

"""The xenstore client when things go wrong, on a server in memory."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.xenops.factories import begun, done, outcome
from tests.unit.xenops.xenstore.memory_server import MemoryXenStore, connected
from xenops.xenstore.client import Transaction, XenStore
from xenops.xenstore.codec import MessageType
from xenops.xenstore.errors import Conflict, StoreError, StoreLost, StoreTimeout


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.server = MemoryXenStore()
        self.store: XenStore = done(connected(self.clock, self.server))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_requests_of_many_keys_are_all_sent_before_the_first_answer(bench: Bench) -> None:
    sent: list[bytes] = []

    class Deaf:
        def write(self, data: bytes) -> None:
            sent.append(data)

        def close(self) -> None: ...

    bench.store._connection = Deaf()
    waiting = bench.store.write_many({f"/d/{n}": "1" for n in range(20)})
    assert len(sent) == 20
    assert not waiting.called


def test_the_first_refusal_of_many_is_reported_and_the_others_done(bench: Bench) -> None:
    bench.server.faults[MessageType.WRITE] = ["EACCES"]
    with pytest.raises(StoreError, match="EACCES at /a"):
        outcome(bench.store.write_many({"/a": "1", "/b": "2"}))
    assert bench.server.value("/b") == "2"


def test_a_change_refused_within_a_transaction_undoes_the_others(bench: Bench) -> None:
    async def change(tx: Transaction) -> None:
        tx.write("/a", "1")  # nobody waits for it
        bench.server.faults[MessageType.WRITE] = ["ENOSPC"]
        tx.write("/b", "2").addErrback(lambda _: None)

    with pytest.raises(StoreError, match="ENOSPC"):
        done(bench.store.transaction(change))
    assert bench.server.value("/a") is None


def test_transactions_that_meet_each_other_are_retried_one_at_a_time(bench: Bench) -> None:
    gates: list[Deferred[None]] = []

    async def add_one(tx: Transaction) -> None:
        value = int(await tx.read("/n"))
        if len(gates) < 3:
            gates.append(Deferred())
            await gates[-1]
        await tx.write("/n", str(value + 1))

    outcome(bench.store.write("/n", "0"))
    running = [begun(bench.store.transaction(add_one)) for _ in range(3)]
    for gate in list(gates):
        gate.callback(None)
    for one in running:
        outcome(one)
    assert bench.server.value("/n") == "3"


def test_a_transaction_gives_up_in_the_end(bench: Bench) -> None:
    bench.server.faults[MessageType.TRANSACTION_END] = ["EAGAIN"] * 1000

    async def change(tx: Transaction) -> None:
        await tx.write("/a", "1")

    with pytest.raises(Conflict):
        done(bench.store.transaction(change))
    assert len(bench.server.faults[MessageType.TRANSACTION_END]) > 900


def test_a_lost_connection_ends_all_waiting_and_comes_back_with_its_watches(
    bench: Bench,
) -> None:
    events: list[str] = []
    bench.store.watch("/w", events.append)
    waiting = begun(bench.store.wait_for("/w/x", lambda value: value == "1", 60))
    bench.server.refuse_connections = 2
    bench.server.lose_connections()
    with pytest.raises(StoreLost):
        outcome(waiting)
    with pytest.raises(StoreLost):
        outcome(bench.store.read("/w"))
    for _ in range(10):
        bench.clock.advance(1)
    assert bench.store.connected
    events.clear()
    bench.server.put("/w/x", "1")
    assert events == ["/w/x"]
    assert bench.clock.getDelayedCalls() == []


def test_a_closed_client_stays_closed(bench: Bench) -> None:
    bench.store.close()
    bench.clock.advance(100)
    assert bench.server.connections == []


def test_a_wait_ends_at_its_time_and_leaves_no_watch(bench: Bench) -> None:
    waiting = begun(bench.store.wait_for("/s", lambda value: value == "4", 10))
    bench.server.put("/s", "3")
    bench.clock.advance(9)
    assert not waiting.called
    bench.clock.advance(1)
    with pytest.raises(StoreTimeout):
        outcome(waiting)
    assert bench.server.connections[0].watches == []
    assert bench.clock.getDelayedCalls() == []


def test_a_cancelled_wait_leaves_nothing(bench: Bench) -> None:
    waiting = begun(bench.store.wait_for("/s", lambda value: value == "4", 10))
    waiting.addErrback(lambda _: None)
    waiting.cancel()
    assert bench.server.connections[0].watches == []
    assert bench.clock.getDelayedCalls() == []


def test_a_watch_that_fails_harms_no_other(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    events: list[str] = []

    def fails(path: str) -> None:
        raise LookupError

    bench.store.watch("/a", fails)
    bench.store.watch("/a", events.append)
    bench.server.put("/a/b", "1")
    assert events == ["/a", "/a/b"]
    assert "LookupError" in caplog.text

"""Group commit, engine failures, restarts."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.db.slow_engine import SlowEngine
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import RESERVED_AT_ONCE, Database


class World:
    def __init__(self) -> None:
        self.engine, self.clock = SlowEngine(), Clock()
        self.db = Database(load_model("all"), self.engine, self.clock)

    def make(self, cls: str, **values: Any) -> Ref:
        with self.db.transaction() as tx:
            return tx.create(cls, values)

    def write(self, cls: str, ref: str, **values: Any) -> None:
        with self.db.transaction() as tx:
            tx.update(cls, ref, **values)

    def turn(self) -> None:
        self.clock.advance(0)

    def stored(self, cls: str) -> set[str]:
        return {ref for c, ref in self.engine.memory.rows if c == cls}


@pytest.fixture
def world() -> World:
    return World()


def error_of(waiter: "Deferred[None]") -> ApiError:
    failures: list[Any] = []
    waiter.addErrback(failures.append)
    assert len(failures) == 1, "still waiting, or succeeded"
    error = failures[0].value
    assert isinstance(error, ApiError)
    return error


def test_writes_of_one_turn_share_one_batch(world: World) -> None:
    vms = [world.make("VM") for _ in range(3)]
    world.write("VM", vms[0], name_label="x")
    waiter = world.db.durable()
    world.turn()
    assert len(world.engine.waiting) == 1
    assert not waiter.called
    batch = world.engine.keep()
    assert [row.ref for row in batch.rows] == vms
    assert waiter.called


def test_what_comes_during_a_batch_goes_together_into_the_next(world: World) -> None:
    world.make("VM")
    world.turn()
    first = world.db.durable()
    second = [world.make("VM"), world.make("VM")]
    later = world.db.durable()
    world.turn()
    assert len(world.engine.waiting) == 1
    world.engine.keep()
    assert (first.called, later.called) == (True, False)
    assert [row.ref for row in world.engine.keep().rows] == second
    assert later.called


def test_non_persistent_changes_need_no_batch(world: World) -> None:
    vm = world.make("VM")
    world.turn()
    world.engine.keep()
    before = world.db.generation
    world.make("task")
    world.write("VM", vm, allowed_operations=("start",))
    assert world.db.durable().called
    world.turn()
    assert world.engine.waiting == []
    assert [r.ref for r in world.db.changes("VM", before).modified] == [vm]


def test_nothing_is_published_before_it_is_durable(world: World) -> None:
    calls: list[tuple[frozenset[str], int]] = []
    world.db.subscribe(lambda *told: calls.append(told))
    durable = world.db.durable_generation
    world.make("VM")
    world.turn()
    world.make("task")
    world.turn()
    assert (calls, world.db.durable_generation) == ([], durable)
    world.engine.keep()
    world.turn()
    world.turn()
    assert {c for classes, _ in calls for c in classes} == {"VM", "task"}
    assert calls[-1][1] == world.db.generation == world.db.durable_generation


def test_a_failed_batch_is_undone_and_the_database_keeps_working(world: World) -> None:
    vm = world.make("VM", name_label="old")
    world.turn()
    world.engine.keep()
    world.write("VM", vm, name_label="new")
    lost = world.make("VBD", VM=vm)
    waiter = world.db.durable()
    world.turn()
    world.engine.refuse()
    error = error_of(waiter)
    assert error.code == "INTERNAL_ERROR" and "disk full" in error.params[0]
    assert world.db.row("VM", vm).name_label == "old"
    assert world.db.row("VM", vm).VBDs == ()
    assert world.db.find("VBD", lost) is None
    world.write("VM", vm, name_label="newer")
    waiter = world.db.durable()
    world.turn()
    world.engine.keep()
    assert waiter.called
    assert world.db.by_name_label("VM", "newer") == (vm,)


def test_batches_made_on_top_of_a_failed_one_are_undone_too(world: World) -> None:
    a = world.make("VM", name_label="a")
    world.turn()
    world.engine.keep()
    with world.db.transaction() as tx:
        tx.delete("VM", a)
    first = world.db.durable()
    world.turn()
    b = world.make("VM", ref=a, name_label="b")
    second = world.db.durable()
    world.turn()
    world.engine.refuse()
    assert error_of(first).code == error_of(second).code == "INTERNAL_ERROR"
    assert b == a
    assert world.db.row("VM", a).name_label == "a"
    assert world.db.by_name_label("VM", "b") == ()
    assert world.engine.waiting == []


def test_who_saw_the_lost_state_sees_it_taken_back(world: World) -> None:
    kept = world.make("VM", name_label="kept")
    gone = world.make("VM", name_label="gone")
    world.turn()
    world.engine.keep()
    before = world.db.generation
    with world.db.transaction() as tx:
        tx.set("VM", kept, "name_label", "changed")
        tx.delete("VM", gone)
        made = tx.create("VM", {})
    seen = world.db.generation
    world.turn()
    world.engine.refuse()
    for since in (before, seen):
        changes = world.db.changes("VM", since)
        assert [r.ref for r in changes.modified] == [kept]
        assert [r.ref for r in changes.added] == [gone]
        assert [ref for ref, _, _ in changes.deleted] == [made]
    assert world.db.row("VM", kept).modified > seen


def test_non_persistent_changes_survive_the_failure_of_an_earlier_batch(world: World) -> None:
    vm = world.make("VM")
    task = world.make("task", name_label="t")
    world.turn()
    world.engine.keep()
    lost = world.make("VM")
    world.turn()
    world.write("task", task, progress=0.5)
    world.write("VM", vm, allowed_operations=("start",))
    world.write("VM", lost, allowed_operations=("start",))
    session = world.make("session")
    world.turn()
    world.engine.refuse()
    assert world.db.row("task", task).progress == 0.5
    assert world.db.row("VM", vm).allowed_operations == ("start",)
    assert world.db.find("session", session) is not None
    assert world.db.find("VM", lost) is None


def test_a_failure_between_transaction_and_waiting_can_be_told(world: World) -> None:
    before = world.db.generation
    world.make("VM")
    world.turn()
    world.engine.refuse()
    assert error_of(world.db.durable(before)).code == "INTERNAL_ERROR"
    assert world.db.durable(world.db.generation).called


def test_a_value_that_cannot_be_stored_fails_its_batch_only(world: World) -> None:
    world.make("VM", other_config={"x": object()})
    waiter = world.db.durable()
    world.turn()
    assert error_of(waiter).code == "INTERNAL_ERROR"
    assert world.db.count("VM") == 0
    vm = world.make("VM")
    world.turn()
    world.engine.keep()
    assert world.stored("VM") == {vm}


def restarted(world: World) -> Database:
    return Database(load_model("all"), world.engine, world.clock)


def test_a_restart_brings_back_persistent_state_only(world: World) -> None:
    vm = world.make(
        "VM",
        name_label="lone \ud800 surrogate",
        other_config={"a": "b"},
        tags=("x", "y"),
        VCPUs_max=2**40,
        HVM_shadow_multiplier=float("inf"),
        allowed_operations=("start",),
    )
    vbds = tuple(world.make("VBD", VM=vm) for _ in range(3))
    update = world.make("pool_update")
    hosts = tuple(world.make("host", updates=(update,)) for _ in range(2))
    world.make("task")
    world.turn()
    world.engine.keep()
    db = restarted(world)
    row = db.row("VM", vm)
    assert (row.name_label, row.other_config) == ("lone \ud800 surrogate", {"a": "b"})
    assert (row.tags, row.VCPUs_max, row.allowed_operations) == (("x", "y"), 2**40, ())
    assert row.VBDs == vbds
    assert row.HVM_shadow_multiplier == float("inf")
    assert db.row("pool_update", update).hosts == hosts
    assert db.row("host", hosts[0]).updates == (update,)
    assert db.count("task") == 0
    assert db.by_uuid("VM", row.uuid) == vm
    assert db.by_name_label("VM", row.name_label) == (vm,)
    old = world.db.row("VM", vm)
    assert (row.created_generation, row.modified) == (old.created_generation, old.modified)


def test_generations_do_not_go_back_over_a_restart(world: World) -> None:
    for _ in range(5):
        world.make("task")
    last = world.db.generation
    db = restarted(world)
    assert db.start_generation > last
    assert db.generation >= db.start_generation
    assert db.changes("VM", last).incomplete
    assert not db.changes("VM", db.generation).incomplete


def test_more_generations_are_reserved_before_they_run_out(world: World) -> None:
    world.db.generation += RESERVED_AT_ONCE // 2 + 10
    world.make("task")
    world.turn()
    assert world.engine.keep().reserved >= world.db.generation + RESERVED_AT_ONCE // 2
    assert restarted(world).start_generation > world.db.generation

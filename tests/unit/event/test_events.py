"""event.from: what a client gets, in which order, and when it wakes."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from tests.unit.db.slow_engine import SlowEngine
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.base.slices import Slices
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.memory import MemoryEngine
from xapi_py.event.encode import _old_event, encode_old_events
from xapi_py.event.events import Batch, Events
from xapi_py.event.subscription import format_token, parse_token
from xapi_py.session.sessions import Session, Sessions
from xapi_py.wire.xmlrpc import XMLRPC

NEWEST = load_model("newest")


class World:
    """A database, sessions and events over a test clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.db = Database(load_model("all"), MemoryEngine(), self.clock)
        self.sessions = Sessions(self.db, self.clock, lambda: Ref("OpaqueRef:host"))
        self.events = Events(self.db, NEWEST, self.clock, self.sessions.is_live)
        self.session = self.sessions.add("root", superuser=True)
        self.settle()

    def settle(self) -> None:
        """Let the commits of this turn become known."""
        for _ in range(4):
            self.clock.advance(0)

    def network(self, label: str) -> Ref:
        with self.db.transaction() as tx:
            ref = tx.create("network", {"name_label": label})
        self.settle()
        return ref

    def change(self, ref: Ref, text: str) -> None:
        with self.db.transaction() as tx:
            tx.set("network", ref, "name_description", text)
        self.settle()

    def destroy(self, ref: Ref) -> None:
        with self.db.transaction() as tx:
            tx.delete("network", ref)
        self.settle()

    def wait(
        self, *classes: str, since: int | None, timeout_s: float = 30, by: Session | None = None
    ) -> "Deferred[Batch]":
        subscription = self.events.subscription(classes)
        return maybeDeferred(self.events.wait, by or self.session, subscription, since, timeout_s)

    def now(self, *classes: str, since: int | None) -> list[tuple[str, str, str]]:
        batch: Any = self.wait(*classes, since=since, timeout_s=0).result
        return [(e.cls, e.operation, e.ref) for e in batch.events]


@pytest.fixture
def world() -> World:
    return World()


class SlowWorld:
    """Events of a database whose commits become durable when told to."""

    def __init__(self) -> None:
        self.engine, self.clock = SlowEngine(), Clock()
        self.db = Database(load_model("all"), self.engine, self.clock)
        self.events = Events(self.db, NEWEST, self.clock, lambda session: True)

    def settle(self) -> None:
        """Let everything become durable and known."""
        for _ in range(4):
            self.clock.advance(0)
            while self.engine.waiting:
                self.engine.keep()

    def ask(self, *classes: str, since: int | None) -> Batch:
        subscription = self.events.subscription(classes)
        nobody: Any = None
        batch = self.events.wait(nobody, subscription, since, 0)
        assert isinstance(batch, Batch)
        return batch


@pytest.mark.parametrize("classes", [("*",), ("network",)])
@pytest.mark.parametrize("from_start", [True, False])
def test_an_object_that_goes_soon_after_it_came_is_told_to_have_gone(
    classes: tuple[str, ...], from_start: bool
) -> None:
    world = SlowWorld()
    since = None if from_start else world.events.generation
    with world.db.transaction() as tx:
        ref = tx.create("network", {"name_label": "short"})
    early = world.ask(*classes, since=since)
    world.settle()
    with world.db.transaction() as tx:
        tx.delete("network", ref)
    world.settle()
    late = world.ask(*classes, since=early.generation)
    known = set()
    for event in (*early.events, *late.events):
        (known.discard if event.operation == "del" else known.add)(event.ref)
    assert ref not in known


def test_changes_that_are_not_durable_yet_are_told_in_time() -> None:
    world = SlowWorld()
    with world.db.transaction() as tx:
        a = tx.create("network", {"name_label": "a"})
    world.settle()
    token = world.events.generation
    with world.db.transaction() as tx:
        b = tx.create("network", {"name_label": "b"})
        tx.set("network", a, "name_label", "changed")
    early = world.ask("network", since=token)
    world.settle()
    late = world.ask("network", since=early.generation)
    assert {(event.operation, event.ref) for event in late.events} == {("add", b), ("mod", a)}


def test_an_empty_token_gives_every_object_as_add(world: World) -> None:
    a, b = world.network("a"), world.network("b")
    assert world.now("network", since=None) == [("network", "add", a), ("network", "add", b)]


def test_changes_of_one_object_are_one_event(world: World) -> None:
    a = world.network("a")
    token = world.events.generation
    world.change(a, "one")
    world.change(a, "two")
    assert world.now("network", since=token) == [("network", "mod", a)]


def test_created_and_changed_is_one_add(world: World) -> None:
    token = world.events.generation
    a = world.network("a")
    world.change(a, "x")
    assert world.now("network", since=token) == [("network", "add", a)]


def test_created_and_destroyed_is_nothing(world: World) -> None:
    token = world.events.generation
    world.destroy(world.network("a"))
    assert world.now("network", since=token) == []


def test_order_is_add_mod_del(world: World) -> None:
    changed, gone = world.network("c"), world.network("g")
    token = world.events.generation
    world.destroy(gone)
    world.change(changed, "x")
    fresh = world.network("f")
    assert [op for _, op, _ in world.now("*", since=token)] == ["add", "mod", "del"]
    assert world.now("*", since=token)[0][2] == fresh


def test_a_waiting_client_wakes_at_once_for_its_class_only(world: World) -> None:
    token = world.events.generation
    waiting, other = world.wait("network", since=token), world.wait("vm", since=token)
    a = world.network("a")
    assert [e.ref for e in waiting.result.events] == [a]
    assert not other.called


def test_a_single_object_can_be_followed(world: World) -> None:
    a, b = world.network("a"), world.network("b")
    token = world.events.generation
    waiting = world.wait(f"network/{a}", since=token)
    world.change(b, "x")
    assert not waiting.called
    world.change(a, "x")
    assert [e.ref for e in waiting.result.events] == [a]


def test_the_timeout_gives_no_events_and_a_usable_token(world: World) -> None:
    token = world.events.generation
    waiting = world.wait("network", since=token, timeout_s=30)
    world.clock.advance(31)
    batch: Any = waiting.result
    assert batch.events == ()
    assert world.now("network", since=batch.generation) == []


def test_a_token_of_some_classes_covers_only_what_was_told(world: World) -> None:
    start = world.events.generation
    a = world.network("a")
    nothing: Any = world.wait("vm", since=start, timeout_s=0).result
    assert world.now("network", since=nothing.generation) == [("network", "add", a)]
    with world.db.transaction() as tx:
        tx.create("secret", {"value": "x"})
    world.settle()
    told: Any = world.wait("network", since=start, timeout_s=0).result
    assert told.generation == world.db.row("network", a).modified
    assert world.now("network", since=told.generation) == []


def test_logout_ends_a_waiting_call(world: World) -> None:
    session = world.sessions.add("root", superuser=True)
    world.settle()
    waiting = world.wait("network", since=world.events.generation, by=session)
    world.sessions.remove(session)
    failures: list[Any] = []
    waiting.addErrback(failures.append)
    assert [f.value.description for f in failures] == [["SESSION_INVALID", session.ref]]


def test_clients_that_ask_the_same_share_one_batch(world: World) -> None:
    token = world.events.generation
    first, second = world.wait("*", since=token), world.wait("*", since=token)
    world.network("a")
    assert first.result is second.result


def test_a_token_from_before_the_restart_gives_everything(world: World) -> None:
    a = world.network("a")
    assert world.now("network", since=world.db.start_generation - 1) == [("network", "add", a)]


def test_counts_cover_all_classes(world: World) -> None:
    world.network("a")
    batch: Any = world.wait("vm", since=None, timeout_s=0).result
    assert batch.counts["network"] == 1
    assert batch.counts["vm"] == 0
    assert len(batch.counts) == len(NEWEST.classes)


@pytest.mark.parametrize(
    "text", ["x", "0", ",", "1,2,3", "abc,def", " ", "9" * 20 + "," + "0" * 20]
)
def test_a_bad_token_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_token(text)
    assert caught.value.description == ["EVENT_FROM_TOKEN_PARSE_FAILURE", text]


def test_tokens_survive_the_round_trip() -> None:
    assert parse_token(format_token(1234)) == 1234
    assert parse_token("") is None


def test_old_style_events_are_one_for_each_change(world: World) -> None:
    a = world.network("a")
    old = world.events.old
    old.register(world.session, ("network",))
    world.change(a, "n1")
    world.change(a, "n2")
    world.destroy(a)
    got: Any = Deferred.fromCoroutine(old.next(world.session)).result
    assert [(e.operation, e.record["name_description"]) for e in got] == [
        ("mod", "n1"),
        ("mod", "n2"),
        ("del", "n2"),
    ]


def test_two_old_style_calls_of_one_session_both_end(world: World) -> None:
    old = world.events.old
    old.register(world.session, ("network",))
    first, second = (Deferred.fromCoroutine(old.next(world.session)) for _ in range(2))
    world.network("a")
    assert [len(events) for events in (first.result,)] == [1]  # type: ignore[arg-type]
    assert not second.called
    world.network("b")
    assert [e.record["name_label"] for e in second.result] == ["b"]  # type: ignore[union-attr]


def test_old_style_del_comes_for_objects_made_while_nobody_listened(world: World) -> None:
    old = world.events.old
    old.register(world.session, ("network",))
    world.sessions.remove(world.session)
    world.network("noticed by nobody")
    later = world.network("b")
    session = world.sessions.add("root", superuser=True)
    old.register(session, ("network",))
    world.destroy(later)
    got: Any = Deferred.fromCoroutine(old.next(session)).result
    assert [(e.operation, e.ref) for e in got] == [("del", later)]


def test_many_old_style_events_are_the_same_in_steps(world: World) -> None:
    old = world.events.old
    old.register(world.session, ("network",))
    for number in range(100):
        world.network(f"n{number}")
    events: Any = Deferred.fromCoroutine(old.next(world.session)).result
    made = Slices(world.clock, lambda: 0.0).run(encode_old_events(XMLRPC, NEWEST, events))  # type: ignore[arg-type]
    few = encode_old_events(XMLRPC, NEWEST, events[:2])
    whole = b"".join(made)  # type: ignore[arg-type]
    assert whole == b"".join(XMLRPC.array([_old_event(XMLRPC, NEWEST, e) for e in events]))
    assert isinstance(few, list)

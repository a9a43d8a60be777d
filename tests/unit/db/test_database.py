"""Rows, indexes, relations and transactions."""

from typing import Any

import pytest
from twisted.internet.task import Clock

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.memory import MemoryEngine


@pytest.fixture
def db() -> Database:
    return Database(load_model("all"), MemoryEngine(), Clock())


def make(db: Database, cls: str, **values: Any) -> Ref:
    with db.transaction() as tx:
        return tx.create(cls, values)


def write(db: Database, cls: str, ref: str, **values: Any) -> None:
    with db.transaction() as tx:
        tx.update(cls, ref, **values)


def changed(db: Database, cls: str, since: int) -> tuple[list[str], list[str], list[str]]:
    found = db.changes(cls, since)
    return (
        [r.ref for r in found.added],
        [r.ref for r in found.modified],
        [ref for ref, _, _ in found.deleted],
    )


def test_a_new_object_has_defaults_and_is_found_by_uuid_and_label(db: Database) -> None:
    ref = make(db, "VM", name_label="web", uuid="11111111-2222-3333-4444-555555555555")
    row = db.row("VM", ref)
    assert (row.name_label, row.power_state, row.memory_static_max) == ("web", "Halted", 0)
    assert (row.VBDs, row.other_config, row.affinity) == ((), {}, NULL_REF)
    assert db.by_uuid("VM", row.uuid) == ref
    assert db.by_name_label("VM", "web") == (ref,)
    assert (db.count("VM"), db.refs("VM"), db.rows("VM")) == (1, (ref,), (row,))


def test_rows_cannot_be_assigned_to(db: Database) -> None:
    row = db.row("VM", make(db, "VM"))
    with pytest.raises(AttributeError):
        row.name_label = "x"


def test_unknown_objects_raise_the_api_errors(db: Database) -> None:
    with pytest.raises(ApiError) as error:
        db.row("VM", "OpaqueRef:x")
    assert error.value.description == ["HANDLE_INVALID", "VM", "OpaqueRef:x"]
    with pytest.raises(ApiError) as error:
        db.by_uuid("VM", "x")
    assert error.value.description == ["UUID_INVALID", "VM", "x"]
    assert db.find("VM", "OpaqueRef:x") is None
    with pytest.raises(ApiError), db.transaction() as tx:
        tx.set("VM", "OpaqueRef:x", "name_label", "")


def test_label_index_follows_renames_and_deletions(db: Database) -> None:
    a, b, c = (make(db, "VM", name_label="same") for _ in range(3))
    write(db, "VM", b, name_label="other")
    with db.transaction() as tx:
        tx.delete("VM", a)
    assert db.by_name_label("VM", "same") == (c,)
    assert db.by_name_label("VM", "other") == (b,)
    with db.transaction() as tx:
        tx.delete("VM", c)
    assert db.by_name_label("VM", "same") == ()


def test_a_used_uuid_is_refused(db: Database) -> None:
    uuid = db.row("VM", make(db, "VM")).uuid
    with pytest.raises(ApiError) as error:
        make(db, "VM", uuid=uuid)
    assert error.value.description == ["DB_UNIQUENESS_CONSTRAINT_VIOLATION", "VM", "uuid", uuid]
    other = make(db, "VM")
    with pytest.raises(ApiError):
        write(db, "VM", other, uuid=uuid)
    assert db.count("VM") == 2


def test_a_value_of_the_wrong_type_is_refused(db: Database) -> None:
    with pytest.raises(TypeError):
        make(db, "VM", memory_static_max="1")
    with pytest.raises(TypeError):
        make(db, "VM", name_label=None)
    with pytest.raises(KeyError):
        make(db, "VM", no_such_field=1)


def test_many_ends_follow_single_ends_and_both_parents_are_modified(db: Database) -> None:
    a, b = make(db, "VM"), make(db, "VM")
    first, second = make(db, "VBD", VM=a), make(db, "VBD", VM=a)
    assert db.row("VM", a).VBDs == (first, second)
    before = db.generation
    write(db, "VBD", first, VM=b)
    assert (db.row("VM", a).VBDs, db.row("VM", b).VBDs) == ((second,), (first,))
    assert set(changed(db, "VM", before)[1]) == {a, b}
    assert changed(db, "VBD", before) == ([], [first], [])
    with db.transaction() as tx:
        tx.delete("VBD", first)
    assert db.row("VM", b).VBDs == ()
    assert changed(db, "VM", db.generation - 1) == ([], [b], [])


def test_a_computed_collection_cannot_be_written_and_is_ignored_at_creation(db: Database) -> None:
    vm = make(db, "VM", VBDs=("OpaqueRef:x",))
    assert db.row("VM", vm).VBDs == ()
    with pytest.raises(TypeError):
        write(db, "VM", vm, VBDs=())


def test_references_to_a_missing_object_are_found_when_it_comes(db: Database) -> None:
    vbd = make(db, "VBD", VM="OpaqueRef:later")
    vm = make(db, "VM", ref="OpaqueRef:later")
    assert db.row("VM", vm).VBDs == (vbd,)
    with db.transaction() as tx:
        tx.delete("VM", vm)
    assert vm == db.row("VBD", vbd).VM
    make(db, "VM", ref="OpaqueRef:later")
    assert db.row("VM", vm).VBDs == (vbd,)


def test_both_ends_of_a_many_to_many_relation_agree(db: Database) -> None:
    update = make(db, "pool_update")
    host = make(db, "host", updates=(update,))
    assert db.row("pool_update", update).hosts == (host,)
    other = make(db, "host")
    with db.transaction() as tx:
        tx.add_to_set("pool_update", update, "hosts", other)
    assert db.row("host", other).updates == (update,)
    write(db, "pool_update", update, hosts=(other,))
    assert db.row("host", host).updates == ()
    with db.transaction() as tx:
        tx.delete("host", other)
    assert db.row("pool_update", update).hosts == ()


def test_a_self_relation_keeps_its_direction(db: Database) -> None:
    inner = make(db, "role", name_label="inner")
    outer = make(db, "role", name_label="outer", subroles=(inner,))
    assert db.row("role", outer).subroles == (inner,)
    assert db.row("role", inner).subroles == ()


def test_map_and_set_writes(db: Database) -> None:
    vm = make(db, "VM", other_config={"a": "1"}, tags=("x",))
    before = db.row("VM", vm).other_config
    with db.transaction() as tx:
        tx.add_to_map("VM", vm, "other_config", "b", "2")
        tx.remove_from_map("VM", vm, "other_config", "a")
        tx.remove_from_map("VM", vm, "other_config", "none")
        tx.add_to_set("VM", vm, "tags", "y")
        tx.add_to_set("VM", vm, "tags", "x")
        tx.remove_from_set("VM", vm, "tags", "x")
        tx.remove_from_set("VM", vm, "tags", "none")
    assert (db.row("VM", vm).other_config, db.row("VM", vm).tags) == ({"b": "2"}, ("y",))
    assert before == {"a": "1"}


def test_an_equal_value_is_no_change(db: Database) -> None:
    vm = make(db, "VM", name_label="x")
    before = db.generation
    write(db, "VM", vm, name_label="x", other_config={})
    assert db.generation == before
    with db.transaction() as tx:
        tx.touch("VM", vm)
    assert changed(db, "VM", before) == ([], [vm], [])


def test_one_generation_for_a_transaction_with_joined_ones(db: Database) -> None:
    before = db.generation
    with db.transaction() as tx:
        vm = tx.create("VM", {})
        with db.transaction() as inner:
            vbd = inner.create("VBD", {"VM": vm})
        tx.set("VM", vm, "name_label", "x")
    assert db.generation == before + 1
    row = db.row("VM", vm)
    assert (row.created_generation, row.modified) == (db.generation, db.generation)
    assert changed(db, "VM", before) == ([vm], [], [])
    assert changed(db, "VBD", before) == ([vbd], [], [])


def test_an_exception_leaves_no_trace(db: Database) -> None:
    vm = make(db, "VM", name_label="old")
    vbds = tuple(make(db, "VBD", VM=vm) for _ in range(4))
    row, before, modified = db.row("VM", vm), db.generation, db.row("VM", vm).modified
    with pytest.raises(ValueError), db.transaction() as tx:
        tx.set("VM", vm, "name_label", "new")
        tx.delete("VBD", vbds[1])
        tx.create("VBD", {"VM": vm})
        tx.delete("VM", vm)
        tx.create("VM", {"ref": vm, "uuid": row.uuid})
        raise ValueError
    assert db.row("VM", vm) is row
    assert (row.name_label, row.VBDs, row.modified) == ("old", vbds, modified)
    assert db.by_name_label("VM", "old") == (vm,)
    assert (db.generation, db.count("VBD")) == (before, 4)


def test_an_inner_block_that_fails_is_undone_alone(db: Database) -> None:
    with db.transaction() as tx:
        vm = tx.create("VM", {"name_label": "a"})
        with pytest.raises(ValueError), db.transaction() as inner:
            inner.set("VM", vm, "name_label", "b")
            inner.create("VM", {})
            raise ValueError
        tx.set("VM", vm, "name_description", "kept")
    assert db.count("VM") == 1
    assert (db.row("VM", vm).name_label, db.row("VM", vm).name_description) == ("a", "kept")


def test_a_transaction_that_is_over_refuses_writes(db: Database) -> None:
    with db.transaction() as tx:
        vm = tx.create("VM", {})
    with pytest.raises(RuntimeError):
        tx.set("VM", vm, "name_label", "x")
    with pytest.raises(RuntimeError):
        tx.create("VM", {})


def test_changes_come_in_order_and_deletions_carry_both_generations(db: Database) -> None:
    a, b, c = make(db, "VM"), make(db, "VM"), make(db, "VM")
    start = db.generation
    write(db, "VM", c, name_label="1")
    write(db, "VM", a, name_label="1")
    d = make(db, "VM")
    born = db.row("VM", b).created_generation
    with db.transaction() as tx:
        tx.delete("VM", b)
    assert changed(db, "VM", start) == ([d], [c, a], [b])
    assert db.changes("VM", start).deleted == [(b, db.generation, born)]
    assert changed(db, "VM", db.generation) == ([], [], [])


def test_an_object_made_and_deleted_in_one_transaction_was_never_there(db: Database) -> None:
    before = db.generation
    with db.transaction() as tx:
        tx.delete("VM", tx.create("VM", {}))
    assert (db.generation, changed(db, "VM", before)) == (before, ([], [], []))


def test_subscribers_are_called_once_a_turn_with_the_changed_classes() -> None:
    clock = Clock()
    db = Database(load_model("all"), MemoryEngine(), clock)
    calls: list[tuple[frozenset[str], int]] = []
    stop = db.subscribe(lambda classes, generation: calls.append((classes, generation)))
    vm = make(db, "VM")
    make(db, "VBD", VM=vm)
    make(db, "task")
    assert calls == []
    clock.advance(0)
    assert calls == [(frozenset({"VM", "VBD", "task"}), db.generation)]
    stop()
    make(db, "VM")
    clock.advance(0)
    assert len(calls) == 1

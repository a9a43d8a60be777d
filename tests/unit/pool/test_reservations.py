"""Promised memory: the index gives what a full count would."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from xapi_py.base.names import NULL_REF
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.memory import MemoryEngine
from xapi_py.pool.reservations import Reservations

MIB = 1 << 20
STEPS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["run", "halt", "grow", "hold", "destroy"])),
    max_size=30,
)


@given(STEPS)
def test_index_equals_a_count_of_all_vms(steps: list[tuple[int, str]]) -> None:
    db = Database(load_model("all"), MemoryEngine(), Clock())
    with db.transaction() as tx:
        metrics = tx.create("host_metrics", {"memory_total": 1000 * MIB})
        host = tx.create("host", {"metrics": metrics})
        vms = [tx.create("VM", {"memory_dynamic_min": 10 * MIB}) for _ in range(5)]
    reservations = Reservations()
    reservations.bind(db)
    for number, step in steps:
        vm = vms[number]
        row = db.find("VM", vm)
        if row is None:
            continue
        with db.transaction() as tx:
            match step:
                case "run":
                    tx.update("VM", vm, resident_on=host, scheduled_to_be_resident_on=NULL_REF)
                case "halt":
                    tx.set("VM", vm, "resident_on", NULL_REF)
                case "grow":
                    tx.set("VM", vm, "memory_dynamic_min", row.memory_dynamic_min + MIB)
                case "hold":
                    tx.set("VM", vm, "scheduled_to_be_resident_on", host)
                case "destroy":
                    tx.delete("VM", vm)
        counted = sum(
            v.memory_dynamic_min
            for v in db.rows("VM")
            if host in (v.resident_on, v.scheduled_to_be_resident_on)
        )
        assert reservations.free_bytes(db, db.row("host", host)) == 1000 * MIB - counted


def test_held_memory_is_given_back_when_the_start_fails() -> None:
    db = Database(load_model("all"), MemoryEngine(), Clock())
    with db.transaction() as tx:
        metrics = tx.create("host_metrics", {"memory_total": 100 * MIB})
        host = tx.create("host", {"metrics": metrics})
        vm = tx.create("VM", {"memory_dynamic_min": 60 * MIB})
    reservations = Reservations()
    reservations.bind(db)
    place = db.row("host", host)
    try:
        with reservations.hold(db, vm, host):
            assert reservations.free_bytes(db, place) == 40 * MIB
            assert reservations.free_bytes(db, place, vm) == 100 * MIB
            raise RuntimeError("the start fails")
    except RuntimeError:
        pass
    assert reservations.free_bytes(db, place) == 100 * MIB
    assert db.row("VM", vm).scheduled_to_be_resident_on == NULL_REF

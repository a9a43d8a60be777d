"""Whatever a transaction does, taking it back restores everything exactly."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xapi_py.base.errors import ApiError
from xapi_py.db.dict_view import DictView
from xapi_py.db.engines.memory import MemoryEngine
from xapi_py.db.schema import MANY
from xapi_py.db.transaction import Transaction

NAMES = st.sampled_from([f"OpaqueRef:{i}" for i in range(4)])
LABELS = st.sampled_from(["a", "b"])
STEPS = st.one_of(
    st.tuples(st.just("vm"), NAMES, LABELS),
    st.tuples(st.just("vbd"), NAMES, NAMES),
    st.tuples(st.just("host"), NAMES, st.lists(NAMES, max_size=3)),
    st.tuples(st.just("update"), NAMES, st.lists(NAMES, max_size=3)),
    st.tuples(st.just("delete"), st.sampled_from(["VM", "VBD", "host", "pool_update"]), NAMES),
    st.tuples(st.just("fail"), st.lists(st.tuples(st.just("vbd"), NAMES, NAMES), max_size=3)),
)


def apply(db: DictView, tx: Transaction, step: tuple[Any, ...]) -> None:
    """Do a step; objects are made when they are missing, else written."""
    match step:
        case ("vm", ref, label):
            put(db, tx, "VM", ref, name_label=label, uuid=f"{label}{ref}")
        case ("vbd", ref, vm):
            put(db, tx, "VBD", ref, VM=vm)
        case ("host", ref, refs):
            put(db, tx, "host", ref, updates=tuple(refs))
        case ("update", ref, refs):
            put(db, tx, "pool_update", ref, hosts=tuple(refs))
        case ("delete", cls, ref):
            if db.find(cls, ref) is not None:
                tx.delete(cls, ref)
        case ("fail", steps):
            try:
                with db.transaction() as inner:
                    for one in steps:
                        apply(db, inner, one)
                    raise ApiError("STOP")
            except ApiError:
                pass


def put(db: DictView, tx: Transaction, cls: str, ref: str, **values: Any) -> None:
    if db.find(cls, ref) is None:
        tx.create(cls, {**values, "ref": ref})
    else:
        tx.update(cls, ref, **values)


def picture(db: DictView) -> dict[str, Any]:
    """Everything that can be seen of the database."""
    seen: dict[str, Any] = {"generation": db.generation}
    for cls in ("VM", "VBD", "host", "pool_update"):
        table = db.tables[cls]
        seen[cls] = {
            row.ref: [row.modified, row.created_generation]
            + [c.get(row) if c.kind != MANY else tuple(c.get(row)) for c in table.columns.values()]
            for row in db.rows(cls)
        }
        seen[f"{cls} uuids"] = dict(table.uuids)
        seen[f"{cls} recent"] = list(table.recent)
        seen[f"{cls} deleted"] = list(table.deleted)
        seen[f"{cls} missing"] = {
            ref: {name: tuple(refs) for name, refs in held.items()}
            for ref, held in table.ghosts.items()
        }
    seen["labels"] = {label: sorted(db.by_name_label("VM", label)) for label in ("a", "b")}
    return seen


def agrees(db: DictView) -> None:
    """Check collections and indexes against a scan of all objects."""
    for vm in db.rows("VM"):
        assert set(vm.VBDs) == {v.ref for v in db.rows("VBD") if vm.ref == v.VM}
        assert db.by_uuid("VM", vm.uuid) == vm.ref
        assert vm.ref in db.by_name_label("VM", vm.name_label)
    for host in db.rows("host"):
        known = {u.ref for u in db.rows("pool_update") if host.ref in u.hosts}
        assert {u for u in host.updates if db.find("pool_update", u)} == known


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=st.lists(STEPS, max_size=15), undone=st.lists(STEPS, max_size=15))
def test_a_failed_transaction_leaves_everything_as_it_was(
    before: list[tuple[Any, ...]], undone: list[tuple[Any, ...]]
) -> None:
    db = DictView()
    for step in before:
        with db.transaction() as tx:
            apply(db, tx, step)
    agrees(db)
    seen = picture(db)
    try:
        with db.transaction() as tx:
            for step in undone:
                apply(db, tx, step)
            agrees(db)
            raise ApiError("STOP")
    except ApiError:
        pass
    assert picture(db) == seen


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, max_size=25))
def test_a_restart_gives_the_same_objects(steps: list[tuple[Any, ...]]) -> None:
    engine = MemoryEngine()
    db = DictView(engine)
    for step in steps:
        with db.transaction() as tx:
            apply(db, tx, step)
    again = DictView(engine)
    agrees(again)
    for cls in ("VM", "VBD", "host", "pool_update"):
        assert sorted(again.refs(cls)) == sorted(db.refs(cls))
        for row in db.rows(cls):
            for column in db.tables[cls].columns.values():
                now, was = getattr(again.row(cls, row.ref), column.name), column.get(row)
                if column.target:
                    now, was = (sorted(v) if not isinstance(v, str) else v for v in (now, was))
                assert now == was

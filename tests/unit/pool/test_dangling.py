from collections.abc import Callable

import pytest
from twisted.internet.task import Clock

from xapi_py.base.names import NULL_REF, Ref
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.memory import MemoryEngine
from xapi_py.pool.dangling import DanglingRows

Make = Callable[..., Ref]


@pytest.fixture
def db() -> Database:
    return Database(load_model("all"), MemoryEngine(), Clock())


@pytest.fixture
def make(db: Database) -> Make:
    def create(cls: str, **fields: object) -> Ref:
        with db.transaction() as tx:
            return tx.create(cls, fields)

    return create


def tidy(dangling: DanglingRows) -> None:
    for _ in dangling.tidy():
        pass


def delete(db: Database, cls: str, ref: Ref) -> None:
    with db.transaction() as tx:
        tx.delete(cls, ref)


@pytest.mark.parametrize(
    ("cls", "field", "owner"),
    [("VIF", "VM", "VM"), ("VBD", "VM", "VM"), ("console", "VM", "VM"), ("PBD", "SR", "SR")],
)
def test_rows_go_with_their_owner(
    db: Database, make: Make, cls: str, field: str, owner: str
) -> None:
    gone, stays = make(owner), make(owner)
    orphan, kept = make(cls, **{field: gone}), make(cls, **{field: stays})
    dangling = DanglingRows(db)
    delete(db, owner, gone)
    tidy(dangling)
    assert (db.find(cls, orphan), db.find(cls, kept) is not None) == (None, True)


def test_metrics_go_when_nobody_refers_to_them(db: Database, make: Make) -> None:
    lost, used = make("VM_metrics"), make("VM_metrics")
    gone = make("VM", metrics=lost)
    make("VM", metrics=used)
    dangling = DanglingRows(db)
    delete(db, "VM", gone)
    tidy(dangling)
    assert list(db.refs("VM_metrics")) == [used]


def test_drive_of_a_disk_that_went_is_empty(db: Database, make: Make) -> None:
    disk = make("VDI")
    drive = make("VBD", VM=make("VM"), VDI=disk, empty=False)
    dangling = DanglingRows(db)
    delete(db, "VDI", disk)
    tidy(dangling)
    row = db.row("VBD", drive)
    assert (row.VDI, row.empty) == (NULL_REF, True)


def test_reference_to_what_went_is_nulled(db: Database, make: Make) -> None:
    sr = make("SR")
    pool = make("pool", default_SR=sr)
    dangling = DanglingRows(db)
    delete(db, "SR", sr)
    tidy(dangling)
    assert db.row("pool", pool).default_SR == NULL_REF


def test_reference_that_never_named_anything_stays(db: Database, make: Make) -> None:
    pool = make("pool", default_SR="OpaqueRef:nothing")
    dangling = DanglingRows(db)
    delete(db, "SR", make("SR"))
    tidy(dangling)
    assert db.row("pool", pool).default_SR == "OpaqueRef:nothing"


def test_idle_pass_writes_nothing(db: Database, make: Make) -> None:
    make("VIF", VM="OpaqueRef:nothing")
    dangling = DanglingRows(db)
    before = db.generation
    tidy(dangling)
    assert db.generation == before

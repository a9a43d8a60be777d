"""The sqlite engine on real files."""

import os
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from xapi_py.base.names import Ref
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.engine import Batch, StoredRow
from xapi_py.db.engines.sqlite import SqliteEngine
from xapi_py.db.failures import (
    CorruptDatabase,
    DatabaseError,
    DatabaseInUse,
    UnsupportedSchema,
)
from xapi_py.db.upgrade import Step, rename_class, rename_field


class ThreadCalls:
    """Takes calls of the engine's thread and makes them when asked."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = SimpleQueue()

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:  # noqa: N802
        self._calls.put((call, args))

    def wait_for(self, deferred: "Deferred[Any]") -> Any:
        results: list[Any] = []
        deferred.addBoth(results.append)
        while not results:
            call, args = self._calls.get(timeout=20)
            call(*args)
        if isinstance(results[0], Exception) or hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]


class Site:
    """A database on a file, as one process after the other opens it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls = ThreadCalls()
        self.clock = Clock()
        self.open: list[Database] = []

    def start(self, steps: tuple[Step, ...] = ()) -> Database:
        engine = SqliteEngine(self.path, self.calls, steps)
        db = Database(load_model("all"), engine, self.clock)
        self.open.append(db)
        return db

    def settle(self, db: Database) -> None:
        waiter = db.durable()
        self.clock.advance(0)
        self.calls.wait_for(waiter)

    def stop(self, db: Database) -> None:
        self.open.remove(db)
        self.calls.wait_for(db.close())


@pytest.fixture
def site(tmp_path: Path) -> Any:
    made = Site(tmp_path / "state.sqlite")
    yield made
    for db in made.open:
        made.stop(db)


def make(db: Database, cls: str, **values: Any) -> Ref:
    with db.transaction() as tx:
        return tx.create(cls, values)


def test_a_restart_finds_what_was_written(site: Site) -> None:
    db = site.start()
    vm = make(db, "VM", name_label="web", tags=("a",))
    gone = make(db, "VM")
    site.settle(db)
    with db.transaction() as tx:
        tx.set("VM", vm, "name_label", "www")
        tx.delete("VM", gone)
    site.stop(db)
    again = site.start()
    assert again.refs("VM") == (vm,)
    assert again.row("VM", vm).name_label == "www"
    assert again.start_generation > db.generation


def test_the_file_is_private(site: Site) -> None:
    site.start()
    assert stat.S_IMODE(site.path.stat().st_mode) == 0o600


def test_a_second_process_is_refused_by_name(site: Site) -> None:
    db = site.start()
    with pytest.raises(DatabaseInUse, match=str(site.path)):
        site.start()
    site.stop(db)
    site.start()


def test_a_damaged_file_is_named(site: Site) -> None:
    site.path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(CorruptDatabase, match=str(site.path)):
        site.start()


def test_damaged_pages_are_found_at_start(site: Site) -> None:
    db = site.start()
    for i in range(200):
        make(db, "VM", name_label=str(i))
    site.stop(db)
    content = bytearray(site.path.read_bytes())
    content[8192:65536] = b"\xa5" * (65536 - 8192)
    site.path.write_bytes(content)
    with pytest.raises(CorruptDatabase, match=str(site.path)):
        site.start()


@pytest.mark.parametrize("fields", [b"{", b"[]", b'{"tags": 3}'])
def test_a_damaged_object_is_named_with_its_file(site: Site, fields: bytes) -> None:
    db = site.start()
    vm = make(db, "VM")
    site.stop(db)
    with sqlite3.connect(site.path) as connection:
        connection.execute("UPDATE object SET fields = ?", (fields,))
    connection.close()
    with pytest.raises(CorruptDatabase, match=f"{site.path}.*VM {vm}"):
        site.start()


def test_a_database_of_another_program_is_left_alone(site: Site) -> None:
    connection = sqlite3.connect(site.path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = site.path.read_bytes()
    with pytest.raises(CorruptDatabase, match="another program"):
        site.start()
    assert site.path.read_bytes()[100:] == before[100:]


def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="nowhere"):
        SqliteEngine(tmp_path / "nowhere" / "x", ThreadCalls()).load(1)


def test_an_old_file_is_upgraded_step_by_step(site: Site) -> None:
    db = site.start()
    vm = make(db, "VM", name_label="x")
    site.stop(db)
    rewrite(site.path, "VM", b'{"uuid": "u", "label": "old name"}')
    steps = (rename_class("VM", "Guest"), rename_field("Guest", "label", "name_label"))
    site.stop(site.start(steps))
    row = site.start((*steps, rename_class("Guest", "VM"))).row("VM", vm)
    assert (row.name_label, row.uuid, row.power_state) == ("old name", "u", "Halted")


def test_a_failing_upgrade_changes_nothing(site: Site) -> None:
    db = site.start()
    vm = make(db, "VM", name_label="x")
    site.stop(db)

    def broken(_: object) -> None:
        raise UnsupportedSchema("no")

    with pytest.raises(UnsupportedSchema):
        site.start((rename_class("VM", "Guest"), Step("broken", broken)))
    assert site.start().row("VM", vm).name_label == "x"


def test_a_file_of_a_newer_version_is_refused(site: Site) -> None:
    site.stop(site.start((Step("future", lambda _: None),)))
    with pytest.raises(UnsupportedSchema, match=str(site.path)):
        site.start()


def test_objects_of_unknown_classes_do_not_stop_the_start(site: Site) -> None:
    db = site.start()
    make(db, "VM")
    site.stop(db)
    rewrite(site.path, "gone_class", b"{}")
    assert site.start().count("VM") == 0


def test_a_batch_that_fails_half_way_leaves_nothing(site: Site) -> None:
    engine = SqliteEngine(site.path, site.calls)
    engine.load(1)
    good = StoredRow("VM", "OpaqueRef:1", b"{}", 1, 1)
    bad = StoredRow("VM", "OpaqueRef:2", None, 1, 1)  # type: ignore[arg-type]
    with pytest.raises(sqlite3.Error):
        site.calls.wait_for(engine.commit(Batch(rows=[good, bad])))
    site.calls.wait_for(engine.commit(Batch(rows=[good])))
    site.calls.wait_for(engine.close())
    again = SqliteEngine(site.path, site.calls)
    assert again.load(1).rows == [good]
    site.calls.wait_for(again.close())


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 73, 200])
def test_batches_of_any_size_are_kept_whole(site: Site, count: int) -> None:
    engine = SqliteEngine(site.path, site.calls)
    engine.load(1)
    rows = [StoredRow("VM", f"OpaqueRef:{n}", b"%d" % n, 1, n) for n in range(count)]
    site.calls.wait_for(engine.commit(Batch(rows=rows)))
    changed = [row._replace(values=b"{}", modified=row.modified + 1) for row in rows]
    site.calls.wait_for(engine.commit(Batch(rows=list(reversed(changed)))))
    site.calls.wait_for(engine.close())
    again = SqliteEngine(site.path, site.calls)
    assert sorted(again.load(1).rows) == sorted(changed)
    site.calls.wait_for(again.close())


def test_a_snapshot_is_a_database_of_its_own(site: Site, tmp_path: Path) -> None:
    engine = SqliteEngine(site.path, site.calls)
    db = Database(load_model("all"), engine, site.clock)
    vm = make(db, "VM", name_label="x")
    site.settle(db)
    site.calls.wait_for(engine.snapshot(tmp_path / "copy"))
    site.calls.wait_for(db.close())
    copy = Site(tmp_path / "copy")
    opened = copy.start()
    assert opened.row("VM", vm).name_label == "x"
    copy.stop(opened)


def rewrite(path: Path, cls: str, fields: bytes) -> None:
    """Make every object one of ``cls`` with these fields."""
    connection = sqlite3.connect(path)
    connection.execute("UPDATE object SET class = ?, fields = ?", (cls, fields))
    connection.commit()
    connection.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    left = os.statvfs(folder)
    with (folder / "filler").open("ab") as file:
        file.write(bytes(left.f_bavail * left.f_frsize))


def test_the_spare_room_lets_a_database_open_on_a_full_file_system(small: Path) -> None:
    site = Site(small / "state.sqlite")
    db = site.start()
    vm = make(db, "VM", name_label="web")
    site.settle(db)
    site.stop(db)
    fill(small)
    again = site.start()
    make(again, "VM", name_label="written in the spare room")
    site.settle(again)
    site.stop(again)
    fill(small)
    with pytest.raises(DatabaseError, match=r"state\.sqlite cannot be opened"):
        site.start()
    (small / "filler").unlink()
    last = site.start()
    assert last.row("VM", vm).name_label == "web"
    assert last.by_name_label("VM", "written in the spare room")
    site.stop(last)

"""Replacing the database by an uploaded one, in steps that survive loss of power.

An upload that was accepted lies beside the database.  The next start makes a
new database of it, puts it in the place of the old one and only then removes
the upload; a start that is cut short begins again.  The old database is kept.
"""

import logging
import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from ocaml_compat import state_db
from xapi_py.base.reactor import Clock
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.sqlite import SqliteEngine
from xapi_py.db.xml_database import import_database

log = logging.getLogger(__name__)

UPLOAD = "restore.xml"
KEPT = "state.sqlite.before-restore"


def store_upload(state: Path, content: bytes) -> None:
    """Keep an accepted upload for the next start."""
    replace_file(state / UPLOAD, content)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file for this user alone: all of it or nothing."""
    partial = path.with_name(f"{path.name}.new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


async def apply_upload(state: Path, reactor: Clock) -> None:
    """Put an upload in the place of the database, if there is one."""
    upload = state / UPLOAD
    if not upload.exists():
        return
    fresh, current = state / "state.sqlite.restoring", state / "state.sqlite"
    _remove(fresh)
    engine: Any = SqliteEngine(fresh, reactor)  # type: ignore[arg-type]
    db = Database(load_model("all"), engine, reactor)
    report = import_database(db, state_db.parse(upload.read_bytes()))
    await db.durable()
    closed: Deferred[None] = db.close()
    await closed
    log.info("restored %d objects, left out %s", report.imported.total(), report.unknown_tables)
    if current.exists():
        _remove(state / KEPT)
        for suffix in ("", "-wal"):
            part = state / f"{current.name}{suffix}"
            if part.exists():
                part.rename(state / f"{KEPT}{suffix}")
    fresh.rename(current)
    upload.unlink()


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", ".lock"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)

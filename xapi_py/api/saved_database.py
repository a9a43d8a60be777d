"""Databases of this or another pool, saved to a file and read by a session of their own."""

from pathlib import Path

from twisted.internet.task import Clock

from ocaml_compat import state_db
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.model import MessageDef
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.memory import MemoryEngine
from xapi_py.db.xml_database import import_database
from xapi_py.session.sessions import Session

READS = frozenset(
    {
        *("get", "get_record", "get_by_uuid", "get_by_name_label"),
        *("get_all", "get_all_where", "get_all_records", "get_all_records_where"),
    }
)
"""The implicit messages that only look at the database."""

OTHERS = frozenset(
    {
        "session.logout",
        *(
            f"{cls}.{name}"
            for cls in ("VM", "VM_appliance")
            for name in (
                *("recover", "assert_can_be_recovered"),
                "get_SRs_required_for_recovery",
            )
        ),
    }
)


def check(session: Session, message: MessageDef) -> None:
    """Refuse what a session on a saved database cannot do.  Errors: NOT_IMPLEMENTED."""
    known = session.db is None or message.implicit in READS or message.wire_name in OTHERS
    if not known:
        raise err.NOT_IMPLEMENTED(message.wire_name)


def load(path: Path) -> Database:
    """Read a saved database into memory; takes long, call it in a thread.

    Errors: INTERNAL_ERROR.
    """
    try:
        state = state_db.parse(path.read_bytes())
    except OSError as error:
        text = f'Sys_error("{path}: {error.strerror}")'
        raise err.INTERNAL_ERROR(text) from error
    except state_db.StateDbError as error:
        raise err.INTERNAL_ERROR(f"{path} is no database: {error}") from error
    db = Database(load_model("all"), MemoryEngine(), Clock())  # type: ignore[arg-type]
    import_database(db, state)
    return db

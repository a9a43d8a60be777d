"""A small database made of plain values, for tests of pure code."""

from typing import Any

from twisted.internet.task import Clock

from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.memory import MemoryEngine
from xapi_py.db.row import Row


class DictView(Database):
    """A ``View`` that a test fills with objects; relations work as always.

    Nothing is stored and time stands still.
    """

    def __init__(self, engine: MemoryEngine | None = None) -> None:
        super().__init__(load_model("all"), engine or MemoryEngine(), Clock())

    def add(self, cls: str, /, **values: Any) -> Row:
        """Add an object; absent fields have their defaults."""
        with self.transaction() as tx:
            ref = tx.create(cls, values)
        return self.row(cls, ref)

    def change(self, row: Row, /, **values: Any) -> Row:
        """Write fields of an object."""
        with self.transaction() as tx:
            tx.update(row.api_class, row.ref, **values)
        return row

    def remove(self, row: Row, /) -> None:
        """Remove an object."""
        with self.transaction() as tx:
            tx.delete(row.api_class, row.ref)

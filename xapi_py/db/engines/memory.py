"""An engine that keeps rows as long as the process lives."""

from twisted.internet.defer import Deferred, succeed

from xapi_py.db.engines.engine import Batch, RowKey, Stored, StoredRow


class MemoryEngine:
    """Keep rows in a dict; a second ``Database`` on it sees a restart."""

    immediate = True
    name = "memory"

    def __init__(self) -> None:
        self.rows: dict[RowKey, StoredRow] = {}
        self.reserved = 0
        self.commits = 0

    def load(self, reserve: int) -> Stored:
        before, self.reserved = self.reserved, self.reserved + reserve
        return Stored(list(self.rows.values()), before)

    def commit(self, batch: Batch) -> Deferred[None]:
        for key in batch.deleted:
            self.rows.pop(key, None)
        for row in batch.rows:
            self.rows[row.cls, row.ref] = row
        self.reserved = max(self.reserved, batch.reserved)
        self.commits += 1
        return succeed(None)

    def close(self) -> Deferred[None]:
        return succeed(None)

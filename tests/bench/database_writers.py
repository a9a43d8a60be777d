"""Many writers in one process, each waiting until its write is durable; prints writes a second."""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, DeferredList

from tests.bench.pool import seed
from xapi_py.base.names import Ref
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.sqlite import SqliteEngine


async def write(db: Database, vm: Ref, end: float) -> int:
    """Write one field again and again until the time is over."""
    count = 0
    while time.perf_counter() < end:
        with db.transaction() as tx:
            tx.set("VM", vm, "name_description", f"write {count}")
        await db.durable()
        count += 1
    return count


def main(writers: int, seconds: float) -> None:
    """Measure and print."""
    reactor: Any = installed_reactor

    def begin() -> None:
        folder = tempfile.mkdtemp(prefix="xb-", dir="/tmp")
        path = Path(folder) / "state.sqlite"
        db = Database(load_model("all"), SqliteEngine(path, reactor), reactor)
        vms = [Ref(ref) for ref in seed(db, writers)]
        end = time.perf_counter() + seconds
        running = [Deferred.fromCoroutine(write(db, vm, end)) for vm in vms]

        def over(results: list[tuple[bool, int]]) -> None:
            print(sum(count for _, count in results) / seconds, flush=True)
            for file in path.parent.iterdir():
                file.unlink()
            path.parent.rmdir()
            reactor.stop()

        DeferredList(running).addCallback(over)

    reactor.callWhenRunning(begin)
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))

"""No acknowledged write is lost when the process is killed at any moment."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from twisted.internet.task import Clock

from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.sqlite import SqliteEngine

pytestmark = pytest.mark.integration

ROUNDS: Final = 6

# Writes pairs of objects from several coroutines for ever; prints the label of each pair
# after it became durable.
WRITER: Final = """
import os, sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.sqlite import SqliteEngine

async def write(db, name):
    for i in range(1_000_000):
        label = f"{name}-{i}"
        with db.transaction() as tx:
            vm = tx.create("VM", {"name_label": label, "name_description": "x" * 5000})
            tx.create("VBD", {"VM": vm, "userdevice": label})
            tx.delete("VM", tx.create("VM", {"name_label": "never"}))
        await db.durable()
        os.write(1, f"{label} {db.generation}\\n".encode())

def main():
    db = Database(load_model("all"), SqliteEngine(Path(sys.argv[1]), reactor), reactor)
    for i in range(5):
        Deferred.fromCoroutine(write(db, f"{sys.argv[2]}-{i}"))

reactor.callWhenRunning(main)
reactor.run()
"""


class NoReactor:
    """The check reads only; nothing is ever called back."""

    def callFromThread(self, *_: object) -> None:  # noqa: N802
        raise AssertionError("nothing was written")


def run_until_killed(path: Path, name: str, lines: int) -> list[tuple[str, int]]:
    """Let a writer run for some acknowledged writes, then kill it."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline() for _ in range(lines)]
        writer.kill()
        acknowledged += writer.stdout.readlines()
    complete = [line.split() for line in acknowledged if line.endswith(b"\n")]
    return [(label.decode(), int(generation)) for label, generation in complete]


def test_acknowledged_writes_survive_kill_at_random_moments(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    chance = random.Random(20)
    acknowledged: list[tuple[str, int]] = []
    for number in range(ROUNDS):
        lines = chance.randrange(1, 120)
        acknowledged += run_until_killed(path, str(number), lines)
    engine = SqliteEngine(path, NoReactor())
    db = Database(load_model("all"), engine, Clock())
    for label, generation in acknowledged:
        (vm,) = db.by_name_label("VM", label)
        (vbd,) = db.row("VM", vm).VBDs
        assert db.row("VBD", vbd).userdevice == label
        assert generation < db.start_generation
    assert db.by_name_label("VM", "never") == ()
    assert db.count("VM") == db.count("VBD")
    assert len(acknowledged) >= ROUNDS

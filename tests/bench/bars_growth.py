"""Bar 6: cost for each object as their number grows; memory for each VM."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from tests.bench.measure import Line, Scale, memory_bytes, us
from tests.bench.pool import seed_file
from xapi_py.datamodel.profiles import load_model
from xapi_py.db.database import Database
from xapi_py.db.engines.sqlite import SqliteEngine
from xapi_py.wire.xmlrpc import XMLRPC

MEASUREMENTS = ("write", "load", "cold listing")
MAX_GROWTH = 1.3
MAX_VM_BYTES = 20_480


def in_own_process(count: int) -> dict[str, float]:
    """Measure with so many objects in a process of its own: seconds for each object."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="xb-", dir="/tmp") as folder:
        for step in STEPS:
            command = [sys.executable, "-m", "tests.bench.bars_growth", step, folder, str(count)]
            answer = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
            found |= json.loads(answer)
    return found


def write(path: Path, count: int) -> dict[str, float]:
    """Write ``count`` objects, half of them VMs, half their metrics."""
    seed_file(path, 1)
    return {"write": _time(lambda: seed_file(path, count // 2)) / count}


def read(path: Path, count: int) -> dict[str, float]:
    """Load and list what ``write`` wrote."""
    vms = count // 2
    model = load_model("7.1")
    load_model("all")
    with tempfile.TemporaryDirectory(dir="/tmp") as empty:
        _open(Path(empty) / "state.sqlite")  # imports and first uses are no part of it
        found: dict[str, float] = {}
        before = memory_bytes(_own())
        opened: list[Database] = []
        found["load"] = _time(lambda: opened.append(_open(path)))
        found["memory"] = float(memory_bytes(_own()) - before)
        db = opened[0]
        definition = model.classes["VM"]

        def listing() -> None:
            for piece in XMLRPC.records(db.rows("VM"), definition, model):
                len(piece)

        found["cold listing"] = _time(listing)
        found["listing again"] = min(_time(listing) for _ in range(3))
        db.close()
    per_object = {name: seconds / count for name, seconds in found.items()}
    per_object["memory"] = found["memory"] / vms
    return per_object


STEPS = {"write": write, "read": read}


def _open(path: Path) -> Database:
    return Database(load_model("all"), SqliteEngine(path, _NoReactor()), Clock())


class _NoReactor:
    def callFromThread(self, *_: Any) -> None:  # noqa: N802
        pass


def _own() -> int:
    return int(Path("/proc/self").resolve().name)


def _time(work: Any) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def run(scale: Scale) -> list[Line]:
    """Measure bar 6 at every size, the smallest repeated around each."""
    smallest, *_, largest = scale.growth
    rounds = [
        (in_own_process(smallest), in_own_process(largest)) for _ in range(min(2, scale.rounds))
    ]
    middle = [in_own_process(size) for size in scale.growth[1:-1]]
    lines = []
    for name in MEASUREMENTS:
        small = min(r[0][name] for r in rounds)
        large = min(r[1][name] for r in rounds)
        ratio = large / small
        between = "".join(f", {us(m[name])}" for m in middle)
        what = f"{name}, CPU per object: {smallest}{between and f'{between} between'}, {largest}"
        met = ratio <= MAX_GROWTH
        limit = f"<= {MAX_GROWTH}"
        lines.append(Line("6", what, us(small), us(large), f"{ratio:.2f}", limit, met))
    again = [min(r[i]["listing again"] for r in rounds) for i in (0, 1)]
    what = "listing again, CPU per object; beyond the cache's bound records are encoded anew"
    lines.append(Line("", what, us(again[0]), us(again[1]), f"{again[1] / again[0]:.2f}"))
    memory = min(r[1]["memory"] for r in rounds)
    what = f"memory per VM with its metrics, of {largest // 2}"
    limit = f"<= {MAX_VM_BYTES // 1024} KB"
    shown = f"{memory / 1024:.1f} KB"
    lines.append(Line("6", what, "20 KB", shown, "", limit, memory <= MAX_VM_BYTES))
    return lines


if __name__ == "__main__":
    _, name, place, number = sys.argv
    print(json.dumps(STEPS[name](Path(place) / "state.sqlite", int(number))))

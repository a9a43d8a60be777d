"""Work on a volume SR that a power cut may end at any moment, and checking what is left of it.

``python3 -m tests.system.block_load begin|load SECONDS SEED|check``: what was done is noted on
/dev/vdd, durably, before and after each step; the SR is on /dev/vdc.
"""

import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sm.contract import VdiSpec
from sm.volumes.device import BLOCK, Device
from tests.system.block_inside import RealHost, activate
from tests.unit.sm.files.file_host import MIB, wait

NOTES = Path("/dev/vdd")
PIECES = 16
SIZE = PIECES * MIB


class Notes:
    """A list of values, each durable when ``add`` returns."""

    def __init__(self) -> None:
        self._device = Device(NOTES)
        self.values: list[Any] = []
        while (block := self._device.pread(len(self.values) * BLOCK, BLOCK))[:1] == b"{":
            self.values.append(json.loads(block.rstrip(b"\0")))

    def add(self, **value: Any) -> None:
        self._device.pwrite(json.dumps(value).encode(), len(self.values) * BLOCK)
        self.values.append(value)

    def clear(self) -> None:
        self._device.zero(0, 64 * MIB)
        self.values.clear()


def begin(folder: Path) -> None:
    notes = Notes()
    notes.clear()
    host = RealHost(folder)
    host.start()
    vdi = host.make(SIZE).uuid
    notes.add(sr=host.sr_uuid, disks={vdi: {}}, main=vdi)
    wait(host.sr.detach())


def state(notes: Notes) -> tuple[str, str, dict[str, dict[str, int]], dict[str, Any]]:
    """SR, the disk that is written to, what disks hold, and what was under way."""
    first = notes.values[0]
    disks: dict[str, dict[str, int]] = {k: dict(v) for k, v in first["disks"].items()}
    doing: dict[str, Any] = {}
    for note in notes.values[1:]:
        if "do" in note:
            doing = note
            continue
        doing = {}
        for vdi, pieces in note["disks"].items():
            if pieces is None:
                disks.pop(vdi, None)
            else:
                disks[vdi] = pieces
    return first["sr"], first["main"], disks, doing


def load(folder: Path, seconds: float, seed: int) -> None:
    """Write, snapshot, delete, merge, until the time is over or the power goes."""
    notes, choice = Notes(), random.Random(seed)
    sr, main, disks, _ = state(notes)
    host = RealHost(folder)
    host.sr_uuid = sr
    host.attach()
    activate(host, main)
    end = time.monotonic() + seconds
    print("working", flush=True)
    while time.monotonic() < end:
        kind = choice.choice(["write", "write", "snapshot", "destroy", "collect"])
        others = [d for d in disks if d != main]
        if kind == "write":
            piece, pattern = str(choice.randrange(PIECES)), choice.randrange(1, 256)
            notes.add(do="write", piece=piece, pattern=pattern)
            host.write_live(main, int(piece) * MIB, MIB, pattern)
            disks[main][piece] = pattern
            notes.add(disks={main: disks[main]})
        elif kind == "snapshot" and len(others) < 3:
            notes.add(do="snapshot")
            vdi = wait(host.sr.vdi_snapshot(main, VdiSpec())).uuid
            disks[vdi] = dict(disks[main])
            notes.add(disks={vdi: disks[vdi]})
        elif kind == "destroy" and others:
            vdi = choice.choice(others)
            notes.add(do="destroy", vdi=vdi)
            wait(host.sr.vdi_destroy(vdi))
            del disks[vdi]
            notes.add(disks={vdi: None})
        elif kind == "collect":
            notes.add(do="collect")
            wait(host.sr.collect_garbage())
            notes.add(disks={})


def check(folder: Path) -> None:
    """Compare what disks hold with the notes; what was under way may have happened or not."""
    notes = Notes()
    sr, main, disks, doing = state(notes)
    host = RealHost(folder)
    host.sr_uuid = sr
    host.attach()
    wait(host.sr.release_locks("host"))
    found = {u for u, v in host.vdis().items() if v.managed}
    assert not any(v.missing for v in host.vdis().values())
    gone = disks.keys() - found
    assert gone <= ({doing["vdi"]} if doing.get("do") == "destroy" else set()), gone
    for vdi in found - disks.keys():
        assert doing.get("do") == "snapshot"
        disks[vdi] = dict(disks[main])
    for vdi in gone:
        del disks[vdi]
    for vdi, pieces in disks.items():
        wanted = [(int(p) * MIB, MIB, pattern) for p, pattern in pieces.items()]
        unsure = doing.get("piece") if vdi == main else None
        host.holds(vdi, *(w for w in wanted if unsure is None or w[0] != int(unsure) * MIB))
    if doing.get("do") == "write":
        host.write(main, int(doing["piece"]) * MIB, MIB, doing["pattern"])
        disks[main][doing["piece"]] = doing["pattern"]
    wait(host.sr.collect_garbage())
    images = [v for v in host.volumes() if v != "MGT"]
    assert len(images) == len(host.vdis()), "an image is left over"
    wait(host.sr.detach())
    assert host.active() == set()
    notes.clear()
    notes.add(sr=sr, disks=disks, main=main)
    print(f"{len(disks)} disks as they should be, cut while: {doing or 'nothing'}")


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp(prefix="load-"))
    match sys.argv[1]:
        case "begin":
            begin(place)
        case "load":
            load(place, float(sys.argv[2]), int(sys.argv[3]))
        case _:
            check(place)

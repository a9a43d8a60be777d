"""A storage daemon under kill -9, with a model of what every disk must hold.

Calls may be cut short at any moment: then they happened or not, and everything
else is certain.  A piece of a disk that was being written may hold either.
"""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sm.files.record_log import RecordLog
from tests.integration.daemon_process import ConnectionGone, DaemonProcess
from tests.integration.test_smd_files import backends_of, children_of
from xapi_py.base.nbd.client import NbdClient
from xapi_py.base.rpc.errors import RpcError

MIB: Final = 1024**2
PIECE: Final = 256 * 1024
SIZE: Final = 16 * MIB
MAX_DISKS: Final = 6
VICTIMS: Final = ("daemon", "backends", "host")
"""What a round kills: smd with its workers; QEMU's processes; all of them at once."""


def processes_of(pid: int) -> list[int]:
    """A process and what it started."""
    try:
        children = children_of(pid)
    except OSError:
        return []
    return [pid, *(number for child in children for number in processes_of(child))]


@dataclass
class Disk:
    """What the pieces of a disk hold; ``unsure`` ones may hold the other value too."""

    pieces: dict[int, int] = field(default_factory=dict)
    unsure: dict[int, set[int]] = field(default_factory=dict)
    size: int = SIZE

    def copy(self) -> "Disk":
        return Disk(dict(self.pieces), {n: set(v) for n, v in self.unsure.items()}, self.size)

    def differs(self, data: bytes) -> str:
        """Say where a disk's content is not as it must be, and settle what was unsure."""
        if len(data) != self.size:
            return f"{len(data)} bytes instead of {self.size}"
        for number in range(len(data) // PIECE):
            piece = data[number * PIECE : (number + 1) * PIECE]
            known = self.pieces.get(number, 0)
            for value in {known, *self.unsure.get(number, ())}:
                if piece == bytes([value]) * PIECE:
                    self.pieces[number] = value
                    break
            else:
                return f"piece {number} is not {known} but {set(piece[::4096])}"
        self.unsure.clear()
        return ""


class Killed:
    """Rounds of work on one SR, one disk of which is in use all the time."""

    def __init__(self, smd: DaemonProcess, folder: Path, seed: int) -> None:
        self.smd = smd
        self.folder = folder
        self.choice = random.Random(seed)
        self.done: dict[str, int] = {}
        self.cut: dict[str, int] = {}
        self.history: list[str] = []
        self.disks: dict[str, Disk] = {}
        self.sr, self.config = str(uuid.uuid4()), {"location": str(folder / "disks")}
        (folder / "disks").mkdir()
        smd.call("SR.create", sr=self.sr, type="file", device_config=self.config)
        smd.call("SR.attach", sr=self.sr, type="file", device_config=self.config)
        self.active = self.create()
        self.key = {"sr": self.sr, "vdi": self.active, "dp": "vbd/1/xvda"}
        self.client = self.connect()

    def create(self) -> str:
        vdi = str(uuid.uuid4())
        self.smd.call("VDI.create", sr=self.sr, vdi_info={"uuid": vdi, "virtual_size": SIZE})
        self.disks[vdi] = Disk()
        return vdi

    # -- a guest's side

    def connect(self) -> NbdClient:
        """Have the disk in use, as a VM that starts (again) does."""
        for method in ("VDI.deactivate", "VDI.detach"):
            self.smd.call(method, **self.key)
        answer = self.smd.call("VDI.attach2", **self.key, vm="1", read_write=True)
        self.smd.call("VDI.activate3", **self.key)
        uri = dict(answer["implementations"])["Nbd"]["uri"]
        return NbdClient(uri.partition("socket=")[2], self.active)

    def write(self) -> None:
        """Write a piece; it is certain once it was flushed."""
        disk, number = self.disks[self.active], self.choice.randrange(SIZE // PIECE)
        value = self.choice.randrange(1, 256)
        disk.unsure.setdefault(number, set()).update({value, disk.pieces.get(number, 0)})
        self.client.write(number * PIECE, bytes([value]) * PIECE)
        self.client.flush()
        disk.pieces[number] = value
        del disk.unsure[number]

    # -- operations

    def operation(self) -> tuple[str, dict[str, object]]:
        """Choose what to do next: method and parameters."""
        others = [v for v in self.disks if v != self.active]
        name = self.choice.choice(["snapshot", "snapshot", "clone", "collect", "collect"])
        if others:
            name = self.choice.choice([name, "destroy", "resize", "copy", "collect", "snapshot"])
        if len(self.disks) >= MAX_DISKS and name in ("snapshot", "clone", "copy"):
            name = "destroy"
        info = {"vdi_info": {"uuid": str(uuid.uuid4())}}
        other = self.choice.choice(others) if others else ""
        match name:
            case "snapshot":
                return "VDI.snapshot", {"vdi": self.active, **info}
            case "clone":
                return "VDI.clone", {"vdi": self.choice.choice(list(self.disks)), **info}
            case "copy":
                return "VDI.copy", {"vdi": other, "dest_sr": self.sr}
            case "destroy":
                return "VDI.destroy", {"vdi": other}
            case "resize":
                size = self.disks[other].size + 2 * MIB
                return "VDI.resize", {"vdi": other, "new_size": size}
            case _:
                return "SR.collect_garbage", {}

    def attempt(self, victim: str, delay: float) -> None:
        """Carry an operation out while data is written, and kill something meanwhile."""
        method, params = self.operation()
        self.history.append(f"{method} {params}, killed: {victim}")
        frozen = method in ("VDI.snapshot", "VDI.clone")
        before = {vdi: disk.copy() for vdi, disk in self.disks.items()}
        answers: list[object] = []
        caller = threading.Thread(target=self.call, args=(method, params, answers))
        killer = threading.Timer(delay, self.kill, [victim])
        caller.start()
        killer.start()
        with contextlib.suppress(OSError):
            while caller.is_alive() and not frozen:
                self.write()
        caller.join()
        killer.join()
        counts = self.done if answers and answers[0] is None else self.cut
        counts[method] = counts.get(method, 0) + 1
        self.recover(victim)
        self.settle(method, params, before)

    def call(self, method: str, params: dict[str, object], answers: list[object]) -> None:
        try:
            self.smd.call(method, sr=self.sr, **params)
            answers.append(None)
        except (ConnectionGone, RpcError) as problem:
            answers.append(problem)

    def kill(self, victim: str) -> None:
        pids = backends_of(self.folder / "sm-1") if victim != "daemon" else []
        if victim != "backends":
            pids += processes_of(self.smd.process.pid)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def recover(self, victim: str) -> None:
        """Start what was killed; the guest comes back when its disk was gone."""
        if victim != "backends":
            self.smd.wait()
            self.smd.start()
        try:
            self.write()
        except OSError:
            with contextlib.suppress(OSError):
                self.client.close()
            self.client = self.connect()

    def settle(self, method: str, params: dict[str, Any], before: dict[str, Disk]) -> None:
        """Find out whether an operation happened; no other disk comes, goes or changes size."""
        found = {v["uuid"]: v for v in self.smd.call("SR.scan", sr=self.sr)["vdis"] if v["managed"]}
        assert not any(v["missing"] for v in found.values())
        gone, come = self.disks.keys() - found.keys(), found.keys() - self.disks.keys()
        assert gone <= ({params["vdi"]} if method == "VDI.destroy" else set()), gone
        for vdi in gone:
            del self.disks[vdi]
        if method == "VDI.copy":
            self.settle_copy(params["vdi"], come, before)
        elif come:
            assert come == {params["vdi_info"]["uuid"]}, (method, come)
            self.disks[come.pop()] = before[params["vdi"]]
        for vdi, disk in self.disks.items():
            size = found[vdi]["virtual_size"]
            grown = method == "VDI.resize" and vdi == params["vdi"] and size == params["new_size"]
            assert size == disk.size or grown, (method, vdi, size)
            disk.size = size

    def settle_copy(self, source: str, come: set[str], before: dict[str, Disk]) -> None:
        """A copy that was cut short leaves nothing, or a disk that somebody destroys."""
        assert len(come) <= 1
        for vdi in come:
            if before[source].copy().differs(self.read(vdi)):
                self.smd.call("VDI.destroy", sr=self.sr, vdi=vdi)
            else:
                self.disks[vdi] = before[source]

    # -- looking at it

    def read(self, vdi: str) -> bytes:
        access = self.smd.call("VDI.open_data", sr=self.sr, vdi=vdi)
        if access["path"]:
            data = Path(access["path"]).read_bytes()
        else:
            client = NbdClient(access["socket"], access["export"])
            data = bytes(client.read(0, client.size))
            client.close()
        self.smd.call("VDI.close_data", sr=self.sr, vdi=vdi)
        return data

    def problems(self) -> list[str]:
        """Compare every disk with the model."""
        wrong = {vdi: disk.differs(self.read(vdi)) for vdi, disk in self.disks.items()}
        return [f"{vdi}: {text}" for vdi, text in wrong.items() if text]

    def end(self) -> None:
        """Let go of everything; afterwards no image is left over, damaged or too large."""
        self.client.close()
        for method in ("VDI.deactivate", "VDI.detach"):
            self.smd.call(method, **self.key)
        self.collected()
        found = {v["uuid"] for v in self.smd.call("SR.scan", sr=self.sr)["vdis"]}
        nodes = self.folder / "disks" / self.sr / "nodes"
        left = [image.name for image in nodes.iterdir()]
        report = self.smd.call("SR.garbage_report", sr=self.sr)
        assert len(left) == len(found), f"{left}, needed by {found}: {report}"
        for image in nodes.iterdir():
            check = ["qemu-img", "check", "-f", "qcow2", str(image)]
            done = subprocess.run(check, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
        log = RecordLog(self.folder / "disks" / self.sr / "metadata")
        assert not [name for name in log.records if name.startswith("journal/")]
        log.close()

    def collected(self) -> None:
        """Collect until nothing is left to do."""
        end = time.monotonic() + 60
        while True:
            self.smd.call("SR.collect_garbage", sr=self.sr)
            report = self.smd.call("SR.garbage_report", sr=self.sr)
            if not report["done"] and not report["skipped"] and not report["running"]:
                return
            assert time.monotonic() < end, report

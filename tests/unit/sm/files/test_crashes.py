"""Random operations with kills at every step, compared with a model of what disks hold.

XAPI_STORE_ROUNDS multiplies the number of operations (default 2, about ten seconds).
"""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sm.contract import VdiSpec
from tests.unit.sm.files.file_host import MIB, FileHost, needs_qemu, wait
from xapi_py.base.rpc.errors import RpcError

pytestmark = needs_qemu
ROUNDS = int(os.environ.get("XAPI_STORE_ROUNDS", "2"))
SIZE = 4 * MIB
PIECE = 64 * 1024
STEPS = (
    "before:1",
    "after:1",
    "made:1",
    "switched:1",
    "before:2",
    "after:2",
    "merged:1",
    "moved:1",
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FileHost]:
    host = FileHost(tmp_path)
    host.start()
    yield host
    host.close()


@dataclass
class Model:
    """What every disk must hold, piece by piece, and which are active."""

    disks: dict[str, dict[int, int]] = field(default_factory=dict)
    active: set[str] = field(default_factory=set)
    snapshots: set[str] = field(default_factory=set)


class Trial:
    """A sequence of operations on a driver and the model."""

    def __init__(self, host: FileHost, seed: int, steps: Sequence[str] = STEPS) -> None:
        self.host = host
        self.steps = steps
        self.random = random.Random(seed)
        self.model = Model()
        self.planned = ""
        self.crashes = 0

    def step(self) -> None:
        names = ["create", "write", "write", "write", "snapshot", "clone", "destroy", "revert"]
        names += ["activate", "deactivate", "collect", "collect", "resize", "copy"]
        name = self.random.choice(names)
        vdi = self.random.choice(sorted(self.model.disks)) if self.model.disks else ""
        if not vdi or (name == "create" and len(self.model.disks) < 6):
            name = "create"
        if self.random.random() < 0.6 and name not in ("write", "deactivate"):
            self.planned = self.random.choice(self.steps)
        getattr(self, name)(vdi)
        self.planned = ""

    def attempt(self, work: object) -> bool:
        """Run an operation; False when the driver died or refused."""
        self.host.crash = self.planned
        try:
            wait(work)  # type: ignore[arg-type]
        except RpcError as problem:
            self.crashes += problem.params[0] == "SR_BACKEND_FAILURE_47"
            return False
        finally:
            self.host.crash = ""
        return True

    def appeared(self, content: dict[int, int], *, snapshot: bool = False) -> None:
        """A disk the model does not know may be there, whole, after a kill."""
        for uuid, vdi in self.host.vdis().items():
            if vdi.managed and uuid not in self.model.disks:
                self.model.disks[uuid] = dict(content)
                if snapshot:
                    self.model.snapshots.add(uuid)

    def create(self, vdi: str) -> None:
        self.attempt(self.host.sr.vdi_create(VdiSpec(virtual_size=SIZE)))
        self.appeared({})

    def write(self, vdi: str) -> None:
        if vdi in self.model.snapshots:
            return
        piece, pattern = self.random.randrange(SIZE // PIECE), self.random.randrange(1, 256)
        write = self.host.write_live if vdi in self.model.active else self.host.write
        write(vdi, piece * PIECE, PIECE, pattern)
        self.model.disks[vdi][piece] = pattern

    def snapshot(self, vdi: str) -> None:
        self.attempt(self.host.sr.vdi_snapshot(vdi, VdiSpec()))
        self.appeared(self.model.disks[vdi], snapshot=True)

    def clone(self, vdi: str) -> None:
        self.attempt(self.host.sr.vdi_clone(vdi, VdiSpec()))
        self.appeared(self.model.disks[vdi])

    def destroy(self, vdi: str) -> None:
        self.attempt(self.host.sr.vdi_destroy(vdi))
        if vdi not in self.host.vdis():
            assert vdi not in self.model.active
            del self.model.disks[vdi]
            self.model.snapshots.discard(vdi)

    def revert(self, vdi: str) -> None:
        source = self.random.choice(sorted(self.model.disks))
        if vdi in self.model.snapshots or source == vdi:
            return
        before = self.host.image(vdi)
        self.attempt(self.host.sr.vdi_revert(vdi, source))
        if self.host.image(vdi) != before:
            self.model.disks[vdi] = dict(self.model.disks[source])

    def copy(self, vdi: str) -> None:
        target = self.random.choice(sorted(self.model.disks))
        if target == vdi or target in self.model.snapshots or vdi in self.model.active:
            return
        content = wait(self.host.sr.vdi_content(vdi, True))
        before = self.host.image(target)
        self.attempt(self.host.sr.vdi_fill(target, content))
        if self.host.vdis() and self.host.image(target) != before:
            self.model.disks[target] = dict(self.model.disks[vdi])
        wait(self.host.sr.vdi_copied(vdi))

    def resize(self, vdi: str) -> None:
        size = self.host.vdis()[vdi].virtual_size
        self.attempt(self.host.sr.vdi_resize(vdi, min(size + 2 * MIB, 16 * MIB)))

    def activate(self, vdi: str) -> None:
        if vdi in self.model.snapshots or len(self.model.active) >= 2:
            return
        if self.attempt(self.host.sr.vdi_activate(vdi, True)):
            self.model.active.add(vdi)

    def deactivate(self, vdi: str) -> None:
        wait(self.host.sr.vdi_deactivate(vdi))
        self.model.active.discard(vdi)

    def collect(self, vdi: str) -> None:
        self.attempt(self.host.sr.collect_garbage())

    def compare(self) -> None:
        found = {u for u, v in self.host.vdis().items() if v.managed}
        assert found == set(self.model.disks)
        for vdi, pieces in self.model.disks.items():
            data = self.host.content(vdi)
            for piece in range(SIZE // PIECE):
                expected = bytes([pieces.get(piece, 0)]) * PIECE
                assert data[piece * PIECE : (piece + 1) * PIECE] == expected, (vdi, piece)


@pytest.mark.parametrize("seed", range(4))
def test_disks_hold_what_the_model_holds(host: FileHost, seed: int) -> None:
    for number in range(ROUNDS):
        trial = Trial(host, seed * 1000 + number)
        for _ in range(50):
            trial.step()
        trial.compare()
        for vdi in sorted(trial.model.active):
            trial.deactivate(vdi)
        wait(host.sr.collect_garbage())
        trial.compare()
        host.check()
        for vdi in sorted(trial.model.disks):
            wait(host.sr.vdi_destroy(vdi))
        wait(host.sr.collect_garbage())
        host.check()
        assert not host.vdis()

"""Random operations on a volume SR with kills at every step, LVM's commands among them.

XAPI_STORE_ROUNDS multiplies the number of operations (default 2).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.sm.files.file_host import MIB, needs_qemu, wait
from tests.unit.sm.files.test_crashes import STEPS, Trial
from tests.unit.sm.volumes.fake_lvm import FakeLvm
from tests.unit.sm.volumes.volume_host import VolumeHost

pytestmark = needs_qemu
ROUNDS = int(os.environ.get("XAPI_STORE_ROUNDS", "2"))
LVM_STEPS = tuple(
    f"{command}-{side}:{number}"
    for command in ("lvcreate", "lvextend", "lvreduce", "lvremove", "lvchange")
    for side in ("before", "after")
    for number in (1, 2, 3)
)


@pytest.fixture(params=["thick", "thin"])
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[VolumeHost]:
    host = VolumeHost(tmp_path, lvm=FakeLvm(tmp_path, sdb=40960 * MIB))
    host.start(allocation=request.param)
    yield host
    host.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_disks_hold_what_the_model_holds(host: VolumeHost, seed: int) -> None:
    trial = Trial(host, seed, STEPS + LVM_STEPS)
    for _ in range(5 * ROUNDS):
        for _ in range(8):
            trial.step()
        trial.compare()
    for vdi in sorted(trial.model.active):
        trial.deactivate(vdi)
    wait(host.sr.collect_garbage())
    trial.compare()
    host.check()
    assert trial.crashes > 0
    print(f"{trial.crashes} kills")
    assert host.lvm.active(host.group) == {"MGT"}

"""Volume SRs on a real kernel: LVM, iSCSI with CHAP and two paths, an adapter, FCoE, power cuts.

What happens inside the lab is in ``block_inside.py`` and ``block_load.py``.
``--power-cuts 20`` for the long run; the default is short.
"""

import contextlib
import time

import pytest

from tests.system.lab import UNPROVEN, plain_lab
from tests.xenlab.errors import LabError
from tests.xenlab.lab import Host

__all__ = ["plain_lab"]
pytestmark = [pytest.mark.system, pytest.mark.slow]
ENTER = "modprobe fuse; cd /opt/xapi-py &&"


@pytest.mark.parametrize(
    "name",
    [
        "test_local",
        "test_full_thick_group_says_44",
        pytest.param("test_iscsi_with_chap_and_two_paths", marks=UNPROVEN),
        "test_adapter",
        pytest.param("test_fcoe", marks=UNPROVEN),
    ],
)
def test_inside(plain_lab: Host, name: str) -> None:
    run = f"python3 -m pytest -q -p no:cacheprovider tests/system/block_inside.py::{name}"
    done = plain_lab.run(f"{ENTER} {run}", timeout=1500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@UNPROVEN
def test_power_cuts_lose_nothing(plain_lab: Host, request: pytest.FixtureRequest) -> None:
    program = f"{ENTER} python3 -m tests.system.block_load"
    plain_lab.output(f"{program} begin && sync", timeout=600)
    for seed in range(request.config.getoption("--power-cuts")):
        work = f"({program} load 3600 {seed} >/run/load 2>&1 &)"
        cut = "until grep -q working /run/load; do sleep 0.1; done; sleep $1; echo b"
        with contextlib.suppress(OSError, LabError):
            command = f"{work}; set -- {20 + 7 * seed % 60}; {cut} >/proc/sysrq-trigger"
            plain_lab.run(command, timeout=600)
        time.sleep(2)
        plain_lab.agent.wait(600)
        print(plain_lab.output(f"{program} check", timeout=900))

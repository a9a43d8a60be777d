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
BOOT = "cat /proc/sys/kernel/random/boot_id"
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
        before, delay = plain_lab.output(BOOT), 20 + 7 * seed % 60
        until = "until grep -q working /run/load; do sleep 0.1; done"
        cut = f"{until}; sleep {delay}; echo b >/proc/sysrq-trigger"
        work = f"({program} load 3600 {seed} >/run/load 2>&1 & {cut}) >/dev/null 2>&1 &"
        plain_lab.run(work, timeout=60)
        end = time.monotonic() + 900
        while boot(plain_lab) in ("", before):
            assert time.monotonic() < end, "the machine does not come back"
            time.sleep(2)
        print(plain_lab.output(f"{program} check", timeout=900))


def boot(host: Host) -> str:
    """Which start of the machine this is; nothing while it is away."""
    with contextlib.suppress(OSError, LabError):
        return str(host.run(BOOT, timeout=10).stdout)
    return ""

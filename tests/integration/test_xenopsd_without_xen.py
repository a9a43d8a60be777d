"""The domain daemon told to use Xen where there is none."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


def test_the_daemon_says_that_there_is_no_xen(tmp_path: Path) -> None:
    if Path("/sys/hypervisor/type").exists():
        pytest.skip("this machine runs on Xen")
    command = [sys.executable, "-m", "xenops", "--backend", "xen"]
    command += ["--socket", str(tmp_path / "socket"), "--state", str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "no Xen here: this machine does not run on Xen" in done.stderr
    assert not (tmp_path / "socket").exists()

"""The suite on real NFS and SMB servers, on Debian's kernel in the lab."""

import pytest

from tests.xenlab.lab import Host

pytestmark = [pytest.mark.system, pytest.mark.slow]

TIMEOUT_S = 2400


def test_file_servers_suite_passes_on_debian(plain_lab: Host) -> None:
    words = "python3 -m pytest -q -rs -p no:cacheprovider tests/system/test_file_servers.py"
    done = plain_lab.run(f"cd /opt/xapi-py && {words}", timeout=TIMEOUT_S)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:]
    assert " skipped" not in done.stdout and " passed" in done.stdout

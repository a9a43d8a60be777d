"""The network daemon as a process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemon_process import DaemonProcess

pytestmark = pytest.mark.integration


@pytest.fixture
def networkd(tmp_path: Path) -> Iterator[DaemonProcess]:
    daemon = DaemonProcess(
        "xcp_networkd", tmp_path, {"hosts": [{"nics": [{}, {"carrier": False}]}]}
    )
    yield daemon
    daemon.stop()


def test_bridges_survive_a_kill(networkd: DaemonProcess) -> None:
    networkd.call("Bridge.make_config", config={"xapi0": {"vlan": ["xenbr0", 7]}})
    before = networkd.call("Interface.scan")
    networkd.kill()
    networkd.start()
    assert networkd.call("Interface.scan") == before
    assert [link["carrier"] for link in before if link["kind"] == "nic"] == [True, False]

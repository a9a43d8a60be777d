"""The network daemon as a process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemon_process import DaemonProcess
from tests.unit.xenops.factories import UUID, make_md
from xapi_py.base.rpc.errors import RpcError
from xenops import metadata

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


@pytest.fixture
def xenopsd(networkd: DaemonProcess, tmp_path: Path) -> Iterator[DaemonProcess]:
    """A domain daemon that has VIFs put into their bridges by the network daemon."""
    (tmp_path / "networkd.sock").symlink_to(networkd.socket_path)
    section = {"storage": "none", "network": "daemon"}
    daemon = DaemonProcess("xenops", tmp_path, {"hosts": [{"xenops": section}]})
    daemon.call("VM.import_metadata", md=metadata.to_dict(make_md()))
    yield daemon
    daemon.stop()


def vifs(networkd: DaemonProcess) -> dict[str, str]:
    """The bridge of each virtual machine's device."""
    links = networkd.call("Interface.scan")
    return {link["name"]: link["bridge"] for link in links if link["kind"] == "vif"}


def test_vif_is_in_its_bridge_while_its_vm_runs(
    networkd: DaemonProcess, xenopsd: DaemonProcess
) -> None:
    networkd.call("Bridge.make_config", config={"xapi0": {}})
    xenopsd.call("VM.start", id=UUID)
    assert vifs(networkd) == {"vif1.0": "xenbr0"}
    networkd.kill()
    networkd.start()
    xenopsd.call("VIF.move", id=UUID, device="0", bridge="xapi0")
    assert vifs(networkd) == {"vif1.0": "xapi0"}
    xenopsd.call("VIF.unplug", id=UUID, device="0")
    assert vifs(networkd) == {}
    xenopsd.call("VIF.plug", id=UUID, device="0")
    assert vifs(networkd) == {"vif1.0": "xapi0"}
    xenopsd.call("VM.reboot", id=UUID, force=True)
    assert vifs(networkd) == {"vif2.0": "xapi0"}
    xenopsd.call("VM.shutdown", id=UUID, force=True)
    assert vifs(networkd) == {}


def test_vm_whose_bridge_is_missing_does_not_start(
    networkd: DaemonProcess, xenopsd: DaemonProcess
) -> None:
    networkd.call("Bridge.destroy", name="xenbr0")
    with pytest.raises(RpcError, match="Bridge_does_not_exist"):
        xenopsd.call("VM.start", id=UUID)
    assert xenopsd.answer("VM.stat", id=UUID)["power_state"] == "Halted"

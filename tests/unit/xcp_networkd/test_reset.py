"""The administrator's way back in: the script, and what the daemon makes of its file."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.xcp_networkd.network_host import NetworkHost
from xcp_networkd import installer
from xcp_networkd.config import SystemConfig

SCRIPT = Path(__file__).parents[3] / "scripts/xe-reset-networking"
STATIC = ("--mode=static", "--ip=192.0.2.9", "--netmask=255.255.255.0", "--gateway=192.0.2.1")


def script(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XAPI_ROOT": str(root)}
    return subprocess.run([SCRIPT, *words], capture_output=True, text=True, env=environment)


def written(root: Path) -> Path:
    """The file the script writes, where the daemon looks for it."""
    return root / SystemConfig().network_reset.removeprefix("/")


@pytest.fixture
def host(tmp_path: Path) -> NetworkHost:
    """A host whose network is not as the installer left it."""
    made = NetworkHost(tmp_path)
    bond = {"ports": {"bond0": {"interfaces": ["eth1", "eth2"]}}, "persistent_b": True}
    vlan = {"vlan": ["xenbr0", 7], "persistent_b": True}
    made.call("Bridge.make_config", config={"xapi0": bond, "xapi1": vlan})
    return made


def reset(host: NetworkHost, root: Path, *words: str) -> None:
    done = script(root, "--yes", *words)
    assert done.returncode == 0, done.stderr
    (host.state / "network-reset").write_bytes(written(root).read_bytes())
    host.restart()


def test_network_begins_anew_with_one_interface(host: NetworkHost, tmp_path: Path) -> None:
    reset(host, tmp_path / "root", "--device=eth1", *STATIC, "--dns=192.0.2.2,192.0.2.3")
    assert host.call("Bridge.get_all") == ["xenbr1"]
    link = host.links()["xenbr1"]
    assert (link["ipv4"], link["ipv4_gateway"]) == ((("192.0.2.9", 24),), "192.0.2.1")
    assert host.call("Interface.get_dns", name="xenbr1")[0] == ["192.0.2.2", "192.0.2.3"]
    assert host.call("Network.pending_reset") is True


def test_reset_is_followed_once_and_ends_with_the_records(
    host: NetworkHost, tmp_path: Path
) -> None:
    reset(host, tmp_path / "root", "--device=eth1")
    host.call("Bridge.make_config", config={"xapi0": {"persistent_b": True}})
    host.restart()
    assert set(host.call("Bridge.get_all")) == {"xapi0", "xenbr1"}
    host.call("Network.reset_done")
    assert host.call("Network.pending_reset") is False
    assert not (host.state / "network-reset").exists()
    host.restart()
    assert set(host.call("Bridge.get_all")) == {"xapi0", "xenbr1"}


def test_two_resets_in_a_row_count_both(host: NetworkHost, tmp_path: Path) -> None:
    reset(host, tmp_path / "root", "--device=eth1")
    reset(host, tmp_path / "root", "--device=eth2", "--vlan=25")
    assert host.call("Bridge.get_all") == ["xenbr2", "xentemp"]
    host.call("Network.reset_done")
    reset(host, tmp_path / "root", "--device=eth2", "--vlan=25")
    assert host.call("Network.pending_reset") is True


@pytest.mark.parametrize("text", ["LABEL=eth9\nMODE=dhcp\n", "LABEL=eth0\nMODE=static\nIP=x\n", ""])
def test_what_cannot_be_followed_changes_nothing(host: NetworkHost, text: str) -> None:
    before = host.links()
    (host.state / "network-reset").write_text(text)
    host.restart()
    assert host.links() == before
    assert host.call("Network.pending_reset") is False


@pytest.mark.parametrize(
    "words",
    [
        ("--mode=static", "--ip=192.0.2.9"),
        ("--mode=static", "--ip=192.0.2.300", "--netmask=255.255.255.0"),
        ("--mode=static", "--ip=192.0.2.9", "--netmask=255.0.255.0"),
        ("--mode=none",),
        ("--mode-v6=static",),
        ("--vlan=4095",),
        ("--device=eth0;reboot",),
        ("--dns=192.0.2.2,x",),
        ("--master=192.0.2.8",),
    ],
)
def test_words_that_make_no_sense_are_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert script(tmp_path, "--yes", *words).returncode == 2
    assert not any(tmp_path.iterdir())


def test_without_a_yes_nothing_is_written(tmp_path: Path) -> None:
    environment = {**os.environ, "XAPI_ROOT": str(tmp_path)}
    done = subprocess.run([SCRIPT], input="no\n", capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert not any(tmp_path.iterdir())


def test_member_of_a_pool_is_told_its_master(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert script(tmp_path, "-y", "-m", "192.0.2.8", f"--state={state}").returncode == 0
    assert (state / "pool.conf").read_text() == "slave:192.0.2.8"


def test_ipv6_alone(tmp_path: Path) -> None:
    words = ("--mode=none", "--mode-v6=static", "--ipv6=2001:db8::9/64", "--gateway-v6=fe80::1")
    assert script(tmp_path, "-y", *words).returncode == 0
    found = installer.parse(written(tmp_path).read_text())
    state = installer.first_state(found, {"eth0": "02:00:00:00:00:01"})
    config = state.interfaces["xenbr0"]
    assert (config.ipv6_addresses, config.ipv6_gateway) == ((("2001:db8::9", 64),), "fe80::1")

import os
import subprocess
from pathlib import Path

import pytest

from xcp_networkd import config

SCRIPT = Path(__file__).parents[3] / "scripts/xe-switch-network-backend"


def switch(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XAPI_ROOT": str(root)}
    return subprocess.run([SCRIPT, *words], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    "word, backend",
    [("bridge", "bridge"), ("openvswitch", "openvswitch"), ("vswitch", "openvswitch")],
)
def test_daemon_starts_with_what_was_chosen(tmp_path: Path, word: str, backend: str) -> None:
    assert switch(tmp_path, word).returncode == 0
    file = tmp_path / "networkd.yaml"
    file.write_text(f"network: {{network_conf: {tmp_path / 'etc/xcp/network.conf'}}}")
    assert config.load_system(file, "xen").backend == backend


def test_bridge_module_is_denied_only_with_open_vswitch(tmp_path: Path) -> None:
    denied = tmp_path / "etc/modprobe.d/xapi-no-bridge.conf"
    switch(tmp_path, "openvswitch")
    assert denied.exists()
    switch(tmp_path, "bridge")
    assert not denied.exists()


@pytest.mark.parametrize("words", [(), ("both",), ("bridge", "now")])
def test_anything_else_is_refused_and_changes_nothing(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = switch(tmp_path, *words)
    assert (done.returncode, "usage" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_unknown_word_stands_for_open_vswitch(tmp_path: Path) -> None:
    conf = tmp_path / "network.conf"
    conf.write_text("something else\n")
    file = tmp_path / "networkd.yaml"
    file.write_text(f"network: {{network_conf: {conf}}}")
    assert config.load_system(file, "xen").backend == "openvswitch"
    conf.unlink()
    assert config.load_system(file, "xen").backend == "openvswitch"

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
    assert config.load_system(file, "xen", tmp_path).backend == backend


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
    assert config.load_system(file, "xen", tmp_path).backend == "openvswitch"


def chosen(folder: Path) -> str:
    file = folder / "networkd.yaml"
    file.write_text(f"network: {{network_conf: {folder / 'none'}, ovs_run: {folder}}}")
    return config.load_system(file, "xen", folder).backend


def test_without_a_word_it_is_the_bridge_where_no_switch_runs(tmp_path: Path) -> None:
    (tmp_path / "ovs-vswitchd.pid").write_text(f"{os.getpid()}\n")
    assert chosen(tmp_path) == "bridge"


def test_without_a_word_it_is_the_switch_that_runs(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "77").mkdir(parents=True)
    (proc / "77" / "comm").write_text("ovs-vswitchd\n")
    (tmp_path / "ovs-vswitchd.pid").write_text("77\n")
    assert config.switch_runs(tmp_path, proc)
    (tmp_path / "ovs-vswitchd.pid").write_text("78\n")
    assert not config.switch_runs(tmp_path, proc)


@pytest.mark.parametrize("word", ["bridge", "openvswitch"])
def test_the_choice_of_the_first_start_is_kept(tmp_path: Path, word: str) -> None:
    (tmp_path / config.CHOICE).write_text(f"{word}\n")
    assert chosen(tmp_path) == word
    (tmp_path / config.CHOICE).unlink()
    assert chosen(tmp_path) == "bridge"
    assert (tmp_path / config.CHOICE).read_text() == "bridge\n"


def test_a_word_in_the_file_beats_the_choice(tmp_path: Path) -> None:
    (tmp_path / config.CHOICE).write_text("bridge\n")
    (tmp_path / "none").write_text("openvswitch\n")
    assert chosen(tmp_path) == "openvswitch"

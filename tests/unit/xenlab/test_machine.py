"""How lab machines are started and talked to, without starting one."""

import io
import json
import os
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from tests.xenlab import image, lab, qemu
from tests.xenlab.agent import Agent
from tests.xenlab.errors import LabError
from tests.xenlab.machine_files import agent as inside


@pytest.fixture
def local_agent():
    with inside.Server(("127.0.0.1", 0), inside.Request) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Agent(server.server_address[1])
        server.shutdown()


def run(agent: Agent, command: str, **how: object):
    return agent.run(f"cd /; {command}", **how)  # type: ignore[arg-type]


def test_a_commands_outputs_and_code_come_back(local_agent: Agent):
    done = run(local_agent, "cat; echo bad >&2; exit 7", input=b"x" * 300_000)
    assert (done.returncode, len(done.stdout), done.stderr) == (7, 300_000, "bad\n")


def test_what_a_command_leaves_running_does_not_hold_the_answer(local_agent: Agent):
    done = run(local_agent, "sleep 30 & echo $!", timeout=10)
    assert done.returncode == 0
    run(local_agent, f"kill {done.stdout}")


def test_a_command_that_takes_too_long_ends(local_agent: Agent):
    assert run(local_agent, "sleep 30", timeout=0.1).returncode == 124


def test_files_are_written_and_read(local_agent: Agent, tmp_path: Path):
    path = str(tmp_path / "new" / "file")
    local_agent.put(path, b"\0\n" * 100_000, 0o600)
    assert local_agent.get(path) == b"\0\n" * 100_000
    with pytest.raises(LabError, match="No such file"):
        local_agent.get(path + ".not")


def test_nobody_answers_where_there_is_no_machine():
    port = lab.free_port()
    assert not Agent(port).answers(0.2)
    with pytest.raises(LabError, match="stopped"):
        Agent(port).wait(5, alive=lambda: False)


def test_cables_lead_from_one_host_to_the_other_or_back(tmp_path: Path):
    (single,) = lab.places(tmp_path / "1", [qemu.Flavour(nics=4)])
    assert [cable.hub for cable in single.cables] == [1, 1, 2, 2]
    first, second = lab.places(tmp_path / "2", [qemu.Flavour(number=1), qemu.Flavour(number=2)])
    ends = [(cable.own_port, cable.far_port) for cable in first.cables]
    assert [(cable.far_port, cable.own_port) for cable in second.cables] == ends
    assert len({port for end in ends for port in end}) == 4


def test_a_plain_machine_starts_debians_kernel_and_no_hypervisor(tmp_path: Path):
    built = image.Image("x", Path("/b"), Path("/e"))
    place = qemu.Place(tmp_path, 1, ())
    plain = qemu.command_line(qemu.Flavour(xen=False), built, place)
    assert plain[plain.index("-kernel") + 1] == "/b/vmlinuz"
    xen = qemu.command_line(qemu.Flavour(), built, place)
    assert xen[xen.index("-kernel") + 1] == "/b/xen"
    assert "lab.number=1,/e/initramfs" in xen[xen.index("-initrd") + 1]


def test_only_changed_files_are_copied_and_removed_ones_go():
    everything, gone = lab.project_archive({"old.py": "1 2.0"})
    assert everything and gone == ["/opt/xapi-py/old.py"]
    with tarfile.open(fileobj=io.BytesIO(everything)) as archive:
        present = {m.name: f"{m.size} {m.mtime}" for m in archive if "__pycache__" not in m.name}
    assert "xenops/metadata.py" in present and "tests/xenlab/lab.py" in present
    assert lab.project_archive(present) == (None, [])
    present["setup.cfg"] = "1 1.0"
    again, _ = lab.project_archive(present)
    assert again
    with tarfile.open(fileobj=io.BytesIO(again)) as archive:
        assert archive.getnames() == ["setup.cfg"]


@pytest.mark.parametrize("name", ["", "../x", "A", "x" * 30])
def test_bad_names_are_refused(name: str):
    with pytest.raises(LabError, match="no name for a lab"):
        lab.up(name, [])


def test_labs_that_ended_are_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XENLAB_RUN", str(tmp_path))
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    for name, pid in (("old", ended.pid), ("new", os.getpid())):
        (tmp_path / name).mkdir()
        host = {"flavour": {"xen": False}, "pid": pid, "agent_port": 1}
        (tmp_path / name / "lab.json").write_text(json.dumps([host]))
    assert lab.names() == ["new"]
    assert not (tmp_path / "old").exists()

"""The supervisor with stub daemons: starting, watching, stopping, being killed."""

import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.running_pool import PoolFailed, RunningPool, children, eventually

pytestmark = pytest.mark.integration

HOST = ("host-1/networkd", "host-1/smd", "host-1/xenopsd")


class StubPool(RunningPool):
    """A pool whose daemons do what ``plan`` says."""

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder, *options, module="tests.integration.stub_pool")
        self._before = (str(folder),)
        self.plan()

    def plan(self, **daemons: object) -> None:
        plan = {f"host-1/{name}": how for name, how in daemons.items()}
        (self.folder / "plan.json").write_text(json.dumps(plan))

    def journal(self) -> list[list[str]]:
        lines = (self.folder / "journal").read_text().splitlines()
        return [line.split() for line in lines]

    def stub(self, name: str) -> int:
        """The process that runs a daemon now."""
        starts = [j for j in self.journal() if j[:2] == ["start", f"host-1/{name}"]]
        return int(starts[-1][2])

    def next_stub(self, name: str, before: int) -> int:
        """Wait for the process that follows ``before``."""
        eventually(lambda: self.stub(name) != before, f"{name} starts again")
        return self.stub(name)


def wait_gone(*processes: int, limit_s: float = 20.0) -> None:
    for process in processes:
        try:
            watched = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        gone = select.select([watched], [], [], limit_s)[0]
        os.close(watched)
        assert gone, f"process {process} still runs"


@pytest.fixture
def stubs() -> Iterator[StubPool]:
    with tempfile.TemporaryDirectory(prefix="xp-", dir="/tmp") as folder:
        pool = StubPool(Path(folder))
        try:
            yield pool
        finally:
            pool.stop()


def test_xapi_starts_after_its_hosts_daemons_and_ends_before_them(stubs):
    stubs.start()
    assert stubs.stop() == 0
    order = [tuple(line[:2]) for line in stubs.journal()]
    assert sorted(order[:3]) == [("start", name) for name in HOST]
    assert order[3:5] == [("start", "host-1/xapi"), ("end", "host-1/xapi")]
    assert sorted(order[5:]) == [("end", name) for name in HOST]


def test_the_ready_file_names_user_password_and_addresses_and_goes_away_after(stubs):
    stubs.start()
    port = stubs.ready["pools"][0]["hosts"][0]["http"]
    assert stubs.ready == {
        "user": "root",
        "password": (stubs.state / "password").read_text().strip(),
        "pools": [
            {
                "master": "127.0.0.1",
                "hosts": [
                    {
                        "address": "127.0.0.1",
                        "http": port,
                        "https": port,
                        "socket": "host-1/xapi",
                    }
                ],
            }
        ],
    }
    assert stat.S_IMODE(stubs.ready_file.stat().st_mode) == 0o600
    socket.create_connection(("127.0.0.1", port)).close()
    stubs.stop()
    assert not stubs.ready_file.exists()


def test_the_password_stays_until_another_one_is_given(stubs):
    first = stubs.start().ready["password"]
    assert stubs.restart().ready["password"] == first
    stubs._options = ("--password", "a b")
    assert stubs.restart().ready["password"] == "a b"
    stubs._options = ()
    assert stubs.restart().ready["password"] == "a b"
    assert stat.S_IMODE((stubs.state / "password").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["smd", "xapi"])
def test_a_killed_daemon_is_started_again_and_no_other(stubs, name):
    stubs.start()
    others = {n: stubs.stub(n) for n in ("xenopsd", "smd", "networkd", "xapi") if n != name}
    for _ in range(3):
        before = stubs.stub(name)
        os.kill(before, signal.SIGKILL)
        stubs.next_stub(name, before)
    assert {n: stubs.stub(n) for n in others} == others
    assert f"host-1/{name} ended (killed by SIGKILL); starts again" in stubs.output.read_text()


def test_a_restarted_xapi_gets_the_ports_it_had(stubs):
    port = stubs.start().host().http
    before = stubs.stub("xapi")
    os.kill(before, signal.SIGKILL)
    stubs.next_stub("xapi", before)
    starts = [j for j in stubs.journal() if j[:2] == ["start", "host-1/xapi"]]
    assert [line[3] for line in starts] == ["0", str(port)]


@pytest.mark.parametrize("name", ["networkd", "xapi"])
def test_a_daemon_that_cannot_start_stops_everything_with_its_own_words(stubs, name):
    stubs.plan(**{name: {"exit": "port 443 is taken, sorry"}})
    with pytest.raises(PoolFailed) as caught:
        stubs.start()
    assert f"host-1/{name} cannot start (exit status 1)" in str(caught.value)
    assert "port 443 is taken, sorry" in str(caught.value)
    assert stubs.wait() == 1
    assert not stubs.ready_file.exists()
    wait_gone(*(int(line[2]) for line in stubs.journal()), limit_s=0)


def test_what_a_dead_daemon_left_in_its_group_is_killed(stubs):
    stubs.plan(smd={"orphan": True})
    stubs.start()
    orphan = int((stubs.folder / "orphan").read_text())
    os.kill(stubs.stub("smd"), signal.SIGKILL)
    wait_gone(orphan)


def test_nothing_outlives_a_killed_supervisor_and_its_folder_is_free_at_once(stubs):
    stubs.start()
    processes = children(stubs.pid)
    assert len(processes) == 4
    os.kill(stubs.pid, signal.SIGKILL)
    stubs.wait()
    stubs.start()
    wait_gone(*processes, limit_s=0)


def test_two_supervisors_cannot_share_a_state_folder(stubs):
    stubs.start()
    second = subprocess.run(stubs.arguments(), capture_output=True, text=True, timeout=30)
    assert second.returncode == 2
    assert f"is in use by process {stubs.pid}" in second.stderr
    assert stubs.ready_file.exists()


def test_a_deaf_daemon_is_killed_by_a_second_signal(stubs):
    stubs.plan(smd={"deaf": True})
    stubs.start()
    deaf = stubs.stub("smd")
    others = [stubs.stub(n) for n in ("xenopsd", "networkd", "xapi")]
    os.kill(stubs.pid, signal.SIGINT)
    wait_gone(*others)
    os.kill(stubs.pid, signal.SIGINT)
    assert stubs.wait() == 0
    wait_gone(deaf, limit_s=0)


def test_a_stop_while_starting_leaves_nothing(stubs):
    stubs.plan(xapi={"mute": True})
    process = subprocess.Popen(stubs.arguments(), stderr=subprocess.DEVNULL)
    journal = stubs.folder / "journal"
    eventually(lambda: journal.exists() and len(stubs.journal()) == 4, "xapi starts")
    process.terminate()
    assert process.wait(30) == 0
    wait_gone(*(int(line[2]) for line in stubs.journal()), limit_s=0)


def test_detach_returns_when_ready_and_stop_ends_it(stubs):
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            arguments, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )

    begun = run(*stubs.arguments("--detach"))
    assert begun.returncode == 0, begun.stderr
    assert "xapi-py is ready" in begun.stdout
    assert stubs.ready_file.exists()
    processes = [int(line[2]) for line in stubs.journal()]
    program = (sys.executable, "-m", "xapi_py.supervisor", "--state", str(stubs.state), "--stop")
    assert run(*program).returncode == 0
    wait_gone(*processes, limit_s=0)
    assert "nothing runs" in run(*program).stdout


def test_detach_says_why_it_cannot_start(stubs):
    stubs.plan(xenopsd={"exit": "no hypervisor here"})
    begun = subprocess.run(stubs.arguments("--detach"), capture_output=True, text=True, timeout=60)
    assert begun.returncode == 1
    assert "no hypervisor here" in begun.stderr


def test_each_standalone_host_is_a_pool_of_its_own(stubs):
    stubs._options = ("--hosts", "3", "--standalone")
    pools = stubs.start().ready["pools"]
    assert [len(pool["hosts"]) for pool in pools] == [1, 1, 1]
    assert len(children(stubs.pid)) == 12


def test_the_simulator_file_and_bare_reach_the_daemons_checked(stubs):
    described = stubs.folder / "my.yaml"
    described.write_text("hosts: [{name: alpha}]\n")
    stubs._options = ("--simulator", str(described), "--bare")
    stubs.start()
    text = (stubs.state / "simulator.yaml").read_text()
    assert text == "hosts:\n- name: alpha\nbare: true\n"
    stubs.stop()
    described.write_text("hosts: [{nam: alpha}]\n")
    refused = subprocess.run(stubs.arguments(), capture_output=True, text=True, timeout=30)
    assert refused.returncode == 2
    assert "unknown member 'nam'" in refused.stderr
